// Goal: an mblock is written once, committed, read, deleted; every misuse gets its own error and no harm.
// Method: the misuse table of the original by handle and by id, on a simulated disk; races on purpose.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mblock, MblockId, Pool } from '../../src/pool/api.ts';
import type { SimHost } from '../../src/testing/index.ts';
import {
  allocateOn,
  A,
  closeClean,
  freshPool,
  MIB,
  pattern,
  refuses,
  reopen,
  turns,
} from './pool-host.ts';

const PAGE = 4096;

async function committed(pool: Pool, data: Uint8Array): Promise<Mblock> {
  const mblock = await pool.mblocks.alloc();
  await mblock.write(data);
  await mblock.commit();
  return mblock;
}

test('what is written and committed reads back, also after reopening', async () => {
  let setup = await freshPool();
  const data = pattern(300_001);
  const mblock = await setup.pool.mblocks.alloc();
  assert.equal(mblock.committed, false);
  assert.equal(mblock.writtenBytes, 0);
  await mblock.write(data.subarray(0, 40 * PAGE));
  assert.equal(mblock.writtenBytes, 40 * PAGE);
  await mblock.write([
    data.subarray(40 * PAGE, 200_000),
    new Uint8Array(0),
    data.subarray(200_000),
  ]);
  await mblock.commit();
  assert.deepEqual(mblock.properties(), {
    id: mblock.id,
    mediaClass: 'capacity',
    committed: true,
    capacityBytes: 255 * PAGE,
    allocatedBytes: MIB,
    writtenBytes: data.length,
    optimalWriteSizeBytes: 65_536,
  });
  const ranges = [
    [0, data.length],
    [0, 1],
    [4095, 2],
    [4096, 4096],
    [300_000, 1],
    [300_001, 0],
    [12_345, 200_000],
  ] as const;
  const check = async (reader: Mblock): Promise<void> => {
    for (const [offsetBytes, lengthBytes] of ranges) {
      const want = data.subarray(offsetBytes, offsetBytes + lengthBytes);
      assert.deepEqual(Buffer.from(await reader.read(offsetBytes, lengthBytes)), want);
      const into = new Uint8Array(lengthBytes);
      await reader.readInto(offsetBytes, into);
      assert.deepEqual(Buffer.from(into), want);
    }
    const many = await reader.readMany(
      ranges.map(([offsetBytes, lengthBytes]) => ({ offsetBytes, lengthBytes })),
    );
    assert.deepEqual(
      many.map((bytes) => bytes.length),
      ranges.map(([, length]) => length),
    );
  };
  await check(mblock);
  setup = await reopen(setup);
  await check(await setup.pool.mblocks.find(mblock.id));
  assert.deepEqual(
    Buffer.from(await setup.pool.mblocks.read(mblock.id, 7, 9)),
    data.subarray(7, 16),
  );
  await closeClean(setup);
});

test('misuse of an uncommitted mblock', async () => {
  const setup = await freshPool();
  const { mblocks } = setup.pool;
  const mblock = await mblocks.alloc();
  await mblock.write(pattern(PAGE));
  for (const call of [
    () => mblock.read(0, 1),
    () => mblock.readInto(0, new Uint8Array(1)),
    () => mblock.readMany([{ offsetBytes: 0, lengthBytes: 1 }]),
    () => mblock.delete(),
    () => mblocks.read(mblock.id, 0, 1),
    () => mblocks.find(mblock.id),
    () => mblocks.delete([mblock.id]),
  ]) {
    await refuses(call, 'ERR_MPOOL_UNCOMMITTED');
    await call().catch((error: { errnoName: string }) => assert.equal(error.errnoName, 'ENOENT'));
  }
  await mblock.commit();
  assert.equal((await mblocks.read(mblock.id, 0, PAGE)).length, PAGE, 'refusals did no harm');
  await closeClean(setup);
});

test('misuse of a committed mblock', async () => {
  const setup = await freshPool();
  const { mblocks } = setup.pool;
  const own = await committed(setup.pool, pattern(5000));
  const { commits } = setup.pool.stats();
  for (const mblock of [own, await mblocks.find(own.id)]) {
    await refuses(() => mblock.write(pattern(PAGE)), 'ERR_MPOOL_COMMITTED');
    await refuses(() => mblock.write([]), 'ERR_MPOOL_COMMITTED');
    await refuses(() => mblock.abort(), 'ERR_MPOOL_COMMITTED');
    await refuses(() => mblocks.abort([mblock]), 'ERR_MPOOL_COMMITTED');
    await mblock.commit();
    await mblocks.commit([mblock, mblock]);
    await mblock[Symbol.asyncDispose]();
    assert.equal(mblock.writtenBytes, 5000);
  }
  assert.equal(setup.pool.stats().commits, commits, 'committing again has no effect');
  assert.deepEqual(Buffer.from(await own.read(0, 5000)), pattern(5000));
  await closeClean(setup);
});

test('misuse of a deleted and of an aborted mblock', async () => {
  const setup = await freshPool();
  const { mblocks } = setup.pool;
  const deleted = await committed(setup.pool, pattern(PAGE));
  const other = await mblocks.find(deleted.id);
  await deleted.delete();
  const aborted = await mblocks.alloc();
  await aborted.write(pattern(PAGE));
  await aborted.abort();
  await aborted.abort();
  await aborted[Symbol.asyncDispose]();
  for (const mblock of [deleted, other, aborted]) {
    for (const call of [
      () => mblock.write(pattern(PAGE)),
      () => mblock.commit(),
      () => mblocks.commit([mblock]),
      () => mblock.delete(),
      () => mblock.read(0, 1),
      () => mblock.read(0, 0),
      () => mblock.readInto(0, new Uint8Array(1)),
      () => mblock.readMany([{ offsetBytes: 0, lengthBytes: 1 }]),
      () => mblocks.read(mblock.id, 0, 1),
      () => mblocks.find(mblock.id),
      () => mblocks.delete([mblock.id]),
    ]) {
      await refuses(call, 'ERR_MPOOL_NOT_FOUND');
    }
    assert.equal(mblock.writtenBytes, 0);
    assert.equal(mblock.properties().allocatedBytes, 0);
  }
  await refuses(() => deleted.abort(), 'ERR_MPOOL_NOT_FOUND');
  await closeClean(setup);
});

test('a deleted mblock is not mistaken for the one that took its place in memory', async () => {
  const setup = await freshPool();
  const first = await committed(setup.pool, pattern(PAGE, 1));
  await first.delete();
  const second = await committed(setup.pool, pattern(PAGE, 2));
  assert.notEqual(first.id, second.id);
  await refuses(() => first.read(0, 1), 'ERR_MPOOL_NOT_FOUND');
  await refuses(() => first.delete(), 'ERR_MPOOL_NOT_FOUND');
  assert.deepEqual(Buffer.from(await second.read(0, PAGE)), pattern(PAGE, 2));
  await closeClean(setup);
});

test('write: lengths, pieces and their limits, refused before any I/O', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const mblock = await pool.mblocks.alloc();
  const before = host.operationCount;
  const wrong: unknown[] = [
    undefined,
    null,
    5,
    'text',
    {},
    [1],
    [new Uint8Array(1), 'x'],
    [null],
    new ArrayBuffer(8),
    [[new Uint8Array(1)]],
    new Uint16Array(2),
  ];
  for (const data of wrong)
    await refuses(() => mblock.write(data as Uint8Array), 'ERR_MPOOL_INVALID_ARG');
  const { capacityBytes } = mblock;
  await refuses(() => mblock.write(new Uint8Array(capacityBytes + 1)), 'ERR_MPOOL_INVALID_ARG');
  const page = new Uint8Array(2 ** 24);
  await refuses(
    () => mblock.write(Array.from({ length: 300 }, () => page)),
    'ERR_MPOOL_INVALID_ARG',
    /room/,
  );
  await mblock.write(new Uint8Array(0));
  await mblock.write([]);
  await mblock.write([new Uint8Array(0), new Uint8Array(0)]);
  assert.equal(host.operationCount, before, 'no I/O');
  assert.equal(mblock.writtenBytes, 0);
  const data = pattern(capacityBytes);
  await mblock.write(data.subarray(0, PAGE));
  await refuses(
    () => mblock.write(data.subarray(0, capacityBytes - PAGE + 1)),
    'ERR_MPOOL_INVALID_ARG',
  );
  await mblock.write(data.subarray(PAGE));
  assert.equal(mblock.writtenBytes, capacityBytes, 'exactly full');
  await refuses(() => mblock.write(new Uint8Array(1)), 'ERR_MPOOL_INVALID_ARG');
  await mblock.write(new Uint8Array(0));
  await mblock.commit();
  assert.ok(Buffer.from(await mblock.read(0, capacityBytes)).equals(data));
  await closeClean(setup);
});

test('write: one that is no multiple of a page must be the last', async () => {
  const setup = await freshPool();
  const mblock = await setup.pool.mblocks.alloc();
  await mblock.write(pattern(PAGE + 1));
  await refuses(() => mblock.write(pattern(PAGE)), 'ERR_MPOOL_INVALID_ARG', /last/);
  await mblock.write([]);
  await mblock.commit();
  assert.deepEqual(Buffer.from(await mblock.read(0, PAGE + 1)), pattern(PAGE + 1));
  await closeClean(setup);
});

test('writes that are not waited for land in the order of their calls', async () => {
  const setup = await freshPool({ sizeBytes: 256 * MIB, mblockSizeBytes: 8 * MIB });
  const mblock = await setup.pool.mblocks.alloc();
  const data = pattern(5 * MIB + 17);
  const cuts = [0, PAGE, 3 * PAGE, 2 * MIB, 2 * MIB + PAGE, 4 * MIB, data.length];
  const writes = cuts.slice(1).map((end, i) => mblock.write(data.subarray(cuts[i], end)));
  await refuses(() => mblock.write(pattern(PAGE)), 'ERR_MPOOL_INVALID_ARG', /last/);
  const commit = mblock.commit();
  await refuses(() => mblock.write(new Uint8Array(0)), 'ERR_MPOOL_COMMITTED');
  await Promise.all([...writes, commit]);
  assert.ok(Buffer.from(await mblock.read(0, data.length)).equals(data));
  await closeClean(setup);
});

test('memory of the device is written and read without being changed or kept', async () => {
  const setup = await freshPool();
  const device = await allocateOn(setup.host);
  const buffer = device.allocate(16 * PAGE);
  buffer.set(pattern(16 * PAGE));
  const mblock = await setup.pool.mblocks.alloc();
  await mblock.write(buffer);
  await mblock.commit();
  buffer.fill(0);
  await mblock.readInto(0, buffer);
  assert.ok(Buffer.from(buffer).equals(pattern(16 * PAGE)));
  device.release(buffer);
  await device.close();
  await closeClean(setup);
});

test('an empty mblock can be committed and read', async () => {
  let setup = await freshPool();
  const mblock = await setup.pool.mblocks.alloc();
  await mblock.commit();
  assert.equal((await mblock.read(0, 0)).length, 0);
  await refuses(() => mblock.read(0, 1), 'ERR_MPOOL_INVALID_ARG');
  setup = await reopen(setup);
  assert.equal((await setup.pool.mblocks.read(mblock.id, 0, 0)).length, 0);
  await (await setup.pool.mblocks.find(mblock.id)).delete();
  await closeClean(setup);
});

test('read: ranges outside, and arguments that are none, are refused before any I/O', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const mblock = await committed(pool, pattern(5000));
  const ranges: [unknown, unknown][] = [
    [0, 5001],
    [5000, 1],
    [5001, 0],
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [0, 1.5],
    [NaN, 1],
    [0, NaN],
    [Infinity, 1],
    [0, Infinity],
    [2 ** 53, 1],
    [0, 2 ** 53],
    [4_294_967_296, 1],
    [0, 4_294_967_296],
    ['0', 1],
    [0, '1'],
    [undefined, 1],
    [0, undefined],
    [null, 1],
    [0n, 1],
    [{}, 1],
  ];
  let reads = 0;
  const fault = host.addFault({ op: 'read', times: Infinity, effect: { kind: 'error' } });
  for (const [offset, length] of ranges as [number, number][]) {
    await refuses(() => mblock.read(offset, length), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => pool.mblocks.read(mblock.id, offset, length), 'ERR_MPOOL_INVALID_ARG');
    const range = { offsetBytes: offset, lengthBytes: length };
    await refuses(
      () => mblock.readMany([{ offsetBytes: 0, lengthBytes: 1 }, range]),
      'ERR_MPOOL_INVALID_ARG',
    );
    reads += 3;
  }
  await refuses(() => mblock.readInto(4999, new Uint8Array(2)), 'ERR_MPOOL_INVALID_ARG');
  for (const into of [undefined, null, 5, 'x', [], new ArrayBuffer(4)]) {
    await refuses(() => mblock.readInto(0, into as unknown as Uint8Array), 'ERR_MPOOL_INVALID_ARG');
  }
  for (const many of [undefined, null, 5, 'x', {}, [undefined], [5]]) {
    await refuses(() => mblock.readMany(many as []), 'ERR_MPOOL_INVALID_ARG');
  }
  assert.deepEqual(await mblock.readMany([]), []);
  assert.ok(reads > 0 && fault.hits === 0, 'no I/O');
  host.clearFaults();
  await closeClean(setup);
});

test('delete while a read is in flight: it gets the right bytes, and the space is not used before', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const data = pattern(100 * PAGE);
  const mblock = await committed(pool, data);
  const held = host.addFault({ op: 'read', effect: { kind: 'hold' } });
  const read = mblock.read(0, data.length);
  await turns(3);
  assert.equal(held.hits, 1);
  const before = await pool.usage();
  await mblock.delete();
  await refuses(() => mblock.read(0, 1), 'ERR_MPOOL_NOT_FOUND');
  assert.equal((await pool.usage()).usedBytes, before.usedBytes, 'its space is still taken');
  assert.equal((await pool.usage()).mblockCount, before.mblockCount - 1);
  // All space that there is gets written while the read is held.
  const others: Mblock[] = [];
  for (;;) {
    const other = await pool.mblocks.alloc({ spare: true }).catch(() => undefined);
    if (other === undefined) break;
    await other.write(Buffer.alloc(other.capacityBytes, 0xee));
    others.push(other);
  }
  assert.ok(others.length > 50);
  held.release();
  assert.ok(Buffer.from(await read).equals(data));
  const freed = await pool.mblocks.alloc({ spare: true });
  assert.ok(freed, 'now its space can be had');
  await pool.mblocks.abort([...others, freed]);
  await closeClean(setup);
});

test('concurrent commits of the same mblock are one commit', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const [a, b] = [await pool.mblocks.alloc(), await pool.mblocks.alloc()];
  await a.write(pattern(PAGE, 1));
  await b.write(pattern(PAGE, 2));
  const before = pool.stats().commits;
  await Promise.all([
    a.commit(),
    a.commit(),
    pool.mblocks.commit([a, b]),
    pool.mblocks.commit([b, a, b]),
  ]);
  assert.equal(pool.stats().commits, before + 2);
  assert.ok(a.committed && b.committed);
  await closeClean(setup);
});

test('a second commit that waited for a failed one tries again by itself', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(2 * PAGE));
  host.addFault({ op: 'write', effect: { kind: 'error' } });
  const results = await Promise.allSettled([mblock.commit(), mblock.commit()]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.equal(mblock.committed, false);
  await refuses(() => mblock.commit(), 'ERR_MPOOL_FAILED');
  await mblock.abort();
  assert.equal((await pool.info()).health, 'optimal', 'a bad mblock never takes the pool down');
  await committed(pool, pattern(PAGE));
  await closeClean(setup);
});

test('concurrent deletes, aborts, and abort against commit', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const mblock = await committed(pool, pattern(PAGE));
  const deletes = await Promise.allSettled([
    mblock.delete(),
    mblock.delete(),
    pool.mblocks.delete([mblock.id]),
  ]);
  assert.deepEqual(
    deletes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  );
  for (const result of deletes.slice(1)) {
    assert.equal((result as PromiseRejectedResult).reason.code, 'ERR_MPOOL_NOT_FOUND');
  }
  const usage = await pool.usage();
  const open = await pool.mblocks.alloc();
  const writing = open.write(pattern(100 * PAGE));
  await Promise.all([open.abort(), open.abort()]);
  assert.deepEqual(await pool.usage(), usage, 'both resolve when the space is back');
  await writing;
  const raced = await pool.mblocks.alloc();
  await raced.write(pattern(PAGE));
  const commit = raced.commit();
  await refuses(() => raced.abort(), 'ERR_MPOOL_COMMITTED');
  await refuses(() => raced.delete(), 'ERR_MPOOL_UNCOMMITTED');
  await commit;
  assert.equal(raced.committed, true);
  await closeClean(setup);
});

test('a failed write: nothing is believed of the mblock any more, and abort gives its space back', async () => {
  const setup = await freshPool({ sizeBytes: 256 * MIB, mblockSizeBytes: 8 * MIB });
  const { host, pool } = setup;
  const usage = await pool.usage();
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(PAGE));
  host.addFault({ op: 'write', nth: 2, effect: { kind: 'error', errno: 'ENOSPC', lands: 'some' } });
  await refuses(() => mblock.write(pattern(6 * MIB)), 'ERR_MPOOL_NO_SPACE');
  assert.equal(mblock.writtenBytes, PAGE, 'as it was');
  await refuses(() => mblock.write(pattern(PAGE)), 'ERR_MPOOL_FAILED');
  await refuses(() => mblock.commit(), 'ERR_MPOOL_FAILED');
  await mblock.commit().catch((error: Error) => {
    assert.equal(
      (error.cause as { code: string }).code,
      'ERR_MPOOL_NO_SPACE',
      'the first cause is kept',
    );
  });
  await mblock.abort();
  assert.deepEqual(await pool.usage(), usage);
  await closeClean(setup);
});

test('damage is found page by page, and never given out', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const data = pattern(10 * PAGE);
  const mblock = await committed(pool, data);
  const disk = host.disk(A);
  let at = -1;
  for (let offset = 0; offset < disk.sizeBytes && at < 0; offset += PAGE) {
    if (Buffer.from(disk.bytes(offset, PAGE)).equals(data.subarray(0, PAGE))) at = offset;
  }
  disk.flipBit(at + 3 * PAGE + 100);
  await refuses(() => mblock.read(3 * PAGE, 1), 'ERR_MPOOL_CHECKSUM', /page 3 of/);
  await refuses(() => mblock.read(0, data.length), 'ERR_MPOOL_CHECKSUM');
  const into = new Uint8Array(2 * PAGE).fill(0xaa);
  await refuses(() => mblock.readInto(2 * PAGE + 1, into), 'ERR_MPOOL_CHECKSUM');
  assert.ok(
    into.every((byte) => byte === 0xaa),
    'memory of the caller is as it was',
  );
  assert.deepEqual(Buffer.from(await mblock.read(0, 3 * PAGE)), data.subarray(0, 3 * PAGE));
  assert.equal(pool.stats().checksumErrors, 3);
  await closeClean(setup);
});

/** Where a page of that content is on the disk at A. */
function placeOf(host: SimHost, page: Uint8Array): number {
  const disk = host.disk(A);
  for (let offset = 0; offset < disk.sizeBytes; offset += PAGE) {
    if (Buffer.from(disk.bytes(offset, page.length)).equals(page)) return offset;
  }
  throw new Error('the page is nowhere');
}

test('pages that changed places within an mblock are damage, each whole as it is', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const data = pattern(10 * PAGE);
  const mblock = await committed(pool, data);
  const disk = host.disk(A);
  const start = placeOf(host, data.subarray(0, PAGE));
  disk.poke(start + 5 * PAGE, data.subarray(6 * PAGE, 7 * PAGE));
  disk.poke(start + 6 * PAGE, data.subarray(5 * PAGE, 6 * PAGE));
  await refuses(() => mblock.read(5 * PAGE, PAGE), 'ERR_MPOOL_CHECKSUM', /page 5 of/);
  await refuses(() => mblock.read(6 * PAGE, PAGE), 'ERR_MPOOL_CHECKSUM', /page 6 of/);
  assert.deepEqual(Buffer.from(await mblock.read(0, 5 * PAGE)), data.subarray(0, 5 * PAGE));
  await closeClean(setup);
});

test('nothing of what memory held before comes to media behind the end of an mblock', async () => {
  const setup = await freshPool();
  for (const lengthBytes of [100, 3 * PAGE + 1]) {
    const data = pattern(lengthBytes, lengthBytes);
    await committed(setup.pool, data);
    const start = placeOf(setup.host, data.subarray(0, Math.min(PAGE, lengthBytes)));
    const end = Math.ceil(lengthBytes / PAGE) * PAGE;
    const behind = setup.host.disk(A).bytes(start + lengthBytes, end - lengthBytes);
    assert.ok(
      behind.every((byte) => byte === 0),
      `${lengthBytes} bytes`,
    );
  }
  await closeClean(setup);
});

test('ids are of type, and never of another kind', async () => {
  const setup = await freshPool();
  const { mblocks, mlogs } = setup.pool;
  const mlog = await mlogs.alloc({ capacityBytes: 64 * 1024 });
  await mlog.commit();
  const wrong: unknown[] = [
    0n,
    -1n,
    1n << 64n,
    mlog.id,
    5,
    '0x1101',
    null,
    undefined,
    {},
    0x1001n,
    0x1103n << 64n,
  ];
  for (const id of wrong as MblockId[]) {
    await refuses(() => mblocks.find(id), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => mblocks.read(id, 0, 0), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => mblocks.delete([id]), 'ERR_MPOOL_INVALID_ARG');
  }
  for (const id of [0x123456101n, 0xffff_ffff_ffff_f101n, 0x1102n] as MblockId[]) {
    await refuses(() => mblocks.find(id), 'ERR_MPOOL_NOT_FOUND');
  }
  await closeClean(setup);
});
