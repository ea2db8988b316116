import assert from 'node:assert';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import notes from '../lib/index.js';

test('the latest release in a file', async () => {
	const file = path.join(await mkdtemp(path.join(tmpdir(), 'notes-')), 'releases');
	await writeFile(file, '1.{0..12}.0\n2.0.0-beta.1\n');
	assert.equal(await notes.latest(file, '1.x'), '1.12.0');
});
