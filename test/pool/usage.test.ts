// Goal: usage numbers add up at every step, and are what a recount after reopening finds (I4, I14).
// Method: random allocations, commits, deletions and aborts of mblocks, logs and MDCs on two classes; the
//   seed is in every message.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Pool, Usage } from '../../src/pool/api.ts';
import { A, allOf, B, closeClean, freshPool, MIB, openHere, pattern, reopen } from './pool-host.ts';

const CLASSES = ['capacity', 'staging'] as const;

async function addsUp(pool: Pool, message: string): Promise<void> {
  const total = await pool.usage();
  const { devices } = await pool.info();
  for (const [i, mediaClass] of CLASSES.entries()) {
    const usage = await pool.usage(mediaClass);
    assert.deepEqual(devices[i]!.usage, usage);
    assert.equal(usage.totalBytes, usage.usableBytes + usage.spareBytes, message);
    const free = usage.freeUsableBytes + usage.freeSpareBytes;
    assert.equal(usage.usedBytes + free, usage.totalBytes, message);
    assert.equal(usage.totalBytes + usage.reservedBytes, devices[i]!.sizeBytes, message);
    const owned = usage.mblockAllocatedBytes + usage.mlogAllocatedBytes + usage.metadataBytes;
    assert.ok(owned <= usage.usedBytes, message);
  }
  for (const key of Object.keys(total) as (keyof Usage)[]) {
    const [a, b] = await Promise.all(CLASSES.map((mediaClass) => pool.usage(mediaClass)));
    assert.equal(total[key], a![key] + b![key], `${message}: ${key}`);
  }
}

/** What is the same whoever counts: how used space is shared out to spare depends on the order of things. */
function recounted(
  usage: Usage,
): Omit<Usage, 'freeUsableBytes' | 'freeSpareBytes'> & { freeBytes: number } {
  const { freeUsableBytes, freeSpareBytes, ...rest } = usage;
  return { ...rest, freeBytes: freeUsableBytes + freeSpareBytes };
}

test('usage adds up, and equals a recount after reopening', async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const prng = new SeededPrng(seed);
    let setup = await freshPool({ stagingBytes: 128 * MIB, host: { seed } });
    const live: { remove: () => Promise<void> }[] = [];
    for (let step = 0; step < 60; step++) {
      const { pool } = setup;
      const mediaClass = CLASSES[below(prng, 2)]!;
      const spare = below(prng, 4) === 0;
      const kind = below(prng, 5);
      if (kind === 0 && live.length > 0) {
        await live.splice(below(prng, live.length), 1)[0]!.remove();
      } else if (kind === 1) {
        const capacityBytes = 1 + below(prng, 3 * MIB);
        const log = await pool.mlogs.alloc({ capacityBytes, mediaClass, spare });
        if (below(prng, 4) === 0) await log.abort();
        else {
          await log.commit();
          live.push({ remove: () => setup.pool.mlogs.delete([log.id]) });
        }
      } else if (kind === 2) {
        const capacityBytes = 1 + below(prng, MIB);
        const mdc = await pool.mdcs.alloc({ capacityBytes, mediaClass, spare });
        if (below(prng, 4) === 0) await mdc.abort();
        else {
          await mdc.commit();
          live.push({ remove: () => setup.pool.mdcs.delete(mdc.id) });
        }
      } else {
        const mblock = await pool.mblocks.alloc({ mediaClass, spare });
        await mblock.write(pattern(below(prng, 20_000)));
        if (below(prng, 4) === 0) await mblock.abort();
        else {
          await mblock.commit();
          live.push({ remove: () => setup.pool.mblocks.delete([mblock.id]) });
        }
      }
      if (step % 6 === 0) await addsUp(pool, `seed ${seed}, step ${step}`);
      if (step % 20 === 19) {
        const before = await Promise.all(CLASSES.map((each) => pool.usage(each)));
        setup = await reopen(setup);
        const after = await Promise.all(CLASSES.map((each) => setup.pool.usage(each)));
        assert.deepEqual(after.map(recounted), before.map(recounted), `seed ${seed}, step ${step}`);
        const mblocks = await allOf(setup.pool.mblocks.list());
        const usage = await setup.pool.usage();
        assert.equal(mblocks.length, usage.mblockCount);
        const written = mblocks.reduce((sum, { writtenBytes }) => sum + writtenBytes, 0);
        assert.equal(written, usage.mblockWrittenBytes);
      }
    }
    for (const each of live) await each.remove();
    const { pool } = setup;
    const empty = await pool.usage();
    assert.deepEqual([empty.mblockCount, empty.mblockWrittenBytes, empty.mlogCount], [0, 0, 2]);
    assert.equal(empty.usedBytes, empty.metadataBytes + empty.mlogAllocatedBytes, `seed ${seed}`);
    await closeClean(setup);
  }
});

test('changing the spare percentage shares the free space out anew, at once and after reopening', async () => {
  let setup = await freshPool({ sizeBytes: 128 * MIB });
  for (const percent of [0, 100, 50, 1, 5]) {
    await setup.pool.setParameters({ sparePercentCapacity: percent });
    const usage = await setup.pool.usage();
    assert.ok(Math.abs(usage.spareBytes - (127 * MIB * percent) / 100) <= 2 * MIB, `${percent} %`);
    if (percent === 100) {
      await assert.rejects(setup.pool.mblocks.alloc(), { code: 'ERR_MPOOL_NO_SPACE' });
      await (await setup.pool.mblocks.alloc({ spare: true })).abort();
    }
    setup = await reopen(setup);
    assert.deepEqual(await setup.pool.usage(), usage);
  }
  await closeClean(setup);
});

test('uncommitted objects hold space until they are gone, and none after a forced close', async () => {
  let setup = await freshPool();
  const before = await setup.pool.usage();
  await setup.pool.mblocks.alloc();
  await setup.pool.mlogs.alloc({ capacityBytes: 2 * MIB });
  await setup.pool.mdcs.alloc({ capacityBytes: 2 * MIB });
  const held = await setup.pool.usage();
  assert.equal(held.usedBytes - before.usedBytes, 7 * MIB);
  assert.deepEqual([held.mblockCount, held.mlogCount], [before.mblockCount, before.mlogCount]);
  await closeClean(setup, true);
  setup = { host: setup.host, pool: await openHere(setup.host) };
  assert.deepEqual(await setup.pool.usage(), before);
  await closeClean(setup);
});

test('names of the devices', async () => {
  const setup = await freshPool({ stagingBytes: 64 * MIB });
  const devices = await setup.pool.devices();
  assert.deepEqual(
    devices.map(({ path }) => path),
    [A, B],
  );
  assert.equal(new Set(devices.map(({ uuid }) => uuid)).size, 2);
  await closeClean(setup);
});
