'use strict';
const assert = require('node:assert');
const { execFile } = require('node:child_process');
const path = require('node:path');
const test = require('node:test');
const { promisify } = require('node:util');

test('the command prints what a range takes', async () => {
	const cli = path.join(__dirname, '../lib/cli.js');
	const { stdout } = await promisify(execFile)(process.execPath, [cli, '>=1.1', '1.{0,1,2}.0']);
	assert.equal(stdout, '1.1.0\n1.2.0\n');
});
