// Goal: a pool works in a worker thread, and a worker that is ended with I/O in flight neither crashes the
// process nor keeps the pool. Method: end workers at random moments; open what they left; nothing is lost.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { check, create, type MblockId, open } from '../../src/index.ts';

test('workers own a pool one after the other, each ended in the middle of its work', async (t) => {
  const directory = join('build', `worker-${process.pid}`);
  mkdirSync(directory, { recursive: true });
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'pool');
  const capacity = { path, sizeBytes: 128 * 2 ** 20, mblockSizeBytes: 2 ** 20 };
  await (await create({ name: `worker-${process.pid}`, capacity })).close();
  const kept: MblockId[] = [];
  for (let round = 0; round < 4; round++) {
    const worker = new Worker(new URL('./worker-child.js', import.meta.url), { workerData: path });
    const told: MblockId[] = [];
    worker.on('message', (id: MblockId) => told.push(id));
    const failed = new Promise<never>((_resolve, reject) => {
      worker.on('error', reject);
    });
    await Promise.race([failed, until(() => told.length >= 8)]);
    await worker.terminate();
    // Of each group of four the first stays.
    kept.push(...told.filter((_id, i) => i % 4 === 0));
    await using pool = await open(path);
    for (const id of kept) {
      const bytes = await pool.mblocks.read(id, 0, 64 * 1024);
      assert.deepEqual(bytes, Buffer.alloc(64 * 1024, 'worker '));
    }
  }
  assert.ok(
    (await check(path, { data: true })).findings.every(({ severity }) => severity === 'note'),
  );
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}
