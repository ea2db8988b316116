'use strict';
const assert = require('node:assert');
const test = require('node:test');
const { releases, taken } = require('../lib');

test('braces are expanded, and releases sorted', () => {
	assert.deepStrictEqual(releases(['1.{10,9}.0', 'nonsense', '1.0.0-rc.1']), ['1.0.0-rc.1', '1.9.0', '1.10.0']);
});

test('a range takes what it should', () => {
	assert.deepStrictEqual(taken(['{1..3}.{0,1}.0'], '^2.0.0'), ['2.0.0', '2.1.0']);
});
