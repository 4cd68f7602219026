import assert from 'node:assert/strict';
import { parseObjectId, printObjectId, typeOfId } from '../../src/format/object-id.ts';
import type { Mblock, MblockId, Pool } from '../../src/pool/api.ts';
import { allOf, pattern, refuses } from '../pool/pool-host.ts';
import { codeOf, type Contract, MIB, some, titled } from './contract.ts';

async function makeMany(pool: Pool, count: number): Promise<Mblock[]> {
  const mblocks = await Promise.all(Array.from({ length: count }, () => pool.mblocks.alloc()));
  await Promise.all(mblocks.map((mblock, i) => mblock.write(pattern(100 + i, i))));
  return mblocks;
}

/** Many mblocks at once: allocation, spare, one durable step for several, listing, ids for ever new. */
export function mblocksContract(contract: Contract): void {
  const fresh: typeof contract.fresh = (...options) => contract.fresh(...options);
  const it = titled(contract);

  it('64 commits in flight share frames and flushes', async (t) => {
    const { pool } = await fresh(t, { sizeBytes: 256 * MIB });
    const mblocks = await makeMany(pool, 64);
    await pool.info();
    const before = pool.stats();
    await Promise.all(mblocks.map((mblock) => mblock.commit()));
    await pool.info();
    const after = pool.stats();
    assert.equal(after.commits - before.commits, 64);
    assert.ok(after.flushes - before.flushes <= 24, `${after.flushes - before.flushes} flushes`);
    assert.ok(after.metadataFrames - before.metadataFrames <= 24, 'frames are shared');
    await Promise.all(mblocks.map((mblock) => mblock.delete()));
    await pool.info();
    const last = pool.stats();
    assert.equal(last.deletes - after.deletes, 64);
    assert.ok(last.metadataFrames - after.metadataFrames <= 24, 'deletions too');
  });

  it('a commit of several of which one is refused commits none', async (t) => {
    const { pool } = await fresh(t);
    const [a, b, c] = (await makeMany(pool, 3)) as [Mblock, Mblock, Mblock];
    await b.abort();
    await refuses(() => pool.mblocks.commit([a, b, c]), 'ERR_MPOOL_NOT_FOUND');
    assert.deepEqual([a.committed, c.committed], [false, false]);
    await a.write([]);
    await pool.mblocks.commit([c, a]);
    assert.ok(a.committed && c.committed);
    await refuses(
      () => pool.mblocks.abort([pool as unknown as Mblock, a]),
      'ERR_MPOOL_INVALID_ARG',
    );
    await refuses(() => pool.mblocks.delete([a.id, b.id]), 'ERR_MPOOL_NOT_FOUND');
    assert.equal((await allOf(pool.mblocks.list())).length, 2, 'all ids are checked first');
    await pool.mblocks.delete([a.id, a.id, c.id]);
    assert.equal((await allOf(pool.mblocks.list())).length, 0, 'naming one twice deletes it once');
    await pool.mblocks.delete([]);
    await pool.mblocks.commit([]);
    await pool.mblocks.abort([]);
  });

  it('abort of several: all are checked before one is aborted', async (t) => {
    const { pool } = await fresh(t);
    const [a, b] = (await makeMany(pool, 2)) as [Mblock, Mblock];
    await b.commit();
    await refuses(() => pool.mblocks.abort([a, b]), 'ERR_MPOOL_COMMITTED');
    await a.commit();
  });

  it('handles of another pool, and lists that are none, are refused', async (t) => {
    const [one, two] = [(await fresh(t)).pool, (await fresh(t)).pool];
    const [mine] = (await makeMany(one, 1)) as [Mblock];
    for (const call of [
      () => two.mblocks.commit([mine]),
      () => two.mblocks.abort([mine]),
      () => one.mblocks.commit([null as unknown as Mblock]),
      () => one.mblocks.commit([{ id: mine.id } as Mblock]),
      ...[undefined, null, 5, 'x', {}].flatMap((list) => [
        () => one.mblocks.commit(list as Mblock[]),
        () => one.mblocks.abort(list as Mblock[]),
        () => one.mblocks.delete(list as MblockId[]),
      ]),
      ...[null, 5, 'x'].flatMap((options) => [
        () => one.mblocks.alloc(options as unknown as object),
        () => allOf(one.mblocks.list(options as unknown as object)),
        () => allOf(one.mlogs.list(options as unknown as object)),
      ]),
      ...['tape', 0, null, {}].flatMap((mediaClass) => [
        () => one.mblocks.alloc({ mediaClass: mediaClass as 'capacity' }),
        () => allOf(one.mblocks.list({ mediaClass: mediaClass as 'capacity' })),
        () => one.mlogs.alloc({ capacityBytes: MIB, mediaClass: mediaClass as 'capacity' }),
        () => one.mdcs.alloc({ capacityBytes: MIB, mediaClass: mediaClass as 'capacity' }),
        () => one.usage(mediaClass as 'capacity'),
      ]),
    ]) {
      await refuses(call, 'ERR_MPOOL_INVALID_ARG');
    }
    const { mediaClass } = { mediaClass: 'staging' } as const;
    await refuses(() => one.mblocks.alloc({ mediaClass }), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => one.mlogs.alloc({ mediaClass, capacityBytes: MIB }), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => one.mdcs.alloc({ mediaClass, capacityBytes: MIB }), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => one.usage(mediaClass), 'ERR_MPOOL_NOT_FOUND');
    await mine.commit();
  });

  it('spare: a normal allocation leaves it alone; one with spare takes it first', async (t) => {
    const { pool } = await fresh(t, { sizeBytes: 64 * MIB, sparePercent: 25 });
    const first = await pool.usage();
    assert.equal(first.spareBytes, first.freeSpareBytes);
    assert.ok(
      first.spareBytes >= 15 * MIB && first.spareBytes <= 16 * MIB,
      'a quarter of 63 zones',
    );
    assert.equal(first.totalBytes, first.usableBytes + first.spareBytes);
    const fromSpare = await pool.mblocks.alloc({ spare: true });
    assert.equal((await pool.usage()).freeSpareBytes, first.freeSpareBytes - MIB);
    assert.equal((await pool.usage()).freeUsableBytes, first.freeUsableBytes);
    await fromSpare.abort();
    assert.deepEqual(await pool.usage(), first, 'what is freed refills spare first');
    const taken: Mblock[] = [];
    for (;;) {
      const mblock = await pool.mblocks.alloc().catch((error: unknown) => {
        assert.equal(codeOf(error), 'ERR_MPOOL_NO_SPACE');
      });
      if (mblock === undefined) break;
      taken.push(mblock);
    }
    const full = await pool.usage();
    assert.ok(full.freeUsableBytes < MIB, 'only what is free in zones of logs is left');
    assert.equal(full.freeSpareBytes, first.spareBytes);
    await refuses(() => pool.mlogs.alloc({ capacityBytes: MIB }), 'ERR_MPOOL_NO_SPACE');
    const spares: Mblock[] = [];
    for (let i = 0; i < first.spareBytes / MIB; i++) {
      spares.push(await pool.mblocks.alloc({ spare: true }));
    }
    await refuses(() => pool.mblocks.alloc({ spare: true }), 'ERR_MPOOL_NO_SPACE');
    await pool.mblocks.abort([...taken, ...spares]);
    assert.deepEqual(await pool.usage(), first);
  });

  it('in a full pool deleting works, and gives space again at once', async (t) => {
    const setup = await fresh(t);
    const mblocks: Mblock[] = [];
    for (;;) {
      const mblock = await setup.pool.mblocks.alloc({ spare: true }).catch(() => undefined);
      if (mblock === undefined) break;
      await mblock.write(pattern(5000, mblocks.length));
      await mblock.commit();
      mblocks.push(mblock);
    }
    await setup.reopen();
    const { pool } = setup;
    await refuses(() => pool.mblocks.alloc({ spare: true }), 'ERR_MPOOL_NO_SPACE');
    const [first, ...others] = mblocks.map(({ id }) => id);
    const handle = await pool.mblocks.find(first!);
    assert.ok(pattern(5000, 0).equals(await handle.read(0, 5000)));
    await handle.delete();
    await (await pool.mblocks.alloc({ spare: true })).abort();
    await pool.mblocks.delete(others);
    assert.equal((await pool.usage()).mblockCount, 0);
    await (await pool.mblocks.alloc()).abort();
  });

  it('list gives the committed ones in the order of their ids, by class', async (t) => {
    const setup = await fresh(t, { stagingBytes: 64 * MIB });
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
        (error: unknown) => codeOf(error) === 'ERR_MPOOL_CLOSED' || assert.fail(codeOf(error)),
      );
    }
    assert.throws(() => pool.mblocks, { code: 'ERR_MPOOL_CLOSED' });
  });

  it('ids are never used again: not after an abort or a reopening', async (t) => {
    const setup = await fresh(t);
    const seen = new Set<bigint>();
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 10; i++) {
        const { pool } = setup;
        const mblock = await pool.mblocks.alloc();
        const log = await pool.mlogs.alloc({ capacityBytes: 8192 });
        const mdc = await pool.mdcs.alloc({ capacityBytes: 8192 });
        for (const id of [mblock.id, log.id, mdc.id.logA, mdc.id.logB]) {
          assert.ok(!seen.has(id), `${printObjectId(id)} is new`);
          seen.add(id);
          assert.equal(parseObjectId(printObjectId(id)), id);
          assert.ok(typeOfId(id) === (id === mblock.id ? 1 : 2));
        }
        if (i % 3 === 0) await mblock.commit();
        else await mblock.abort();
        await log.abort();
        await mdc.abort();
      }
      await setup.reopen({ force: true });
    }
  });

  it('thousands of allocations, commits and deletions at once', async (t) => {
    const setup = await fresh(t, { sizeBytes: 4096 * MIB });
    const { pool } = setup;
    const mblocks = await Promise.all(Array.from({ length: 3000 }, () => pool.mblocks.alloc()));
    assert.equal(new Set(mblocks.map(({ id }) => id)).size, 3000);
    await pool.mblocks.commit(mblocks.slice(0, 2000));
    await pool.mblocks.abort(mblocks.slice(2000));
    assert.equal((await pool.usage()).mblockCount, 2000);
    await setup.reopen();
    assert.equal((await allOf(setup.pool.mblocks.list())).length, 2000);
    await Promise.all(mblocks.slice(0, 500).map(({ id }) => setup.pool.mblocks.delete([id])));
    await setup.pool.mblocks.delete(mblocks.slice(500, 2000).map(({ id }) => id));
    assert.equal((await setup.pool.usage()).mblockCount, 0);
  });

  it('more objects read than anyone keeps in mind', async (t) => {
    const setup = await fresh(t, { sizeBytes: 8192 * MIB });
    const ids = await some(setup.pool, 20, 5000);
    const many = await Promise.all(Array.from({ length: 5000 }, () => setup.pool.mblocks.alloc()));
    await setup.pool.mblocks.commit(many);
    const handles = await Promise.all(ids.map((id) => setup.pool.mblocks.find(id)));
    for (const { id } of many) assert.equal((await setup.pool.mblocks.read(id, 0, 0)).length, 0);
    for (const [i, handle] of handles.entries()) {
      assert.equal(handle.writtenBytes, 5000);
      assert.ok(pattern(5000, i + 1).equals(await handle.read(0, 5000)));
    }
    const first = handles[0]!;
    await setup.pool.mblocks.delete([first.id]);
    await refuses(() => first.read(0, 1), 'ERR_MPOOL_NOT_FOUND');
    assert.equal(first.writtenBytes, 0);
  });
}
