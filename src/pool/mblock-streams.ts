import { Readable, Writable } from 'node:stream';
import type { Mblock } from './api.ts';
import { CHUNK_BYTES } from './mblock-writer.ts';

const READS_AHEAD = 3;

interface ByteRange {
  offsetBytes: number;
  lengthBytes: number;
}

/**
 * The bytes of a committed mblock as a stream, read ahead by a few chunks.
 * @param range asked when reading begins; what it throws is the stream's error
 */
export function mblockReadable(mblock: Mblock, range: () => ByteRange): Readable {
  return Readable.from(chunks(mblock, range), { objectMode: false, highWaterMark: CHUNK_BYTES });
}

async function* chunks(mblock: Mblock, range: () => ByteRange): AsyncGenerator<Uint8Array> {
  const { offsetBytes, lengthBytes } = range();
  const ahead: Promise<Uint8Array>[] = [];
  let next = offsetBytes;
  const endBytes = offsetBytes + lengthBytes;
  while (next < endBytes || ahead.length > 0) {
    while (next < endBytes && ahead.length < READS_AHEAD) {
      const length = Math.min(CHUNK_BYTES, endBytes - next);
      const read = mblock.read(next, length);
      // Its failure is reported in its turn; until then it must not count as unhandled.
      read.catch(() => {});
      ahead.push(read);
      next += length;
    }
    yield await ahead.shift()!;
  }
}

/**
 * Fills an mblock with what is piped in, in whole pages but for the last write. What is piped in is copied
 * at once: whoever wrote it may use its memory again.
 */
export function mblockWritable(mblock: Mblock): Writable {
  let pending: Uint8Array | null = null;
  let pendingBytes = 0;
  const take = async (bytes: Uint8Array): Promise<void> => {
    for (let from = 0; from < bytes.length;) {
      pending ??= Buffer.allocUnsafeSlow(CHUNK_BYTES);
      const part = bytes.subarray(from, from + CHUNK_BYTES - pendingBytes);
      pending.set(part, pendingBytes);
      pendingBytes += part.length;
      from += part.length;
      if (pendingBytes === CHUNK_BYTES) await flush();
    }
  };
  const flush = async (): Promise<void> => {
    if (pending === null || pendingBytes === 0) return;
    await mblock.write(pending.subarray(0, pendingBytes));
    pendingBytes = 0;
  };
  return new Writable({
    highWaterMark: CHUNK_BYTES,
    write(bytes: Uint8Array, _encoding, callback) {
      take(bytes).then(() => callback(), callback);
    },
    final(callback) {
      flush().then(() => callback(), callback);
    },
  });
}
