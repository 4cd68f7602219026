// Goal: a process that runs out of address space or descriptors gets typed errors, loses nothing and lives on.
// Method: a child whose limits are lowered while it has a pool open, and raised again.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const CHILD = fileURLToPath(new URL('./no-memory-child.js', import.meta.url));
const skip = spawnSync('prlimit', ['--version']).status === 0 ? false : 'needs prlimit(1)';

test('without memory, and without descriptors', { skip }, async (t) => {
  const folder = resolve(mkdtempSync(join('build', 'mpool-narrow-')));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, [CHILD, join(folder, 'pool')], {
    timeout: 60_000,
  });
  const { refused, outcomes, ...rest } = JSON.parse(stdout) as {
    refused: string;
    outcomes: string[];
  };
  t.diagnostic(outcomes.join(', '));
  assert.equal(refused, 'ERR_MPOOL_IO', 'the library says that there is no memory');
  for (const outcome of outcomes) assert.match(outcome, /^(done|ERR_MPOOL_[A-Z_]+ -\d+)$/);
  assert.ok(
    outcomes.some((each) => each.startsWith('ERR_MPOOL_IO -12')),
    'memory was short',
  );
  assert.deepEqual(rest, { same: true, again: true, durable: true, health: 'optimal' });
});
