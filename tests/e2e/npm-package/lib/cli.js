#!/usr/bin/env node
'use strict';
const { taken } = require('./index.js');

if (process.argv[2] === '--version')
	console.log(`release-notes ${require('../package.json').version}`);
else
	console.log(taken(process.argv.slice(3), process.argv[2]).join('\n'));
