import { Readable, Writable } from 'node:stream';
import { PAGE_BYTES, roundDown } from '../base/units.ts';
import type { Mblock } from './api.ts';
import { CHUNK_BYTES } from './mblock-writer.ts';

const READS_AHEAD = 3;

/** The bytes of a committed mblock as a stream, read ahead by a few chunks. */
export function mblockReadable(mblock: Mblock, offsetBytes: number, lengthBytes: number): Readable {
  return Readable.from(chunks(mblock, offsetBytes, lengthBytes), {
    objectMode: false,
    highWaterMark: CHUNK_BYTES,
  });
}

async function* chunks(
  mblock: Mblock,
  offsetBytes: number,
  lengthBytes: number,
): AsyncGenerator<Uint8Array> {
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

/** Fills an mblock with what is piped in, in whole pages but for the last write. */
export function mblockWritable(mblock: Mblock): Writable {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  const flush = async (all: boolean): Promise<void> => {
    const bytes = all ? pendingBytes : roundDown(pendingBytes, PAGE_BYTES);
    if (bytes === 0) return;
    const data = Buffer.concat(pending);
    pending = bytes === pendingBytes ? [] : [data.subarray(bytes)];
    pendingBytes -= bytes;
    await mblock.write(data.subarray(0, bytes));
  };
  return new Writable({
    highWaterMark: CHUNK_BYTES,
    write(chunk: Uint8Array, _encoding, callback) {
      pending.push(chunk);
      pendingBytes += chunk.length;
      if (pendingBytes < CHUNK_BYTES) return callback();
      flush(false).then(() => callback(), callback);
    },
    final(callback) {
      flush(true).then(() => callback(), callback);
    },
  });
}
