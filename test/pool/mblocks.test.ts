// Goal: many mblocks at once: allocation, spare, one durable step for several, listing, ids for ever new.
// Method: counts of operations and of space on a simulated disk; nothing is timed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  parseObjectId,
  printObjectId,
  typeOfId,
  uniquifierOfId,
} from '../../src/format/object-id.ts';
import type { Mblock, MblockId, Pool } from '../../src/pool/api.ts';
import {
  allOf,
  B,
  closeClean,
  freshPool,
  MIB,
  openHere,
  pattern,
  refuses,
  reopen,
} from './pool-host.ts';

async function makeMany(pool: Pool, count: number): Promise<Mblock[]> {
  const mblocks = await Promise.all(Array.from({ length: count }, () => pool.mblocks.alloc()));
  await Promise.all(mblocks.map((mblock, i) => mblock.write(pattern(100 + i, i))));
  return mblocks;
}

/** Counts what the host is asked to do while `work` runs. */
function counting(): {
  count: (op: string) => number;
  onOperation: (event: { op: string; phase: string }) => void;
  reset: () => void;
} {
  const counts = new Map<string, number>();
  return {
    count: (op) => counts.get(op) ?? 0,
    reset: () => counts.clear(),
    onOperation: ({ op, phase }) => {
      if (phase === 'submit') counts.set(op, (counts.get(op) ?? 0) + 1);
    },
  };
}

test('64 commits in flight share frames and flushes', async () => {
  const counter = counting();
  const setup = await freshPool({
    sizeBytes: 256 * MIB,
    host: { onOperation: counter.onOperation },
  });
  const { pool } = setup;
  const mblocks = await makeMany(pool, 64);
  const before = pool.stats();
  counter.reset();
  await Promise.all(mblocks.map((mblock) => mblock.commit()));
  const after = pool.stats();
  assert.equal(after.commits - before.commits, 64);
  assert.ok(counter.count('flush') <= 6, `${counter.count('flush')} flushes`);
  assert.ok(after.metadataFrames - before.metadataFrames <= 4, 'frames are shared');
  assert.ok(counter.count('write') <= 4, 'one page each needs no table');
  counter.reset();
  await Promise.all(mblocks.map((mblock) => mblock.delete()));
  assert.ok(counter.count('flush') + counter.count('write') <= 6, 'deletions too');
  counter.reset();
  const log = await pool.mdcs.root();
  counter.reset();
  await Promise.all(Array.from({ length: 64 }, (_, i) => log.append(`r${i}`, { sync: true })));
  assert.ok(counter.count('flush') + counter.count('write') <= 4, 'and appends that are synced');
  await log.close();
  await closeClean(setup);
});

test('a commit of several is one step: all or none after a crash', async () => {
  for (let cut = 1; cut < 12; cut++) {
    const setup = await freshPool();
    const mblocks = await makeMany(setup.pool, 5);
    setup.host.cutPowerAfter(cut);
    const done = await setup.pool.mblocks.commit(mblocks).then(
      () => true,
      () => false,
    );
    const image = setup.host.crash();
    const recovered = { host: image, pool: await openHere(image) };
    const found = await allOf(recovered.pool.mblocks.list());
    assert.ok(found.length === 0 || found.length === 5, `${found.length} after cut ${cut}`);
    if (done) assert.equal(found.length, 5);
    await closeClean(recovered);
    await setup.pool.close({ force: true }).catch(() => {});
    if (done) return;
  }
  assert.fail('no cut came after the commit');
});

test('a commit of several of which one is refused commits none', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const [a, b, c] = (await makeMany(pool, 3)) as [Mblock, Mblock, Mblock];
  await b.abort();
  await refuses(() => pool.mblocks.commit([a, b, c]), 'ERR_MPOOL_NOT_FOUND');
  assert.deepEqual([a.committed, c.committed], [false, false]);
  await a.write([]);
  await pool.mblocks.commit([c, a]);
  assert.ok(a.committed && c.committed);
  await refuses(() => pool.mblocks.abort([await0(pool), a]), 'ERR_MPOOL_INVALID_ARG');
  await refuses(() => pool.mblocks.delete([a.id, b.id]), 'ERR_MPOOL_NOT_FOUND');
  assert.equal((await allOf(pool.mblocks.list())).length, 2, 'all ids are checked first');
  await pool.mblocks.delete([a.id, a.id, c.id]);
  assert.equal((await allOf(pool.mblocks.list())).length, 0, 'naming one twice deletes it once');
  await pool.mblocks.delete([]);
  await pool.mblocks.commit([]);
  await pool.mblocks.abort([]);
  await closeClean(setup);
});

function await0(pool: Pool): Mblock {
  return pool as unknown as Mblock;
}

test('abort of several: all are checked before one is aborted', async () => {
  const setup = await freshPool();
  const [a, b] = (await makeMany(setup.pool, 2)) as [Mblock, Mblock];
  await b.commit();
  await refuses(() => setup.pool.mblocks.abort([a, b]), 'ERR_MPOOL_COMMITTED');
  await a.commit();
  await closeClean(setup);
});

test('handles of another pool, and lists that are none, are refused', async () => {
  const [one, two] = [await freshPool(), await freshPool()];
  const [mine] = (await makeMany(one.pool, 1)) as [Mblock];
  for (const call of [
    () => two.pool.mblocks.commit([mine]),
    () => two.pool.mblocks.abort([mine]),
    () => one.pool.mblocks.commit([null as unknown as Mblock]),
    () => one.pool.mblocks.commit([{ id: mine.id } as Mblock]),
    ...[undefined, null, 5, 'x', {}].flatMap((list) => [
      () => one.pool.mblocks.commit(list as Mblock[]),
      () => one.pool.mblocks.abort(list as Mblock[]),
      () => one.pool.mblocks.delete(list as MblockId[]),
    ]),
    ...[null, 5, 'x'].flatMap((options) => [
      () => one.pool.mblocks.alloc(options as unknown as object),
      () => allOf(one.pool.mblocks.list(options as unknown as object)),
      () => allOf(one.pool.mlogs.list(options as unknown as object)),
    ]),
    ...['tape', 0, null, {}].flatMap((mediaClass) => [
      () => one.pool.mblocks.alloc({ mediaClass: mediaClass as 'capacity' }),
      () => allOf(one.pool.mblocks.list({ mediaClass: mediaClass as 'capacity' })),
      () => one.pool.mlogs.alloc({ capacityBytes: MIB, mediaClass: mediaClass as 'capacity' }),
      () => one.pool.mdcs.alloc({ capacityBytes: MIB, mediaClass: mediaClass as 'capacity' }),
      () => one.pool.usage(mediaClass as 'capacity'),
    ]),
  ]) {
    await refuses(call, 'ERR_MPOOL_INVALID_ARG');
  }
  const { mediaClass } = { mediaClass: 'staging' } as const;
  await refuses(() => one.pool.mblocks.alloc({ mediaClass }), 'ERR_MPOOL_NOT_FOUND');
  await refuses(
    () => one.pool.mlogs.alloc({ mediaClass, capacityBytes: MIB }),
    'ERR_MPOOL_NOT_FOUND',
  );
  await refuses(
    () => one.pool.mdcs.alloc({ mediaClass, capacityBytes: MIB }),
    'ERR_MPOOL_NOT_FOUND',
  );
  await refuses(() => one.pool.usage(mediaClass), 'ERR_MPOOL_NOT_FOUND');
  await mine.commit();
  await closeClean(one);
  await closeClean(two);
});

test('spare: a normal allocation leaves it alone; one with spare takes it first, then the rest', async () => {
  const setup = await freshPool({ sizeBytes: 64 * MIB, sparePercent: 25 });
  const { pool } = setup;
  const first = await pool.usage();
  assert.equal(first.spareBytes, first.freeSpareBytes);
  assert.ok(first.spareBytes >= 15 * MIB && first.spareBytes <= 16 * MIB, 'a quarter of 63 zones');
  assert.equal(first.totalBytes, first.usableBytes + first.spareBytes);
  const fromSpare = await pool.mblocks.alloc({ spare: true });
  assert.equal((await pool.usage()).freeSpareBytes, first.freeSpareBytes - MIB);
  assert.equal((await pool.usage()).freeUsableBytes, first.freeUsableBytes);
  await fromSpare.abort();
  assert.deepEqual(await pool.usage(), first, 'what is freed refills spare first');
  const taken: Mblock[] = [];
  for (;;) {
    const mblock = await pool.mblocks.alloc().catch((error: { code: string }) => {
      assert.equal(error.code, 'ERR_MPOOL_NO_SPACE');
    });
    if (mblock === undefined) break;
    taken.push(mblock);
  }
  const full = await pool.usage();
  assert.ok(full.freeUsableBytes < MIB, 'only what is free in zones of logs is left');
  assert.equal(full.freeSpareBytes, first.spareBytes);
  await refuses(() => pool.mlogs.alloc({ capacityBytes: MIB }), 'ERR_MPOOL_NO_SPACE');
  const spares: Mblock[] = [];
  for (let i = 0; i < first.spareBytes / MIB; i++)
    spares.push(await pool.mblocks.alloc({ spare: true }));
  await refuses(() => pool.mblocks.alloc({ spare: true }), 'ERR_MPOOL_NO_SPACE');
  await pool.mblocks.abort([...taken, ...spares]);
  assert.deepEqual(await pool.usage(), first);
  await closeClean(setup);
});

test('in a full pool deleting works, and gives space again', async () => {
  let setup = await freshPool();
  const { pool } = setup;
  const mblocks: Mblock[] = [];
  for (;;) {
    const mblock = await pool.mblocks.alloc({ spare: true }).catch(() => undefined);
    if (mblock === undefined) break;
    await mblock.commit();
    mblocks.push(mblock);
  }
  setup = await reopen(setup);
  await refuses(() => setup.pool.mblocks.alloc({ spare: true }), 'ERR_MPOOL_NO_SPACE');
  await setup.pool.mblocks.delete(mblocks.map(({ id }) => id));
  assert.equal((await setup.pool.usage()).mblockCount, 0);
  await (await setup.pool.mblocks.alloc()).abort();
  await closeClean(setup);
});

test('list gives the committed ones in the order of their ids, by class', async () => {
  const setup = await freshPool({ stagingBytes: 64 * MIB });
  const { pool } = setup;
  const ids: bigint[] = [];
  for (let i = 0; i < 40; i++) {
    const mblock = await pool.mblocks.alloc({ mediaClass: i % 2 === 0 ? 'staging' : 'capacity' });
    await mblock.write(pattern(i));
    await mblock.commit();
    if (i % 5 === 0) await mblock.delete();
    else ids.push(mblock.id);
  }
  const open = await pool.mblocks.alloc();
  const listed = await allOf(pool.mblocks.list());
  assert.deepEqual(
    listed.map(({ id }) => id),
    ids.toSorted((x, y) => (x < y ? -1 : 1)),
  );
  assert.ok(listed.every(({ committed }) => committed));
  const staging = await allOf(pool.mblocks.list({ mediaClass: 'staging' }));
  assert.ok(staging.length === 16 && staging.every(({ mediaClass }) => mediaClass === 'staging'));
  assert.equal((await allOf(pool.mblocks.list({ mediaClass: 'capacity' }))).length, 16);
  await open.abort();
  const iterator = pool.mblocks.list()[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).done, false);
  await pool.close();
  for (let step = 0, done = false; !done; step++) {
    assert.ok(step <= 32, 'a list under way when the pool closes ends');
    done = await iterator.next().then(
      (result) => result.done === true,
      (error: { code: string }) => error.code === 'ERR_MPOOL_CLOSED' || assert.fail(error.code),
    );
  }
  assert.throws(() => pool.mblocks, { code: 'ERR_MPOOL_CLOSED' });
  assert.equal(setup.host.liveBufferCount, 0);
  assert.ok(setup.host.disk(B).sizeBytes > 0);
});

test('ids are never used again: not after an abort, a reopening or a crash', async () => {
  let setup = await freshPool();
  const seen = new Set<bigint>();
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 10; i++) {
      const mblock = await setup.pool.mblocks.alloc();
      const log = await setup.pool.mlogs.alloc({ capacityBytes: 8192 });
      const mdc = await setup.pool.mdcs.alloc({ capacityBytes: 8192 });
      for (const id of [mblock.id, log.id, mdc.id.logA, mdc.id.logB]) {
        assert.ok(!seen.has(id), `${printObjectId(id)} is new`);
        seen.add(id);
        assert.equal(parseObjectId(printObjectId(id)), id);
        assert.ok(uniquifierOfId(id) > 0 && typeOfId(id) === (id === mblock.id ? 1 : 2));
      }
      if (i % 3 === 0) await mblock.commit();
      else await mblock.abort();
      await log.abort();
      await mdc.abort();
    }
    if (round % 2 === 0) setup = await reopen(setup);
    else {
      const host = setup.host.crash();
      await setup.pool.close({ force: true }).catch(() => {});
      setup = { host, pool: await openHere(host) };
    }
  }
  await closeClean(setup);
});

test('more allocations at once than one step of ids gives', async () => {
  const setup = await freshPool({ sizeBytes: 8192 * MIB });
  const { pool } = setup;
  const mblocks = await Promise.all(Array.from({ length: 6000 }, () => pool.mblocks.alloc()));
  assert.equal(new Set(mblocks.map(({ id }) => id)).size, 6000);
  await pool.mblocks.commit(mblocks.slice(0, 3000));
  await pool.mblocks.abort(mblocks.slice(3000));
  assert.equal((await pool.usage()).mblockCount, 3000);
  const again = await reopen(setup);
  assert.equal((await allOf(again.pool.mblocks.list())).length, 3000);
  assert.ok(again.pool.stats().compactions === 0);
  await closeClean(again);
});
