// Goal: how well group commit shares can be read off: each durable step is counted by the operations it carried.
// Method: sizes at the edges of the buckets; a pool on a simulated disk, whose commits and syncs come one by one,
//   then many in one turn, and whose metadata log is compacted, which is nobody's operation.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GroupSizes, sumOfGroups } from '../../src/pool/group-sizes.ts';
import type { GroupCounts } from '../../src/pool/api.ts';
import { closeClean, freshPool, MIB } from './pool-host.ts';

function added(before: GroupCounts, after: GroupCounts): GroupCounts {
  return {
    steps: after.steps - before.steps,
    operations: after.operations - before.operations,
    buckets: after.buckets.map((count, i) => count - before.buckets[i]!),
  };
}

test('a step is in the bucket whose bound its operations do not pass', () => {
  const sizes = new GroupSizes();
  for (const size of [1, 2, 3, 4, 5, 512, 513, 1024, 1025, 70_000]) sizes.add(size);
  const { steps, operations, buckets } = sizes.counts;
  assert.deepEqual([steps, operations], [10, 1 + 2 + 3 + 4 + 5 + 512 + 513 + 1024 + 1025 + 70_000]);
  assert.deepEqual(buckets, [1, 1, 2, 1, 0, 0, 0, 0, 0, 1, 2, 2]);
  const twice = sumOfGroups([sizes.counts, sizes.counts]);
  assert.deepEqual([twice.steps, twice.buckets[11]], [20, 4]);
  assert.deepEqual(sumOfGroups([]).steps, 0);
});

test('commits and syncs that come together are one step each; alone they are steps of one', async () => {
  const setup = await freshPool({ sizeBytes: 256 * MIB });
  const { pool } = setup;
  const mblocks = await Promise.all(Array.from({ length: 70 }, () => pool.mblocks.alloc()));
  const before = pool.stats();
  for (const mblock of mblocks.slice(0, 3)) await mblock.commit();
  const alone = pool.stats();
  assert.deepEqual(added(before.metadataGroups, alone.metadataGroups).buckets.slice(0, 2), [3, 0]);
  await Promise.all(mblocks.slice(3).map((mblock) => mblock.commit()));
  const together = added(alone.metadataGroups, pool.stats().metadataGroups);
  assert.equal(together.operations, 67);
  assert.ok(together.steps <= 4, `${together.steps} steps`);
  assert.deepEqual(pool.stats().syncGroups, before.syncGroups, 'commits are no syncs of logs');

  const log = await pool.mdcs.root();
  const idle = pool.stats();
  await Promise.all(Array.from({ length: 40 }, () => log.append('r', { sync: true })));
  const synced = added(idle.syncGroups, pool.stats().syncGroups);
  assert.equal(synced.operations, 40);
  assert.ok(synced.steps <= 3, `${synced.steps} steps`);
  assert.deepEqual(pool.stats().metadataGroups, idle.metadataGroups);
  await log.close();
  await closeClean(setup);
});

test('compactions of the metadata are not counted, and what comes after them is', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const start = pool.stats();
  let changes = 0;
  while (pool.stats().compactions === start.compactions) {
    const mblock = await pool.mblocks.alloc();
    await mblock.commit();
    await mblock.delete();
    changes += 2;
  }
  const mblock = await pool.mblocks.alloc();
  await mblock.commit();
  const { operations, steps } = added(start.metadataGroups, pool.stats().metadataGroups);
  // Checkpoints of ids are changes too: one for each 4,096.
  const checkpoints = operations - (changes + 1);
  assert.ok(checkpoints >= 0 && checkpoints <= changes / 4096 + 2, `${checkpoints} checkpoints`);
  assert.ok(steps <= operations);
  await closeClean(setup);
});
