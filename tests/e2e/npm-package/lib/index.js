'use strict';
const expand = require('brace-expansion');
const LRU = require('lru-cache');
const semver = require('semver');

const parsed = new LRU({ max: 100 });

function parse(text) {
	if (!parsed.has(text))
		parsed.set(text, semver.parse(text));
	return parsed.get(text);
}

/* "1.{0,1}.0" names two releases. */
exports.releases = (patterns) => patterns.flatMap((p) => expand(p)).filter(parse).sort(semver.compare);

exports.taken = (patterns, range) => exports.releases(patterns).filter((v) => semver.satisfies(v, range));

exports.latest = async (file, range) => {
	const text = await require('fs').promises.readFile(file, 'utf8');
	return exports.taken(text.split('\n'), range).pop();
};
