// Goal: of a damaged log its records up to the damage can be had, in order and whole, and the damage is told where it
//   is; nothing is written, and nothing is given that is not known to be a record of it.
// Method: a log of small records and of one in pieces, damaged at every frame by bits and by sectors that cannot be
//   read, and in its header; what salvage gives is compared with what was appended.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { MlogId } from '../../src/format/object-id.ts';
import type { Mlog } from '../../src/pool/api.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, NAME, openHere, pattern, refuses } from './pool-host.ts';
import { contentPool, imageOf, openStore } from './repair-pool.ts';

const RECORDS = [10, 700, 600_000, 0, 20, 300].map((length, i) => pattern(length, i + 1));

const made = (async () => {
  const { host } = await contentPool();
  const pool = await openStore(host);
  const allocation = await pool.mlogs.alloc({ capacityBytes: 2 ** 20 });
  await allocation.commit();
  const log = await pool.mlogs.open(allocation.id);
  for (const record of RECORDS) await log.append(record, { sync: true });
  await log.close();
  await pool.close();
  return { host, id: allocation.id, logBytes: placeOf(host, allocation.id) };
})();

/** Where the log with that id begins, by its header. */
function placeOf(host: SimHost, id: MlogId): number {
  const wanted = Buffer.alloc(8);
  wanted.writeBigUInt64LE(id);
  const { sizeBytes } = host.disk(A);
  for (let at = 0; at < sizeBytes; at += PAGE_BYTES) {
    const header = Buffer.from(host.disk(A).bytes(at, 64));
    if (header.readUInt32LE(0) === 0x484c706d && header.subarray(32, 40).equals(wanted)) return at;
  }
  return assert.fail('there is such a log');
}

/** Offsets of the frames, by their magic. */
function framesOf(host: SimHost, logBytes: number): number[] {
  const found: number[] = [];
  for (let at = logBytes + PAGE_BYTES; at < logBytes + 2 ** 20; at += 512) {
    const sector = Buffer.from(host.disk(A).bytes(at, 64));
    if (sector.readUInt32LE(0) === 0x464c706d) found.push(at);
  }
  return found;
}

interface Got {
  records: Uint8Array[];
  recordCount: number;
  error: (Error & { code?: string }) | undefined;
}

async function read(log: Mlog): Promise<Got> {
  const records: Uint8Array[] = [];
  let error: Error | undefined;
  try {
    for await (const record of log.records()) records.push(record);
  } catch (reason) {
    error = reason as Error;
  }
  return { records, recordCount: log.recordCount, error };
}

async function salvaged(host: SimHost, id: MlogId, readOnly = true): Promise<Got> {
  const pool = await openHere(host, NAME, { readOnly });
  const log = await pool.mlogs.open(id, { salvage: true });
  const got = await read(log);
  await log.close();
  await refuses(async () => log.reader(), 'ERR_MPOOL_CLOSED');
  await pool.close();
  assert.equal(host.liveBufferCount, 0);
  return got;
}

function isPrefix({ records, recordCount }: Got, what: string): void {
  assert.equal(recordCount, records.length, what);
  for (const [i, record] of records.entries()) {
    assert.ok(Buffer.compare(record, RECORDS[i]!) === 0, `${what}: record ${i}`);
  }
}

test('a log that is whole is read to its end, and nothing can be changed', async () => {
  const { host, id } = await made;
  const image = imageOf(host);
  const got = await salvaged(host.clone(), id);
  isPrefix(got, 'whole');
  assert.deepEqual([got.recordCount, got.error], [RECORDS.length, undefined]);
  const copy = host.clone();
  const pool = await openStore(copy);
  const log = await pool.mlogs.open(id, { salvage: true });
  for (const change of [
    () => log.append('x'),
    () => log.erase(),
    () => log.startCompaction(),
    () => log.endCompaction(),
  ]) {
    await refuses(change, 'ERR_MPOOL_READ_ONLY');
  }
  // It may be open as ever beside it, and even be deleted: its space stays its own while it is read.
  const usual = await pool.mlogs.open(id);
  assert.equal(usual.recordCount, log.recordCount);
  await usual.close();
  await pool.mlogs.delete([id]);
  const others = await pool.mlogs.alloc({ capacityBytes: 2 ** 20 });
  await others.commit();
  isPrefix(await read(log), 'deleted');
  await refuses(() => pool.mlogs.open(id, { salvage: true }), 'ERR_MPOOL_NOT_FOUND');
  await refuses(() => pool.close(), 'ERR_MPOOL_BUSY');
  await pool.close({ force: true });
  await refuses(async () => log.reader().next(), 'ERR_MPOOL_CLOSED');
  assert.equal(imageOf(host), image);
});

test('damage in any frame: the records before it, then the error that says where', async () => {
  const { host, id, logBytes } = await made;
  const frames = framesOf(host, logBytes);
  assert.ok(frames.length > RECORDS.length, 'a record in pieces, and the closing frame');
  let last = 0;
  for (const [i, at] of frames.slice(0, -1).entries()) {
    for (const how of ['header', 'payload', 'unreadable'] as const) {
      const image = host.clone();
      if (how === 'unreadable') image.disk(A).failSectors(at, 512);
      else image.disk(A).flipBit(at + (how === 'header' ? 9 : 70));
      const what = `frame ${i}, ${how}`;
      const pool = await openHere(image, NAME, { readOnly: true });
      const code = how === 'unreadable' ? 'ERR_MPOOL_IO' : 'ERR_MPOOL_CORRUPT';
      await refuses(() => pool.mlogs.open(id), code);
      await pool.close();
      const got = await salvaged(image, id);
      isPrefix(got, what);
      assert.ok(got.recordCount >= last && got.recordCount < RECORDS.length, what);
      last = got.recordCount;
      assert.equal(got.error?.code, 'ERR_MPOOL_CORRUPT', what);
      const where = `records from number ${got.recordCount + 1} on, at byte ${at} of ${A}`;
      assert.ok(got.error.message.includes(where), `${what}: ${got.error.message}`);
    }
  }
  assert.equal(last, RECORDS.length - 1);
});

test('a reader goes on saying so, passes over what it knows, and begins again', async () => {
  const { host, id, logBytes } = await made;
  const image = host.clone();
  image.disk(A).flipBit(framesOf(host, logBytes)[2]! + 70);
  const pool = await openHere(image, NAME, { readOnly: true });
  const log = await pool.mlogs.open(id, { salvage: true });
  const reader = log.reader();
  await refuses(() => reader.next({ maxBytes: 9 }), 'ERR_MPOOL_TOO_LARGE');
  await reader.skip(10);
  await refuses(() => reader.skip(701), 'ERR_MPOOL_SKIP_MISMATCH');
  for (let i = 0; i < 2; i++) await refuses(() => reader.next(), 'ERR_MPOOL_CORRUPT');
  reader.rewind();
  assert.equal((await reader.next())?.length, 10);
  await log.close();
  await pool.close();
});

test('a damaged header is no hindrance while something tells what it was', async () => {
  const { host, id, logBytes } = await made;
  const turned = host.clone();
  turned.disk(A).flipBit(logBytes + 17);
  const got = await salvaged(turned, id);
  isPrefix(got, 'a bit of its generation');
  assert.deepEqual([got.recordCount, got.error], [RECORDS.length, undefined]);
  for (const lose of ['zeros', 'unreadable'] as const) {
    const lost = host.clone();
    if (lose === 'zeros') lost.disk(A).poke(logBytes, { fill: 0, lengthBytes: 512 });
    else lost.disk(A).failSectors(logBytes, 512);
    const pool = await openHere(lost, NAME);
    const open = () => pool.mlogs.open(id, { salvage: true });
    await refuses(open, 'ERR_MPOOL_CORRUPT', /its header is lost/);
    await pool.close();
    assert.equal(lost.liveBufferCount, 0);
  }
});
