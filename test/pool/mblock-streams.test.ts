// Goal: bytes piped into an mblock and out of it are the same, whatever pieces they come in.
// Method: pieces of odd lengths, a producer that uses its memory again, errors in the middle.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { closeClean, freshPool, MIB, pattern } from './pool-host.ts';

async function read(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('piped in pieces of any length, piped out whole or in part', async () => {
  const setup = await freshPool({ sizeBytes: 512 * MIB, mblockSizeBytes: 16 * MIB });
  const prng = new SeededPrng(3);
  for (const length of [0, 1, 4096, 5000, MIB, MIB + 1, 7 * MIB + 4097]) {
    const data = pattern(length, length);
    const mblock = await setup.pool.mblocks.alloc();
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
    assert.ok((await read(mblock.readable())).equals(data));
    const offsetBytes = Math.floor(length / 3);
    assert.ok((await read(mblock.readable({ offsetBytes }))).equals(data.subarray(offsetBytes)));
    const part = mblock.readable({ offsetBytes, lengthBytes: Math.floor(length / 2) });
    assert.ok(
      (await read(part)).equals(data.subarray(offsetBytes, offsetBytes + Math.floor(length / 2))),
    );
  }
  await closeClean(setup);
});

test('errors come out of the stream, never as a throw', async () => {
  const setup = await freshPool();
  const mblock = await setup.pool.mblocks.alloc();
  await assert.rejects(read(mblock.readable()), { code: 'ERR_MPOOL_UNCOMMITTED' });
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
    await assert.rejects(read(mblock.readable(range)), { code: 'ERR_MPOOL_INVALID_ARG' });
  }
  await assert.rejects(read(mblock.readable(5 as unknown as object)), {
    code: 'ERR_MPOOL_INVALID_ARG',
  });
  const small = await setup.pool.mblocks.alloc();
  await assert.rejects(pipeline(Readable.from([pattern(2 * MIB)]), small.writable()), {
    code: 'ERR_MPOOL_INVALID_ARG',
  });
  await small.abort();
  setup.host.addFault({ op: 'read', nth: 2, effect: { kind: 'error' } });
  await assert.rejects(
    read(mblock.readable()).then(() => read(mblock.readable())),
    { code: 'ERR_MPOOL_IO' },
  );
  const dropped = mblock.readable();
  dropped.destroy();
  await closeClean(setup);
});
