// Goal: a pool closes when nothing needs it, can be made to close, and then gives nothing any more;
//   read-only it changes nothing; its changes of parameters and devices do not get in each other's way.
// Method: everything held, in flight or concurrent while it closes, on a simulated machine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mblock, Pool } from '../../src/pool/api.ts';
import {
  A,
  allOf,
  B,
  closeClean,
  freshPool,
  MIB,
  openHere,
  pattern,
  refuses,
  reopen,
  texts,
  turns,
} from './pool-host.ts';

/** One of everything, open or uncommitted. */
async function everything(pool: Pool) {
  const committed = await pool.mblocks.alloc();
  await committed.write(pattern(5000));
  await committed.commit();
  const log = await pool.mlogs.alloc({ capacityBytes: 65_536 });
  await log.commit();
  return {
    committed,
    mblock: await pool.mblocks.alloc(),
    mlog: await pool.mlogs.open(log.id),
    root: await pool.mdcs.root(),
    logAllocation: await pool.mlogs.alloc({ capacityBytes: 65_536 }),
    mdcAllocation: await pool.mdcs.alloc({ capacityBytes: 65_536 }),
  };
}

test('close is refused while something is held, naming it, and can be tried again', async () => {
  const setup = await freshPool();
  const { pool } = setup;
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
    assert.equal(
      (await held.committed.read(0, 5000)).length,
      5000,
      'the pool is as open as before',
    );
    await letGo();
  }
  await Promise.all([pool.close(), pool.close({ force: true }), pool.close()]);
  await pool.close();
  await closeClean(setup);
});

test('a close waits for logs that are being opened: refused while they are, forced it closes them', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const allocation = await pool.mlogs.alloc({ capacityBytes: 65_536 });
  await allocation.commit();
  const opening = [pool.mlogs.open(allocation.id), pool.mdcs.root()];
  await turns(1);
  await refuses(() => pool.close(), 'ERR_MPOOL_BUSY', /a log is being opened/);
  // Looks that nothing is in flight.
  await closeClean(setup, true);
  const logs = await Promise.all(opening);
  for (const log of logs) await refuses(() => log.append('too late'), 'ERR_MPOOL_CLOSED');
  await closeClean({ host: setup.host, pool: await openHere(setup.host) });
});

test('nothing is begun any more once a close has: what it waits for would never end', async () => {
  for (let lateBy = 0; lateBy < 12; lateBy++) {
    const setup = await freshPool();
    const { mblocks, mlogs, mdcs } = setup.pool;
    const root = await mdcs.root();
    await root.append(pattern(20_000));
    const late = [
      async () => (await mlogs.alloc({ capacityBytes: 65_536 })).commit(),
      async () => (await mdcs.alloc({ capacityBytes: 65_536 })).commit(),
      async () => (await mblocks.alloc()).write(pattern(5000)),
    ];
    const closing = closeClean(setup, true);
    await turns(lateBy);
    for (const begin of late) await refuses(begin, 'ERR_MPOOL_CLOSED');
    await closing;
    assert.equal(setup.host.inFlightCount, 0, 'nothing is in flight');
  }
});

test('a forced close closes and aborts all that is held; nothing works afterwards', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const { mblocks, mlogs, mdcs } = pool;
  const held = await everything(pool);
  await held.mblock.write(pattern(100_000));
  await held.mlog.append('kept');
  await held.root.append('kept too');
  const reader = held.root.reader();
  await reader.next();
  const [refused, forced] = await Promise.allSettled([pool.close(), pool.close({ force: true })]);
  assert.equal((refused as PromiseRejectedResult).reason.code, 'ERR_MPOOL_BUSY');
  assert.equal(forced.status, 'fulfilled');
  await closeClean(setup);
  for (const call of [
    () => pool.info(),
    () => pool.parameters(),
    () => pool.usage(),
    () => pool.devices(),
    () => pool.sync(),
    () => pool.grow(),
    () => pool.setParameters({ label: 'x' }),
    () => pool.addMediaClass('staging', { path: B }),
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
  ]);
  assert.equal(pool.name, 'p1');
  const again = { host: setup.host, pool: await openHere(setup.host) };
  const log = await again.pool.mlogs.open(held.mlog.id);
  assert.deepEqual(await texts(log.records()), ['kept'], 'logs are synced');
  assert.deepEqual(
    (await allOf(again.pool.mblocks.list())).map(({ id }) => id),
    [held.committed.id],
  );
  await closeClean(again, true);
});

test('what is in flight when a pool closes ends well', async () => {
  for (const force of [false, true]) {
    for (let wait = 0; wait < 12; wait += 3) {
      const setup = await freshPool({ sizeBytes: 256 * MIB, mblockSizeBytes: 8 * MIB });
      const { pool } = setup;
      const data = pattern(7 * MIB + 1);
      const mblock = await pool.mblocks.alloc();
      await mblock.write(data);
      await mblock.commit();
      const doomed = await pool.mblocks.alloc();
      await doomed.commit();
      const fresh = await pool.mblocks.alloc();
      await fresh.write(pattern(2 * MIB));
      const reads = [
        mblock.read(0, data.length),
        mblock.read(1, 5_000_000),
        mblock.read(7 * MIB, 1),
      ];
      const deletion = doomed.delete();
      const commit = fresh.commit();
      if (!force) await commit;
      const changing = wait === 9 ? pool.setParameters({ label: 'changed' }) : undefined;
      await turns(wait);
      const closing = pool.close({ force });
      const results = await Promise.all(reads);
      assert.ok(data.equals(results[0]!));
      await Promise.all([deletion, commit, changing, closing]);
      await closeClean(setup);
      const again = { host: setup.host, pool: await openHere(setup.host) };
      assert.equal((await allOf(again.pool.mblocks.list())).length, 2);
      assert.equal((await again.pool.parameters()).label, wait === 9 ? 'changed' : 'raw');
      await closeClean(again);
    }
  }
});

test('closing waits for a read that still needs the device several times', async () => {
  for (const force of [false, true]) {
    let setup = await freshPool({ sizeBytes: 256 * MIB, mblockSizeBytes: 8 * MIB });
    const data = pattern(7 * MIB + 1);
    const mblock = await setup.pool.mblocks.alloc();
    await mblock.write(data);
    await mblock.commit();
    setup = await reopen(setup);
    // The table of checksums is read first; the data only then.
    const held = setup.host.addFault({ op: 'read', effect: { kind: 'hold' } });
    const read = setup.pool.mblocks.read(mblock.id, 0, data.length);
    const closing = setup.pool.close({ force });
    await turns(100);
    assert.equal(held.hits, 1);
    held.release();
    assert.ok(data.equals(await read));
    await closing;
    await closeClean(setup);
  }
});

test('disposing closes by force', async () => {
  const setup = await freshPool();
  const held = await everything(setup.pool);
  await held.mblock[Symbol.asyncDispose]();
  await held.mlog[Symbol.asyncDispose]();
  await held.logAllocation[Symbol.asyncDispose]();
  await held.mdcAllocation[Symbol.asyncDispose]();
  await setup.pool[Symbol.asyncDispose]();
  await closeClean(setup);
});

test('a read-only pool changes nothing and says so, and writes not one byte', async () => {
  const setup = await freshPool();
  const made = await everything(setup.pool);
  await made.mlog.append('record', { sync: true });
  await made.root.append('root record', { sync: true });
  await setup.pool.close({ force: true });
  const { host } = setup;
  const before = host.operationCount;
  const pool = await openHere(host, 'p1', { readOnly: true });
  assert.equal(pool.readOnly, true);
  const mblock = await pool.mblocks.find(made.committed.id);
  assert.ok(pattern(5000).equals(await mblock.read(0, 5000)));
  const mlog = await pool.mlogs.open(made.mlog.id);
  const root = await pool.mdcs.root();
  assert.deepEqual(await texts(mlog.records()), ['record']);
  assert.deepEqual(await texts(root.records()), ['root record']);
  assert.equal((await pool.info()).readOnly, true);
  for (const call of [
    () => pool.setParameters({ label: 'x' }),
    () => pool.setParameters({}),
    () => pool.grow(),
    () => pool.addMediaClass('staging', { path: B, sizeBytes: 64 * MIB }),
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
  await refuses(
    () => openHere(host, 'p1', { readOnly: true, parameters: { label: 'x' } }),
    'ERR_MPOOL_READ_ONLY',
  );
  await refuses(() => openHere(host, 'p1', { readOnly: true, grow: true }), 'ERR_MPOOL_READ_ONLY');
  await closeClean({ host, pool }, true);
  assert.equal(host.operationCount, before, 'nothing was written, flushed or discarded');
});

test('concurrent changes of parameters all take effect', async () => {
  let setup = await freshPool();
  await Promise.all([
    setup.pool.setParameters({ label: 'together' }),
    setup.pool.setParameters({ mode: 0o600 }),
    setup.pool.setParameters({ uid: 5 }),
    setup.pool.setParameters({ sparePercentCapacity: 50 }),
  ]);
  for (let round = 0; round < 2; round++) {
    const parameters = await setup.pool.parameters();
    assert.deepEqual(
      [
        parameters.label,
        parameters.mode,
        parameters.uid,
        parameters.gid,
        parameters.sparePercentCapacity,
      ],
      ['together', 0o600, 5, 0, 50],
    );
    setup = await reopen(setup);
  }
  await closeClean(setup);
});

test('staging is added to an active pool, once, and is there after reopening', async () => {
  let setup = await freshPool();
  const { host, pool } = setup;
  host.addDisk(B, { sizeBytes: 64 * MIB });
  host.addDisk('/dev/c', { sizeBytes: 64 * MIB });
  await refuses(
    () => pool.addMediaClass('staging', { path: A, force: true }),
    'ERR_MPOOL_INVALID_ARG',
    /another/,
  );
  await refuses(() => pool.addMediaClass('capacity' as 'staging', { path: B }), 'ERR_MPOOL_EXISTS');
  await refuses(
    () => pool.addMediaClass('tape' as 'staging', { path: B }),
    'ERR_MPOOL_INVALID_ARG',
  );
  await refuses(() => pool.addMediaClass('staging', undefined as never), 'ERR_MPOOL_INVALID_ARG');
  await refuses(
    () => pool.addMediaClass('staging', { path: '/files/none' }),
    'ERR_MPOOL_INVALID_ARG',
  );
  host.addFault({ op: 'write', disk: B, nth: 2, effect: { kind: 'error' } });
  await refuses(() => pool.addMediaClass('staging', { path: B }), 'ERR_MPOOL_IO');
  await refuses(() => pool.mblocks.alloc({ mediaClass: 'staging' }), 'ERR_MPOOL_NOT_FOUND');
  const options = { mblockSizeBytes: 2 * MIB, sparePercent: 10 };
  const both = await Promise.allSettled([
    pool.addMediaClass('staging', { path: B, ...options }),
    pool.addMediaClass('staging', { path: '/dev/c', ...options }),
  ]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
  assert.equal((both[1] as PromiseRejectedResult).reason.code, 'ERR_MPOOL_EXISTS');
  const mblock = await pool.mblocks.alloc({ mediaClass: 'staging' });
  await mblock.write(pattern(2_000_000));
  await mblock.commit();
  for (let round = 0; round < 2; round++) {
    const info = await setup.pool.info();
    assert.deepEqual(
      info.devices.map(({ path }) => path),
      [A, B],
    );
    assert.equal(info.devices[1]!.mblockSizeBytes, 2 * MIB);
    assert.equal(info.parameters.sparePercentStaging, 10);
    const usage = await setup.pool.usage('staging');
    assert.equal(usage.mblockCount, 1);
    assert.ok(usage.spareBytes >= 6 * MIB && usage.spareBytes <= 8 * MIB);
    assert.ok(pattern(2_000_000).equals(await setup.pool.mblocks.read(mblock.id, 0, 2_000_000)));
    setup = await reopen(setup);
  }
  await closeClean(setup);
});

test('no object comes to a new class before the superblock that names it is durable', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  host.addDisk(B, { sizeBytes: 64 * MIB });
  const copy1 = { offsetBytes: 16 * 4096, lengthBytes: 4096 };
  const held = host.addFault({ op: 'write', disk: A, range: copy1, effect: { kind: 'hold' } });
  const adding = pool.addMediaClass('staging', { path: B });
  while (held.hits === 0) await turns(10);
  await refuses(() => pool.mblocks.alloc({ mediaClass: 'staging' }), 'ERR_MPOOL_NOT_FOUND');
  held.release();
  await adding;
  await (await pool.mblocks.alloc({ mediaClass: 'staging' })).abort();
  await closeClean(setup);
});

test('grow takes in what devices grew by, once, also when asked twice at a time', async () => {
  let setup = await freshPool({ sizeBytes: 32 * MIB });
  const { host, pool } = setup;
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(9999));
  await mblock.commit();
  assert.equal(await pool.grow(), 0);
  const before = await pool.usage();
  const { generation } = await pool.info();
  host.disk(A).resize(48 * MIB + 8192);
  const gained = await Promise.all([pool.grow(), pool.grow()]);
  assert.deepEqual(gained, [16 * MIB + 8192, 0]);
  assert.equal((await pool.info()).generation, generation + 1);
  assert.equal((await pool.usage()).totalBytes, before.totalBytes + 16 * MIB + 8192);
  host.disk(A).resize(64 * MIB);
  setup = { host, pool: (await closeClean(setup), await openHere(host, 'p1', { grow: true })) };
  assert.equal((await setup.pool.devices())[0]!.sizeBytes, 64 * MIB);
  const taken: Mblock[] = [];
  for (;;) {
    const next = await setup.pool.mblocks.alloc({ spare: true }).catch(() => undefined);
    if (next === undefined) break;
    await next.write(Buffer.alloc(next.capacityBytes, 1));
    taken.push(next);
  }
  await setup.pool.mblocks.commit(taken);
  setup = await reopen(setup);
  assert.ok(pattern(9999).equals(await setup.pool.mblocks.read(mblock.id, 0, 9999)));
  assert.equal((await setup.pool.usage()).mblockCount, taken.length + 1);
  await closeClean(setup);
});

test('a failed flush of data fails the pool: changes are refused with the first cause, reads go on', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const good = await pool.mblocks.alloc();
  await good.write(pattern(4096));
  await good.commit();
  const bad = await pool.mblocks.alloc();
  await bad.write(pattern(4096));
  host.addFault({ op: 'flush', effect: { kind: 'error' } });
  await assert.rejects(bad.commit(), { code: 'ERR_MPOOL_IO' });
  host.clearFaults();
  for (const call of [
    () => bad.commit(),
    () => pool.mblocks.alloc(),
    () => good.delete(),
    () => pool.setParameters({ label: 'x' }),
    () => pool.sync(),
  ]) {
    await refuses(call, 'ERR_MPOOL_FAILED');
  }
  const info = await pool.info();
  assert.equal(info.health, 'faulted');
  assert.match(info.fault!, /write failed/);
  assert.equal(info.devices[0]!.status, 'failed');
  assert.ok(pattern(4096).equals(await good.read(0, 4096)));
  await bad.abort();
  await closeClean(setup);
  const again = { host, pool: await openHere(host) };
  assert.equal((await again.pool.info()).health, 'optimal');
  assert.equal((await allOf(again.pool.mblocks.list())).length, 1);
  await closeClean(again);
});

test('sync makes what logs buffer durable', async () => {
  const setup = await freshPool();
  const root = await setup.pool.mdcs.root();
  await root.append('buffered');
  await setup.pool.sync();
  const image = setup.host.crash();
  const again = { host: image, pool: await openHere(image) };
  assert.deepEqual(await texts((await again.pool.mdcs.root()).records()), ['buffered']);
  await closeClean(again, true);
});
