// Goal: in a memory control group the reaper keeps usage below the limit, so that the kernel never has to reclaim,
// and what is pinned or hot stays. Method: as root a child in a group of its own reads four times the limit,
// through getPages() and through raw views; the group's own counters judge. And with the reaper off, the
// kernel does reclaim: the test can fail.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MemoryGroup } from '../../bench/mcache-group.ts';
import { create, type ReaperStats } from '../../src/index.ts';
import { isRoot, temporaryFolder } from '../device/places.ts';
import { pattern } from '../pool/pool-host.ts';

const MIB = 2 ** 20;
const LIMIT_BYTES = 224 * MIB;
const OBJECT_BYTES = 4 * MIB - 2 * 4096;
const OBJECT_COUNT = 120;

interface Outcome {
  pinned: number;
  hot: number;
  cold: number;
  stats: ReaperStats;
}

async function inGroup(
  t: TestContext,
  path: string,
  way: string,
  variable: string,
): Promise<{ outcome: Outcome; limitHits: number; usedBytes: number }> {
  const group = MemoryGroup.create(`mpool-test-${process.pid}`, LIMIT_BYTES);
  const child = fileURLToPath(new URL('./group-child.js', import.meta.url));
  const enter = `echo $$ > ${join(group.folder, 'cgroup.procs')} && exec "$@"`;
  const started = spawn('sh', ['-c', enter, 'sh', process.execPath, child, path, way], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, MPOOL_REAPER: variable },
  });
  t.after(() => started.kill('SIGKILL'));
  let text = '';
  for await (const chunk of started.stdout) {
    text += String(chunk);
    if (text.endsWith('\n')) break;
  }
  assert.ok(text !== '', 'the child says how it went');
  const { limitHits } = group.counters();
  const { usedBytes } = group;
  started.stdin.end('end\n');
  if (started.exitCode === null) await once(started, 'exit');
  group.remove();
  return { outcome: JSON.parse(text) as Outcome, limitHits, usedBytes };
}

test('the reaper keeps a group below its limit, and what is pinned and hot in memory', async (t) => {
  if (!isRoot) return t.skip('making a control group needs root');
  try {
    MemoryGroup.create(`mpool-probe-${process.pid}`, LIMIT_BYTES).remove();
  } catch (error) {
    return t.skip(`no memory control group can be made here: ${String(error)}`);
  }
  const path = join(temporaryFolder(t, 'build'), 'group.mpool');
  const pool = await create({
    name: `group-${process.pid}`,
    capacity: { path, sizeBytes: (OBJECT_COUNT + 40) * 4 * MIB, mblockSizeBytes: 4 * MIB },
  });
  const data = pattern(OBJECT_BYTES);
  for (let i = 0; i < OBJECT_COUNT; i++) {
    const mblock = await pool.mblocks.alloc();
    await mblock.write(data);
    await mblock.commit();
  }
  await pool.close();
  t.after(() => rmSync(path, { force: true }));

  for (const way of ['pages', 'views']) {
    const { outcome, limitHits, usedBytes } = await inGroup(t, path, way, '');
    const { pinned, hot, cold, stats } = outcome;
    const told = JSON.stringify({ way, pinned, hot, cold, limitHits, usedBytes, stats });
    t.diagnostic(told);
    // Reads through the API wait for room: mostly there are none. Page faults do not wait: of what they bring
    // the kernel may have to take some before the next round.
    const mostHits = stats.evictedPages / (way === 'pages' ? 50 : 5);
    assert.ok(limitHits <= mostHits, `the limit was reached: ${told}`);
    assert.ok(usedBytes < LIMIT_BYTES, told);
    // A few pages the kernel may take by itself, from under any process.
    assert.ok(pinned > 0.95, `what is pinned is there: ${told}`);
    assert.ok(hot > 0.95, `what is hot is there: ${told}`);
    assert.ok(stats.limit === 'group' && stats.evictedObjects > OBJECT_COUNT / 2, told);
  }

  const { outcome, limitHits } = await inGroup(t, path, 'pages', 'off');
  assert.ok(limitHits > 0, 'without a reaper the kernel has to reclaim');
  assert.equal(outcome.stats.evictedObjects, 0);
});
