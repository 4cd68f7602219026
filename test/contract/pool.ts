import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Mblock, Pool, PoolParameters, Usage } from '../../src/pool/api.ts';
import { allOf, pattern, refuses, texts } from '../pool/pool-host.ts';
import { committed, type Contract, MIB, titled } from './contract.ts';

/** One of everything, open or uncommitted. */
async function everything(pool: Pool) {
  const done = await committed(pool, pattern(5000));
  const log = await pool.mlogs.alloc({ capacityBytes: 65_536 });
  await log.commit();
  return {
    committed: done,
    mblock: await pool.mblocks.alloc(),
    mlog: await pool.mlogs.open(log.id),
    root: await pool.mdcs.root(),
    logAllocation: await pool.mlogs.alloc({ capacityBytes: 65_536 }),
    mdcAllocation: await pool.mdcs.alloc({ capacityBytes: 65_536 }),
  };
}

/** A pool closes when nothing needs it, can be made to, and then gives nothing any more. */
export function poolContract(contract: Contract): void {
  const fresh: typeof contract.fresh = (...options) => contract.fresh(...options);
  const it = titled(contract);

  it('info, devices and usage say the same', async (t) => {
    const setup = await fresh(t, { stagingBytes: 64 * MIB });
    const { pool } = setup;
    await committed(pool, pattern(5000));
    const info = await pool.info();
    assert.equal(info.name, setup.name);
    assert.equal(info.name, pool.name);
    assert.equal(info.uuid, pool.uuid);
    assert.equal(info.readOnly, false);
    assert.equal(info.health, 'optimal');
    assert.equal(info.formatVersion, 2);
    assert.ok(info.createdMs > 1e12 && info.mdcCount >= 1 && info.generation >= 1);
    assert.deepEqual(info.parameters, await pool.parameters());
    assert.deepEqual(info.devices, await pool.devices());
    assert.deepEqual(info.usage, await pool.usage());
    assert.deepEqual(
      info.devices.map(({ mediaClass, path, kind, status }) => [mediaClass, path, kind, status]),
      [
        ['capacity', setup.capacityPath, 'file', 'online'],
        ['staging', setup.stagingPath, 'file', 'online'],
      ],
    );
    assert.equal(info.usage.mblockCount, 1);
    assert.equal(info.usage.mblockWrittenBytes, 5000);
    const { objectCount, checksumErrors } = pool.stats();
    assert.deepEqual([objectCount, checksumErrors], [3, 0], 'the mblock and the root MDC');
  });

  it('a signal ends the waiting of whatever waits and writes nothing, and else does no harm', async (t) => {
    const { pool } = await fresh(t);
    const content = pattern(5000);
    const mblock = await committed(pool, content);
    const { mlog, ...rest } = await everything(pool);
    await mlog.append('a', { sync: true });
    await rest.mblock.abort();
    const into = new Uint8Array(5000);
    const reader = mlog.reader();
    const map = await pool.map([mblock.id], { signal: new AbortController().signal });
    const range = { offsetBytes: 1, lengthBytes: 9 };
    const calls = (signal: AbortSignal): Record<string, () => Promise<unknown>> => ({
      info: () => pool.info({ signal }),
      find: () => pool.mblocks.find(mblock.id, { signal }),
      listMblocks: () => allOf(pool.mblocks.list({ signal })),
      listMlogs: () => allOf(pool.mlogs.list({ signal, mediaClass: 'capacity' })),
      listMdcs: () => allOf(pool.mdcs.list({ signal })),
      readById: () => pool.mblocks.read(mblock.id, 1, 9, { signal }),
      read: () => mblock.read(1, 9, { signal }),
      readInto: () => mblock.readInto(0, into, { signal }),
      readMany: () => mblock.readMany([range, range], { signal }),
      properties: () => pool.mlogs.properties(mlog.id, { signal }),
      openMlog: async () => (await pool.mlogs.open(mlog.id, { signal })).close(),
      root: async () => (await pool.mdcs.root({ signal })).close(),
      openMdc: async () => (await pool.mdcs.open(rest.root.id, { signal })).close(),
      next: () => reader.next({ signal }),
      records: () => texts(mlog.records({ signal })),
      map: async () => (await pool.map([mblock.id], { signal })).unmap(),
      getPages: () => map.getPages(0, [0], { signal }),
      readMap: () => map.read(0, 1, 9, { signal }),
    });
    const reason = new Error('enough');
    for (const [name, call] of Object.entries(calls(AbortSignal.abort(reason)))) {
      // The embedded store has it at hand.
      if (name === 'info' && (await pool.info({ signal: AbortSignal.abort() }).catch(() => null)))
        continue;
      const error = await call().then(
        () => assert.fail(`${name} was not abandoned`),
        (thrown: Error & { code: string }) => thrown,
      );
      assert.deepEqual([error.code, error.cause], ['ERR_MPOOL_ABORTED', reason], name);
    }
    for (const call of Object.values(calls(new AbortController().signal))) await call();
    assert.deepEqual(Buffer.from(into), content);
    await map.unmap();
    await pool.close({ force: true, signal: new AbortController().signal });
  });

  it('close is refused while something is held, naming it, and can be tried again', async (t) => {
    const { pool } = await fresh(t);
    const held = await everything(pool);
    const cases: [RegExp, () => Promise<void>][] = [
      [/mblock 0x[0-9a-f]+ is not committed and 4 more/, () => held.mblock.abort()],
      [/mlog 0x[0-9a-f]+ is open and 3 more/, () => held.mlog.close()],
      [/MDC 0x[0-9a-f]+ is open and 2 more/, () => held.root.close()],
      [/mlog 0x[0-9a-f]+ is not committed and 1 more/, () => held.logAllocation.abort()],
      [/mlog 0x[0-9a-f]+ is not committed: in use/, () => held.mdcAllocation.abort()],
    ];
    for (const [message, letGo] of cases) {
      await refuses(() => pool.close(), 'ERR_MPOOL_BUSY', message);
      const read = await held.committed.read(0, 5000);
      assert.equal(read.length, 5000, 'the pool is as open as before');
      await letGo();
    }
    await Promise.all([pool.close(), pool.close({ force: true }), pool.close()]);
    await pool.close();
  });

  it('a forced close closes and aborts all that is held; nothing works afterwards', async (t) => {
    const setup = await fresh(t);
    const { pool } = setup;
    const { mblocks, mlogs, mdcs } = pool;
    const held = await everything(pool);
    const map = await pool.map([held.committed.id]);
    const view = map.view(0);
    await held.mblock.write(pattern(100_000));
    await held.mlog.append('kept');
    await held.root.append('kept too');
    const reader = held.root.reader();
    await reader.next();
    const [refused, forced] = await Promise.allSettled([pool.close(), pool.close({ force: true })]);
    assert.equal((refused as PromiseRejectedResult).reason.code, 'ERR_MPOOL_BUSY');
    assert.equal(forced.status, 'fulfilled');
    assert.equal(view.length, 0);
    for (const call of [
      () => pool.info(),
      () => pool.parameters(),
      () => pool.usage(),
      () => pool.devices(),
      () => pool.sync(),
      () => pool.grow(),
      () => pool.setParameters({ label: 'x' }),
      () => pool.addMediaClass('staging', { path: setup.stagingPath }),
      () => pool.map([held.committed.id]),
      () => map.read(0, 0, 1),
      () => mblocks.alloc(),
      () => mblocks.find(held.committed.id),
      () => mblocks.read(held.committed.id, 0, 1),
      () => mblocks.delete([held.committed.id]),
      () => mblocks.commit([held.mblock]),
      () => allOf(mblocks.list()),
      () => mlogs.alloc({ capacityBytes: 65_536 }),
      () => mlogs.open(held.mlog.id),
      () => mlogs.properties(held.mlog.id),
      () => allOf(mlogs.list()),
      () => mdcs.alloc({ capacityBytes: 65_536 }),
      () => mdcs.root(),
      () => allOf(mdcs.list()),
      () => held.committed.read(0, 1),
      () => held.committed.delete(),
      () => held.mblock.write(pattern(1)),
      () => held.mblock.commit(),
      () => held.mlog.append('x'),
      () => held.mlog.sync(),
      () => held.root.append('x'),
      () => held.root.compact([]),
      () => reader.next(),
      () => held.logAllocation.commit(),
      () => held.mdcAllocation.commit(),
    ]) {
      await refuses(call, 'ERR_MPOOL_CLOSED');
    }
    for (const access of ['mblocks', 'mlogs', 'mdcs'] as const) {
      assert.throws(() => pool[access], { code: 'ERR_MPOOL_CLOSED' });
    }
    assert.throws(() => pool.stats(), { code: 'ERR_MPOOL_CLOSED' });
    // Letting go of what is gone is never an error.
    await Promise.all([
      held.mblock.abort(),
      held.mlog.close(),
      held.root.close(),
      held.logAllocation.abort(),
      held.mdcAllocation.abort(),
      map.unmap(),
    ]);
    assert.equal(pool.name, setup.name);
    await setup.reopen();
    const log = await setup.pool.mlogs.open(held.mlog.id);
    assert.deepEqual(await texts(log.records()), ['kept'], 'logs are synced');
    assert.deepEqual(
      (await allOf(setup.pool.mblocks.list())).map(({ id }) => id),
      [held.committed.id],
    );
    await log.close();
  });

  it('what is in flight when a pool closes ends well', async (t) => {
    for (const force of [false, true]) {
      const setup = await fresh(t, { sizeBytes: 256 * MIB, mblockSizeBytes: 8 * MIB });
      const { pool } = setup;
      const data = pattern(7 * MIB + 1);
      const mblock = await committed(pool, data);
      const doomed = await pool.mblocks.alloc();
      await doomed.commit();
      const another = await pool.mblocks.alloc();
      await another.write(pattern(2 * MIB));
      const reads = [
        mblock.read(0, data.length),
        mblock.read(1, 5_000_000),
        mblock.read(7 * MIB, 1),
      ];
      const deletion = doomed.delete();
      const commit = another.commit();
      if (!force) await commit;
      const changing = pool.setParameters({ label: 'changed' });
      const closing = pool.close({ force });
      const results = await Promise.all(reads);
      assert.ok(data.equals(results[0]!));
      await Promise.all([deletion, commit, changing, closing]);
      await setup.reopen();
      assert.equal((await allOf(setup.pool.mblocks.list())).length, 2);
      assert.equal((await setup.pool.parameters()).label, 'changed');
    }
  });

  it('disposing closes by force', async (t) => {
    const { pool } = await fresh(t);
    const held = await everything(pool);
    await held.mblock[Symbol.asyncDispose]();
    await held.mlog[Symbol.asyncDispose]();
    await held.logAllocation[Symbol.asyncDispose]();
    await held.mdcAllocation[Symbol.asyncDispose]();
    await pool[Symbol.asyncDispose]();
  });

  it('a read-only pool changes nothing and says so', async (t) => {
    const setup = await fresh(t);
    const made = await everything(setup.pool);
    await made.mlog.append('record', { sync: true });
    await made.root.append('root record', { sync: true });
    const usage = await setup.pool.usage('capacity');
    await setup.reopen({ force: true, readOnly: true });
    const { pool } = setup;
    assert.equal(pool.readOnly, true);
    const mblock = await pool.mblocks.find(made.committed.id);
    assert.ok(pattern(5000).equals(await mblock.read(0, 5000)));
    await using map = await pool.map([mblock.id]);
    assert.ok(pattern(5000).equals(await map.read(0, 0, 5000)));
    const mlog = await pool.mlogs.open(made.mlog.id);
    const root = await pool.mdcs.root();
    assert.deepEqual(await texts(mlog.records()), ['record']);
    assert.deepEqual(await texts(root.records()), ['root record']);
    assert.equal((await pool.info()).readOnly, true);
    for (const call of [
      () => pool.setParameters({ label: 'x' }),
      () => pool.setParameters({}),
      () => pool.grow(),
      () => pool.addMediaClass('staging', { path: setup.stagingPath, sizeBytes: 64 * MIB }),
      () => pool.mblocks.alloc(),
      () => pool.mblocks.commit([]),
      () => pool.mblocks.delete([mblock.id]),
      () => mblock.delete(),
      () => mblock.write(pattern(4096)),
      () => mblock.commit(),
      () => pool.mlogs.alloc({ capacityBytes: 65_536 }),
      () => pool.mlogs.delete([mlog.id]),
      () => mlog.append('x'),
      () => mlog.sync(),
      () => mlog.erase(),
      () => mlog.startCompaction(),
      () => pool.mdcs.alloc({ capacityBytes: 65_536 }),
      () => pool.mdcs.delete(root.id),
      () => root.append('x'),
      () => root.sync(),
      () => root.startCompaction(),
      () => root.cancelCompaction(),
      () => root.compact([]),
    ]) {
      await refuses(call, 'ERR_MPOOL_READ_ONLY');
    }
    await pool.sync();
    const [listed] = await allOf(pool.mblocks.list());
    assert.equal(listed?.id, mblock.id);
    await map.unmap();
    await root.close();
    await mlog.close();
    await setup.reopen();
    const { usedBytes, mblockCount } = await setup.pool.usage('capacity');
    assert.equal(mblockCount, 1);
    assert.ok(usedBytes < usage.usedBytes, 'what was not committed is gone, and nothing came');
  });

  it('exclusively open, it is open once', async (t) => {
    const setup = await fresh(t);
    await refuses(() => setup.open({ exclusive: true }), 'ERR_MPOOL_BUSY');
    const second = await setup.open();
    await second.close();
    await setup.reopen({ exclusive: true });
    await refuses(() => setup.open(), 'ERR_MPOOL_BUSY');
    await refuses(() => setup.open({ exclusive: true }), 'ERR_MPOOL_BUSY');
    await setup.reopen();
    await (await setup.open()).close();
  });

  it('two handles on a pool see what each other does', async (t) => {
    const setup = await fresh(t);
    const { pool } = setup;
    const other = await setup.open();
    const mblock = await committed(pool, pattern(9000));
    const found = await other.mblocks.find(mblock.id);
    assert.ok(pattern(9000).equals(await found.read(0, 9000)));
    await refuses(
      () => other.mblocks.commit([mblock].slice(1).concat(null!)),
      'ERR_MPOOL_INVALID_ARG',
    );
    await other.mblocks.delete([mblock.id]);
    await refuses(() => other.mblocks.find(mblock.id), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => pool.mblocks.find(mblock.id), 'ERR_MPOOL_NOT_FOUND');
    await pool.setParameters({ label: 'seen' });
    assert.equal((await other.parameters()).label, 'seen');
    const allocation = await pool.mlogs.alloc({ capacityBytes: 65_536 });
    await allocation.commit();
    const [mine, theirs] = [
      await pool.mlogs.open(allocation.id),
      await other.mlogs.open(allocation.id),
    ];
    await mine.append('from one');
    await theirs.append('from the other', { sync: true });
    assert.deepEqual(await texts(mine.records()), ['from one', 'from the other']);
    assert.deepEqual(await texts(theirs.records()), ['from one', 'from the other']);
    await theirs.close();
    await refuses(() => other.mlogs.delete([allocation.id]), 'ERR_MPOOL_BUSY');
    await mine.close();
    await other.mlogs.delete([allocation.id]);
    await other.close();
    assert.equal((await pool.usage()).mblockCount, 0);
  });

  it('parameters: ranges, all or nothing, lasting', async (t) => {
    const setup = await fresh(t);
    const ranges: [keyof PoolParameters, number, number][] = [
      ['uid', 0, 2 ** 32 - 2],
      ['gid', 0, 2 ** 32 - 2],
      ['mode', 0, 0o777],
      ['readAheadPages', 0, 32],
      ['mappedRegionLog2', 27, 32],
      ['sparePercentCapacity', 0, 100],
      ['sparePercentStaging', 0, 100],
    ];
    const before = await setup.pool.parameters();
    assert.deepEqual(
      [before.mode, before.label, before.readAheadPages, before.mappedRegionLog2],
      [0o660, 'raw', 32, 30],
    );
    for (const [parameter, least, most] of ranges) {
      for (const value of [least - 1, most + 1, least + 0.5, NaN, Infinity, '5', null, true, 5n]) {
        const changes = { label: 'changed', [parameter]: value } as Partial<PoolParameters>;
        await refuses(
          () => setup.pool.setParameters(changes),
          'ERR_MPOOL_INVALID_ARG',
          new RegExp(parameter),
        );
      }
    }
    for (const label of ['x'.repeat(64), 'a b', 'ä', 'a/b', 5, null, ['raw']]) {
      const changes = { label: label as string };
      await refuses(() => setup.pool.setParameters(changes), 'ERR_MPOOL_INVALID_ARG');
    }
    for (const utype of ['', 'x', '0'.repeat(36), 5, null]) {
      const changes = { utype: utype as string };
      await refuses(() => setup.pool.setParameters(changes), 'ERR_MPOOL_INVALID_ARG');
    }
    for (const changes of [undefined, null, 5, 'label', { unknown: 1 }, { toString: 1 }]) {
      await refuses(() => setup.pool.setParameters(changes as object), 'ERR_MPOOL_INVALID_ARG');
    }
    assert.deepEqual(await setup.pool.parameters(), before, 'all or nothing');
    const utype = '6B29FC40-CA47-1067-B31D-00DD010662DA';
    const label = `A-z.0_${'x'.repeat(57)}`;
    const numbers = { readAheadPages: 0, mappedRegionLog2: 27, sparePercentCapacity: 100 };
    await Promise.all([
      setup.pool.setParameters({ label, utype }),
      setup.pool.setParameters({ mode: 0o600, gid: undefined as unknown as number }),
      setup.pool.setParameters(numbers),
    ]);
    await setup.reopen();
    const after = await setup.pool.parameters();
    assert.deepEqual(after, {
      ...before,
      ...numbers,
      mode: 0o600,
      label,
      utype: utype.toLowerCase(),
    });
    await setup.pool.setParameters({ label: '' });
    assert.equal((await setup.pool.parameters()).label, '');
  });

  it('parameters of create are the pool’s, and can be changed while opening', async (t) => {
    const setup = await fresh(t, {
      parameters: { label: 'mine', readAheadPages: 1 },
      sparePercent: 9,
    });
    const found = await setup.pool.parameters();
    assert.deepEqual(
      [found.label, found.readAheadPages, found.sparePercentCapacity],
      ['mine', 1, 9],
    );
    found.label = 'not by this';
    assert.equal((await setup.pool.parameters()).label, 'mine', 'a copy');
    await setup.reopen({ parameters: { label: 'opened' } });
    assert.equal((await setup.pool.parameters()).label, 'opened');
  });

  it('staging is added to an active pool, once, and is there after reopening', async (t) => {
    const setup = await fresh(t);
    const { pool, stagingPath } = setup;
    const add = (options: object, mediaClass = 'staging'): Promise<void> =>
      pool.addMediaClass(mediaClass as 'staging', options as { path: string });
    await refuses(() => add({ path: stagingPath }, 'tape'), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => add(undefined!), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => add({}), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => pool.mblocks.alloc({ mediaClass: 'staging' }), 'ERR_MPOOL_NOT_FOUND');
    const options = {
      path: stagingPath,
      sizeBytes: 64 * MIB,
      mblockSizeBytes: 2 * MIB,
      sparePercent: 10,
    };
    await add(options);
    await refuses(() => add(options), 'ERR_MPOOL_EXISTS');
    const mblock = await pool.mblocks.alloc({ mediaClass: 'staging' });
    assert.equal(mblock.mediaClass, 'staging');
    await mblock.write(pattern(2_000_000));
    await mblock.commit();
    for (let round = 0; round < 2; round++) {
      const info = await setup.pool.info();
      assert.equal(info.devices[1]!.path, stagingPath);
      assert.equal(info.devices[1]!.mblockSizeBytes, 2 * MIB);
      assert.equal(info.parameters.sparePercentStaging, 10);
      const usage = await setup.pool.usage('staging');
      assert.equal(usage.mblockCount, 1);
      assert.ok(usage.spareBytes >= 6 * MIB && usage.spareBytes <= 8 * MIB);
      const read = await setup.pool.mblocks.read(mblock.id, 0, 2_000_000);
      assert.ok(pattern(2_000_000).equals(read));
      await using map = await setup.pool.map([mblock.id]);
      assert.ok(pattern(2_000_000).equals(map.view(0)));
      await map.unmap();
      await setup.reopen();
    }
  });

  it('grow takes in what devices grew by, and what lies there is read and mapped', async (t) => {
    const setup = await fresh(t, { sizeBytes: 32 * MIB });
    const { pool } = setup;
    const mblock = await committed(pool, pattern(9999));
    assert.equal(await pool.grow(), 0);
    const before = await pool.usage();
    const map = await pool.map([mblock.id]);
    assert.ok(pattern(9999).equals(map.view(0)));
    truncateSync(setup.capacityPath, 64 * MIB);
    const gained = await Promise.all([pool.grow(), pool.grow()]);
    assert.deepEqual(gained, [32 * MIB, 0]);
    assert.equal((await pool.usage()).totalBytes, before.totalBytes + 32 * MIB);
    const taken: Mblock[] = [];
    for (;;) {
      const next = await pool.mblocks.alloc({ spare: true }).catch(() => undefined);
      if (next === undefined) break;
      await next.write(pattern(5000, taken.length));
      taken.push(next);
    }
    await pool.mblocks.commit(taken);
    await using all = await pool.map(taken.map(({ id }) => id));
    for (const [i, each] of taken.entries()) {
      assert.ok(pattern(5000, i).equals(await each.read(0, 5000)), `mblock ${i}`);
      assert.ok(pattern(5000, i).equals(await all.read(i, 0, 5000)));
      assert.ok(pattern(5000, i).equals(all.view(i)));
    }
    assert.ok(pattern(9999).equals(map.view(0)));
    await all.unmap();
    await map.unmap();
    await setup.reopen();
    assert.ok(pattern(9999).equals(await setup.pool.mblocks.read(mblock.id, 0, 9999)));
    assert.equal((await setup.pool.usage()).mblockCount, taken.length + 1);
    truncateSync(setup.capacityPath, 96 * MIB);
    await setup.reopen({ grow: true });
    assert.equal((await setup.pool.devices())[0]!.sizeBytes, 96 * MIB);
  });

  it('sync makes what logs buffer durable', async (t) => {
    const { pool } = await fresh(t);
    const root = await pool.mdcs.root();
    const appended = root.append('buffered');
    await pool.sync();
    await appended;
    assert.deepEqual(await texts(root.records()), ['buffered']);
    await root.close();
  });

  it('usage adds up, and equals a recount after reopening', async (t) => {
    const seed = 4;
    t.diagnostic(`seed ${seed}`);
    const prng = new SeededPrng(seed);
    const setup = await fresh(t, { stagingBytes: 128 * MIB });
    const empty = await setup.pool.usage();
    const live: (() => Promise<void>)[] = [];
    for (let step = 0; step < 60; step++) {
      const { pool } = setup;
      const mediaClass = below(prng, 2) === 0 ? 'capacity' : 'staging';
      const spare = below(prng, 4) === 0;
      const kind = below(prng, 5);
      const options = { mediaClass, spare, capacityBytes: 1 + below(prng, 2 * MIB) } as const;
      if (kind === 0 && live.length > 0) {
        await live.splice(below(prng, live.length), 1)[0]!();
      } else if (kind === 1 || kind === 2) {
        const log = kind === 1 ? await pool.mlogs.alloc(options) : await pool.mdcs.alloc(options);
        if (below(prng, 4) === 0) {
          await log.abort();
          continue;
        }
        await log.commit();
        const { id } = log;
        if (typeof id === 'bigint') live.push(() => setup.pool.mlogs.delete([id]));
        else live.push(() => setup.pool.mdcs.delete(id));
      } else {
        const mblock = await pool.mblocks.alloc({ mediaClass, spare });
        await mblock.write(pattern(below(prng, 20_000)));
        if (below(prng, 4) === 0) await mblock.abort();
        else {
          await mblock.commit();
          live.push(() => setup.pool.mblocks.delete([mblock.id]));
        }
      }
      if (step % 6 === 0) await addsUp(pool, `seed ${seed}, step ${step}`);
      if (step % 20 !== 19) continue;
      const before = recounted(await pool.usage());
      await setup.reopen();
      assert.deepEqual(recounted(await setup.pool.usage()), before, `seed ${seed}, step ${step}`);
      const mblocks = await allOf(setup.pool.mblocks.list());
      assert.equal(mblocks.length, before.mblockCount);
      const written = mblocks.reduce((sum, { writtenBytes }) => sum + writtenBytes, 0);
      assert.equal(written, before.mblockWrittenBytes);
    }
    for (const remove of live) await remove();
    assert.deepEqual(recounted(await setup.pool.usage()), recounted(empty), `seed ${seed}`);
  });
}

async function addsUp(pool: Pool, message: string): Promise<void> {
  const total = await pool.usage();
  const { devices } = await pool.info();
  const usages = await Promise.all([pool.usage('capacity'), pool.usage('staging')]);
  for (const [i, usage] of usages.entries()) {
    assert.deepEqual(devices[i]!.usage, usage);
    assert.equal(usage.totalBytes, usage.usableBytes + usage.spareBytes, message);
    const free = usage.freeUsableBytes + usage.freeSpareBytes;
    assert.equal(usage.usedBytes + free, usage.totalBytes, message);
    assert.equal(usage.totalBytes + usage.reservedBytes, devices[i]!.sizeBytes, message);
  }
  for (const key of Object.keys(total) as (keyof Usage)[]) {
    assert.equal(total[key], usages[0][key] + usages[1][key], `${message}: ${key}`);
  }
}

/** What is the same whoever counts: how used space is shared out to spare depends on the order of things. */
function recounted(usage: Usage) {
  const { freeUsableBytes, freeSpareBytes, ...rest } = usage;
  return { ...rest, freeBytes: freeUsableBytes + freeSpareBytes };
}
