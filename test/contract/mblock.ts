import assert from 'node:assert/strict';
import { closeSync, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Mblock, MblockId } from '../../src/pool/api.ts';
import { pattern, refuses } from '../pool/pool-host.ts';
import { committed, type Contract, MIB, PAGE, titled } from './contract.ts';

/** One mblock: written once, committed, read, deleted; every misuse gets its own error and does no harm. */
export function mblockContract(contract: Contract): void {
  const fresh: typeof contract.fresh = (...options) => contract.fresh(...options);
  const it = titled(contract);

  it('what is written and committed reads back, also after reopening', async (t) => {
    const setup = await fresh(t);
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
    assert.equal(mblock.writtenBytes, data.length);
    await mblock.commit();
    assert.equal(mblock.committed, true);
    const { optimalWriteSizeBytes, ...properties } = mblock.properties();
    assert.deepEqual(properties, {
      id: mblock.id,
      mediaClass: 'capacity',
      committed: true,
      capacityBytes: 255 * PAGE,
      allocatedBytes: MIB,
      writtenBytes: data.length,
    });
    assert.ok(optimalWriteSizeBytes >= PAGE && optimalWriteSizeBytes % PAGE === 0);
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
      assert.equal(reader.writtenBytes, data.length);
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
    await check(await setup.pool.mblocks.find(mblock.id));
    await setup.reopen();
    const found = await setup.pool.mblocks.find(mblock.id);
    assert.deepEqual(found.properties(), { ...properties, optimalWriteSizeBytes });
    await check(found);
    const part = await setup.pool.mblocks.read(mblock.id, 7, 9);
    assert.deepEqual(Buffer.from(part), data.subarray(7, 16));
  });

  it('misuse of an uncommitted mblock', async (t) => {
    const { pool } = await fresh(t);
    const { mblocks } = pool;
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
      () => pool.map([mblock.id]),
    ]) {
      await refuses(call, 'ERR_MPOOL_UNCOMMITTED');
      await call().catch((error: { errnoName: string }) => assert.equal(error.errnoName, 'ENOENT'));
    }
    await mblock.commit();
    assert.equal((await mblocks.read(mblock.id, 0, PAGE)).length, PAGE, 'refusals did no harm');
  });

  it('misuse of a committed mblock', async (t) => {
    const { pool } = await fresh(t);
    const { mblocks } = pool;
    const own = await committed(pool, pattern(5000));
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
    await pool.info();
    assert.equal(pool.stats().commits, 1, 'committing again has no effect');
    assert.deepEqual(Buffer.from(await own.read(0, 5000)), pattern(5000));
  });

  it('misuse of a deleted and of an aborted mblock', async (t) => {
    const { pool } = await fresh(t);
    const { mblocks } = pool;
    const deleted = await committed(pool, pattern(PAGE));
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
        () => pool.map([mblock.id]),
      ]) {
        await refuses(call, 'ERR_MPOOL_NOT_FOUND');
      }
      assert.equal(mblock.writtenBytes, 0);
      assert.equal(mblock.properties().allocatedBytes, 0);
    }
    await refuses(() => deleted.abort(), 'ERR_MPOOL_NOT_FOUND');
  });

  it('a deleted mblock is not mistaken for the one that took its place', async (t) => {
    const { pool } = await fresh(t);
    const first = await committed(pool, pattern(PAGE, 1));
    assert.equal((await first.read(0, 1)).length, 1);
    await first.delete();
    const second = await committed(pool, pattern(PAGE, 2));
    assert.notEqual(first.id, second.id);
    await refuses(() => first.read(0, 1), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => first.delete(), 'ERR_MPOOL_NOT_FOUND');
    assert.deepEqual(Buffer.from(await second.read(0, PAGE)), pattern(PAGE, 2));
  });

  it('write: lengths, pieces and their limits', async (t) => {
    const { pool } = await fresh(t);
    const mblock = await pool.mblocks.alloc();
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
    for (const data of wrong) {
      await refuses(() => mblock.write(data as Uint8Array), 'ERR_MPOOL_INVALID_ARG');
    }
    const { capacityBytes } = mblock;
    await refuses(() => mblock.write(new Uint8Array(capacityBytes + 1)), 'ERR_MPOOL_INVALID_ARG');
    const large = new Uint8Array(2 ** 24);
    await refuses(
      () => mblock.write(Array.from({ length: 300 }, () => large)),
      'ERR_MPOOL_INVALID_ARG',
      /room/,
    );
    await mblock.write(new Uint8Array(0));
    await mblock.write([]);
    await mblock.write([new Uint8Array(0), new Uint8Array(0)]);
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
  });

  it('write: one that is no multiple of a page must be the last', async (t) => {
    const { pool } = await fresh(t);
    const mblock = await pool.mblocks.alloc();
    await mblock.write(pattern(PAGE + 1));
    await refuses(() => mblock.write(pattern(PAGE)), 'ERR_MPOOL_INVALID_ARG', /last/);
    await mblock.write([]);
    await mblock.commit();
    assert.deepEqual(Buffer.from(await mblock.read(0, PAGE + 1)), pattern(PAGE + 1));
  });

  it('writes that are not waited for land in the order of their calls', async (t) => {
    const { pool } = await fresh(t, { sizeBytes: 256 * MIB, mblockSizeBytes: 8 * MIB });
    for (const cut of [PAGE, 2 * MIB, 20 * PAGE]) {
      const mblock = await pool.mblocks.alloc();
      const data = pattern(5 * MIB + 17, cut);
      const cuts = [
        0,
        PAGE,
        3 * PAGE,
        3 * PAGE + cut,
        3 * MIB,
        3 * MIB + PAGE,
        4 * MIB,
        data.length,
      ];
      const writes = cuts.slice(1).map((end, i) => mblock.write(data.subarray(cuts[i], end)));
      await refuses(() => mblock.write(pattern(PAGE)), 'ERR_MPOOL_INVALID_ARG', /last/);
      const commit = mblock.commit();
      await refuses(() => mblock.write(new Uint8Array(0)), 'ERR_MPOOL_COMMITTED');
      await Promise.all([...writes, commit]);
      assert.ok(Buffer.from(await mblock.read(0, data.length)).equals(data));
    }
  });

  it('many mblocks written at once, more than fits anywhere on the way', async (t) => {
    const { pool } = await fresh(t, { sizeBytes: 512 * MIB, mblockSizeBytes: 8 * MIB });
    const mblocks = await Promise.all(Array.from({ length: 8 }, () => pool.mblocks.alloc()));
    await Promise.all(
      mblocks.map(async (mblock, i) => {
        await mblock.write(pattern(7 * MIB + i, i));
        await mblock.commit();
      }),
    );
    for (const [i, mblock] of mblocks.entries()) {
      const read = await mblock.read(0, 7 * MIB + i);
      assert.ok(pattern(7 * MIB + i, i).equals(read), `mblock ${i}`);
    }
  });

  it('an empty mblock can be committed and read', async (t) => {
    const setup = await fresh(t);
    const mblock = await setup.pool.mblocks.alloc();
    await mblock.commit();
    assert.equal((await mblock.read(0, 0)).length, 0);
    await refuses(() => mblock.read(0, 1), 'ERR_MPOOL_INVALID_ARG');
    await setup.reopen();
    assert.equal((await setup.pool.mblocks.read(mblock.id, 0, 0)).length, 0);
    await (await setup.pool.mblocks.find(mblock.id)).delete();
  });

  it('read: ranges outside, and arguments that are none', async (t) => {
    const { pool } = await fresh(t);
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
    for (const [offset, length] of ranges as [number, number][]) {
      await refuses(() => mblock.read(offset, length), 'ERR_MPOOL_INVALID_ARG');
      await refuses(() => pool.mblocks.read(mblock.id, offset, length), 'ERR_MPOOL_INVALID_ARG');
      const range = { offsetBytes: offset, lengthBytes: length };
      await refuses(
        () => mblock.readMany([{ offsetBytes: 0, lengthBytes: 1 }, range]),
        'ERR_MPOOL_INVALID_ARG',
      );
    }
    await refuses(() => mblock.readInto(4999, new Uint8Array(2)), 'ERR_MPOOL_INVALID_ARG');
    for (const into of [undefined, null, 5, 'x', [], new ArrayBuffer(4)]) {
      const target = into as unknown as Uint8Array;
      await refuses(() => mblock.readInto(0, target), 'ERR_MPOOL_INVALID_ARG');
    }
    for (const many of [undefined, null, 5, 'x', {}, [undefined], [5]]) {
      await refuses(() => mblock.readMany(many as []), 'ERR_MPOOL_INVALID_ARG');
    }
    assert.deepEqual(await mblock.readMany([]), []);
  });

  it('reads under way when an mblock is deleted get the right bytes', async (t) => {
    const { pool } = await fresh(t);
    for (let round = 0; round < 10; round++) {
      const data = pattern(200 * PAGE, round);
      const mblock = await committed(pool, data);
      const reads = Array.from({ length: 4 }, () => mblock.read(0, data.length));
      const deletion = mblock.delete();
      const others = await Promise.all(Array.from({ length: 4 }, () => pool.mblocks.alloc()));
      await deletion;
      await Promise.all(others.map((other) => other.write(Buffer.alloc(200 * PAGE, 0xee))));
      for (const read of await Promise.all(reads)) assert.ok(Buffer.from(read).equals(data));
      await refuses(() => mblock.read(0, 1), 'ERR_MPOOL_NOT_FOUND');
      await pool.mblocks.abort(others);
    }
  });

  it('concurrent commits of the same mblock are one commit', async (t) => {
    const { pool } = await fresh(t);
    const [a, b] = [await pool.mblocks.alloc(), await pool.mblocks.alloc()];
    await a.write(pattern(PAGE, 1));
    await b.write(pattern(PAGE, 2));
    await pool.info();
    const before = pool.stats().commits;
    await Promise.all([
      a.commit(),
      a.commit(),
      pool.mblocks.commit([a, b]),
      pool.mblocks.commit([b, a, b]),
    ]);
    await pool.info();
    assert.equal(pool.stats().commits, before + 2);
    assert.ok(a.committed && b.committed);
  });

  it('concurrent deletes, aborts, and abort against commit', async (t) => {
    const { pool } = await fresh(t);
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
  });

  it('damage is found page by page, and never given out', async (t) => {
    const { pool, capacityPath } = await fresh(t);
    const data = pattern(10 * PAGE);
    const mblock = await committed(pool, data);
    const at = readFileSync(capacityPath).indexOf(data.subarray(0, PAGE));
    assert.ok(at > 0 && at % PAGE === 0);
    damage(capacityPath, at + 3 * PAGE + 100);
    await refuses(() => mblock.read(3 * PAGE, 1), 'ERR_MPOOL_CHECKSUM', /page 3 of/);
    await refuses(() => mblock.read(0, data.length), 'ERR_MPOOL_CHECKSUM');
    const into = new Uint8Array(2 * PAGE).fill(0xaa);
    await refuses(() => mblock.readInto(2 * PAGE + 1, into), 'ERR_MPOOL_CHECKSUM');
    assert.ok(
      into.every((byte) => byte === 0xaa),
      'memory of the caller is as it was',
    );
    assert.deepEqual(Buffer.from(await mblock.read(0, 3 * PAGE)), data.subarray(0, 3 * PAGE));
    await using map = await pool.map([mblock.id]);
    await refuses(() => map.getPages(0, [0, 3 * PAGE]), 'ERR_MPOOL_CHECKSUM', /page 3 of/);
    await refuses(() => map.read(0, 0, data.length), 'ERR_MPOOL_CHECKSUM');
    assert.equal(map.ready(0, 3 * PAGE, 1), false);
    const rest = await map.read(0, 4 * PAGE, PAGE);
    assert.deepEqual(Buffer.from(rest), data.subarray(4 * PAGE, 5 * PAGE));
    await map.unmap();
    await pool.info();
    assert.equal(pool.stats().checksumErrors, 5);
  });

  it('ids are of type, and never of another kind', async (t) => {
    const { pool } = await fresh(t);
    const { mblocks, mlogs } = pool;
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
      await refuses(() => pool.map([id]), 'ERR_MPOOL_INVALID_ARG');
    }
    for (const id of [0x123456101n, 0xffff_ffff_ffff_f101n, 0x1102n] as MblockId[]) {
      await refuses(() => mblocks.find(id), 'ERR_MPOOL_NOT_FOUND');
    }
  });

  it('piped in pieces of any length, piped out whole or in part', async (t) => {
    const { pool } = await fresh(t, { sizeBytes: 512 * MIB, mblockSizeBytes: 16 * MIB });
    const prng = new SeededPrng(3);
    for (const length of [0, 1, 4096, 5000, MIB, MIB + 1, 7 * MIB + 4097]) {
      const data = pattern(length, length);
      const mblock = await pool.mblocks.alloc();
      const reused = Buffer.alloc(100_000);
      const writable = mblock.writable();
      for (let at = 0; at < length;) {
        const size = Math.min(1 + below(prng, reused.length), length - at);
        reused.set(data.subarray(at, at + size));
        await new Promise<void>((resolve, reject) => {
          writable.write(reused.subarray(0, size), (error) => (error ? reject(error) : resolve()));
        });
        at += size;
      }
      await new Promise<void>((resolve) => writable.end(resolve));
      assert.equal(mblock.writtenBytes, length);
      await mblock.commit();
      assert.ok((await drained(mblock.readable())).equals(data));
      const offsetBytes = Math.floor(length / 3);
      const rest = await drained(mblock.readable({ offsetBytes }));
      assert.ok(rest.equals(data.subarray(offsetBytes)));
      const lengthBytes = Math.floor(length / 2);
      const part = await drained(mblock.readable({ offsetBytes, lengthBytes }));
      assert.ok(part.equals(data.subarray(offsetBytes, offsetBytes + lengthBytes)));
    }
  });

  it('errors come out of the stream, never as a throw', async (t) => {
    const { pool } = await fresh(t);
    const mblock = await pool.mblocks.alloc();
    await assert.rejects(drained(mblock.readable()), { code: 'ERR_MPOOL_UNCOMMITTED' });
    await pipeline(Readable.from([pattern(9000)]), mblock.writable());
    await mblock.commit();
    await assert.rejects(pipeline(Readable.from([pattern(9000)]), mblock.writable()), {
      code: 'ERR_MPOOL_COMMITTED',
    });
    const wrong = [
      { offsetBytes: 9001 },
      { offsetBytes: -1 },
      { lengthBytes: 9001 },
      { offsetBytes: 1, lengthBytes: 9000 },
      { lengthBytes: NaN },
      { offsetBytes: '1' as unknown as number },
    ];
    for (const range of wrong) {
      await assert.rejects(drained(mblock.readable(range)), { code: 'ERR_MPOOL_INVALID_ARG' });
    }
    await assert.rejects(drained(mblock.readable(5 as unknown as object)), {
      code: 'ERR_MPOOL_INVALID_ARG',
    });
    const small = await pool.mblocks.alloc();
    await assert.rejects(pipeline(Readable.from([pattern(2 * MIB)]), small.writable()), {
      code: 'ERR_MPOOL_INVALID_ARG',
    });
    await small.abort();
    mblock.readable().destroy();
  });
}

/** Flips a bit of a byte of a file. */
function damage(path: string, at: number): void {
  const fd = openSync(path, 'r+');
  const byte = new Uint8Array(1);
  readSync(fd, byte, 0, 1, at);
  byte[0]! ^= 8;
  writeSync(fd, byte, 0, 1, at);
  fsyncSync(fd);
  closeSync(fd);
}

async function drained(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
