// Goal: records of the MDCs are as docs/format.md says; impossible ones are refused, none throws.
// Method: hand-made vectors, round trips, one wrong field at a time, hostile bytes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../../src/base/bytes.ts';
import { idHigh, idLow, makeObjectId, mdcLogIds } from '../../src/format/object-id.ts';
import {
  blankObjectRecord,
  checkpointAt,
  checkpointProblem,
  decodeMdcRecord,
  decodePoolRecord,
  deletionProblem,
  encodeDeletionRecord,
  encodeIdCheckpoint,
  encodeMdcRecord,
  encodeObjectRecord,
  encodePoolRecord,
  idHighAt,
  idLowAt,
  readObjectRecord,
  recordBytesOf,
  recordType,
  type ObjectRecord,
  type PoolProperties,
} from '../../src/format/records.ts';
import { fromHex, toHex } from './samples.ts';

const PROPERTIES: PoolProperties = {
  uid: 1000,
  gid: 0xfffffffe,
  mode: 0o660,
  utype: Uint8Array.from({ length: 16 }, (_, i) => i),
  label: 'db.main',
  sparePercentCapacity: 5,
  sparePercentStaging: 100,
  readAheadPages: 32,
  mappedRegionLog2: 30,
  rootMdc: { logA: makeObjectId(1, 2, 4), logB: makeObjectId(2, 2, 4) },
};

const OBJECT: ObjectRecord = {
  mediaClass: 1,
  role: 0,
  digest: 0xcafebabe,
  idLow: idLow(0xabcde12345, 1, 7),
  idHigh: idHigh(0xabcde12345),
  pageAddress: 0x100000300,
  pageCount: 256,
  lengthBytes: 1_000_000,
};

function readObject(bytes: Uint8Array): ObjectRecord | string {
  const into = blankObjectRecord();
  return readObjectRecord(viewOf(bytes), 0, bytes.length, into) ?? into;
}

test('the properties of a pool are as in the table', () => {
  const bytes = encodePoolRecord(PROPERTIES);
  assert.equal(
    toHex(bytes),
    '01010000e8030000feffffffb0010000' + // type, version, uid, gid, mode
      '000102030405060708090a0b0c0d0e0f' + // utype
      `${toHex(new TextEncoder().encode('db.main'))}${'00'.repeat(57)}` +
      '056420001e000000' + // spare, spare, read-ahead, region
      '04120000000000000422000000000000' + // root MDC
      '00'.repeat(8),
  );
  assert.deepEqual(decodePoolRecord(bytes, 0, 128), PROPERTIES);
});

test('an MDC, a deletion and a checkpoint are as in the tables', () => {
  const mdc = {
    slot: 255,
    logA: { pageAddress: 64, pageCount: 16 },
    logB: { pageAddress: 80, pageCount: 16 },
  };
  const bytes = encodeMdcRecord(mdc);
  assert.equal(
    toHex(bytes),
    '0201ff0000000000' + '40000000000000001000000000000000' + '50000000000000001000000000000000',
  );
  assert.deepEqual(decodeMdcRecord(bytes, 0, 40), mdc);
  const deletion = encodeDeletionRecord(OBJECT.idLow, OBJECT.idHigh);
  assert.equal(toHex(deletion), '04010000000000000751' + '3412debc0a00');
  assert.equal(deletionProblem(viewOf(deletion), 0, 16), undefined);
  const checkpoint = encodeIdCheckpoint(2 ** 52);
  assert.equal(toHex(checkpoint), '05010000000000000000000000001000');
  assert.equal(checkpointProblem(viewOf(checkpoint), 0, 16), undefined);
  assert.equal(checkpointAt(viewOf(checkpoint), 0), 2 ** 52);
});

test('an object is as in the table', () => {
  const bytes = encodeObjectRecord(OBJECT);
  assert.equal(
    toHex(bytes),
    '03010100bebafeca' +
      '07513412debc0a00' +
      '0003000001000000' +
      '0001000040420f00' +
      '00'.repeat(8),
  );
  assert.deepEqual(readObject(bytes), OBJECT);
  assert.equal(idLowAt(viewOf(bytes), 0), OBJECT.idLow);
  assert.equal(idHighAt(viewOf(bytes), 0), OBJECT.idHigh);
});

test('any object survives the round trip, several in a row too', () => {
  const arbitrary = fc.record({
    mediaClass: fc.constantFrom(0 as const, 1 as const),
    uniquifier: fc.integer({ min: 1, max: 2 ** 52 - 1 }),
    slot: fc.integer({ min: 1, max: 255 }),
    mblock: fc.boolean(),
    role: fc.constantFrom(0 as const, 1 as const, 2 as const),
    digest: fc.integer({ min: 0, max: 0xffffffff }),
    pageAddress: fc.integer({ min: 0, max: 2 ** 40 }),
    pageCount: fc.integer({ min: 2, max: 16384 }),
    fill: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const make = (a: typeof arbitrary extends fc.Arbitrary<infer T> ? T : never): ObjectRecord => ({
    mediaClass: a.mediaClass,
    role: a.mblock ? 0 : a.role,
    digest: a.mblock ? a.digest : 0,
    idLow: idLow(a.uniquifier, a.mblock ? 1 : 2, a.slot),
    idHigh: idHigh(a.uniquifier),
    pageAddress: a.pageAddress,
    pageCount: a.pageCount,
    lengthBytes: a.mblock
      ? Math.floor(a.fill * (a.pageCount - 1 - Math.floor(a.pageCount / 1025)) * 4096)
      : 0,
  });
  fc.assert(
    fc.property(fc.array(arbitrary, { maxLength: 5 }), (all) => {
      const records = all.map(make);
      const bytes = Buffer.concat(records.map(encodeObjectRecord));
      const view = viewOf(bytes);
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const type = recordType(bytes, at, bytes.length);
        assert.equal(type, 3);
        const end = at + recordBytesOf(type);
        const into = blankObjectRecord();
        assert.equal(readObjectRecord(view, at, end, into), undefined);
        assert.deepEqual(into, records[i]);
        at = end;
      }
    }),
  );
});

test('impossible objects are refused', () => {
  const edits: [string, (view: DataView) => void][] = [
    ['media class', (view) => view.setUint8(2, 2)],
    ['role of an mblock', (view) => view.setUint8(3, 1)],
    ['type 3', (view) => view.setUint8(9, 0x53)],
    ['slot 0', (view) => view.setUint8(8, 0)],
    ['no pages', (view) => view.setUint32(24, 0, true)],
    ['address above 2^53', (view) => view.setUint8(23, 0x80)],
    ['address at 2^53 bytes', (view) => view.setUint32(20, 0x200, true)],
    ['longer than its extent', (view) => view.setUint32(28, 256 * 4096, true)],
    ['reserved', (view) => view.setUint8(39, 1)],
    ['role 3 of a log', (view) => (view.setUint8(9, 0x52), view.setUint8(3, 3))],
    ['digest of a log', (view) => (view.setUint8(9, 0x52), view.setUint32(28, 0, true))],
  ];
  for (const [name, edit] of edits) {
    const bytes = encodeObjectRecord(OBJECT);
    edit(viewOf(bytes));
    assert.equal(typeof readObject(bytes), 'string', name);
  }
  assert.equal(typeof readObject(encodeObjectRecord(OBJECT).subarray(0, 39)), 'string');
  const uniquifierZero = encodeObjectRecord(OBJECT);
  uniquifierZero.set(fromHex('0701000000000000'), 8);
  assert.equal(typeof readObject(uniquifierZero), 'string');
});

test('impossible properties and MDCs are refused', () => {
  const pool: [string, (view: DataView) => void][] = [
    ['mode', (view) => view.setUint32(12, 0o1000, true)],
    ['label', (view) => view.setUint8(32, 0x20)],
    ['label tail', (view) => view.setUint8(90, 0x41)],
    [
      'label without end',
      (view) => {
        for (let i = 32; i < 96; i++) view.setUint8(i, 0x41);
      },
    ],
    ['spare', (view) => view.setUint8(97, 101)],
    ['read-ahead', (view) => view.setUint16(98, 33, true)],
    ['region', (view) => view.setUint32(100, 33, true)],
    ['root an mblock', (view) => view.setUint8(105, 0x11)],
    ['root no pair', (view) => view.setUint8(113, 0x32)],
    ['reserved 2', (view) => view.setUint8(2, 1)],
    ['reserved 127', (view) => view.setUint8(127, 1)],
    ['version', (view) => view.setUint8(1, 2)],
  ];
  for (const [name, edit] of pool) {
    const bytes = encodePoolRecord(PROPERTIES);
    edit(viewOf(bytes));
    assert.equal(typeof decodePoolRecord(bytes, 0, 128), 'string', name);
  }
  const mdc: [string, (view: DataView) => void][] = [
    ['slot 0', (view) => view.setUint16(2, 0, true)],
    ['slot 256', (view) => view.setUint16(2, 256, true)],
    ['reserved', (view) => view.setUint8(4, 1)],
    ['one page', (view) => view.setUint32(16, 1, true)],
    ['no pages', (view) => view.setUint32(32, 0, true)],
    ['overlap', (view) => view.setUint32(24, 70, true)],
    ['extent tail', (view) => view.setUint8(20, 1)],
  ];
  for (const [name, edit] of mdc) {
    const bytes = encodeMdcRecord({
      slot: 3,
      logA: { pageAddress: 64, pageCount: 16 },
      logB: { pageAddress: 80, pageCount: 16 },
    });
    edit(viewOf(bytes));
    assert.equal(typeof decodeMdcRecord(bytes, 0, 40), 'string', name);
  }
});

test('unknown types and versions are type 0, and hostile bytes never throw', () => {
  assert.equal(recordType(Uint8Array.of(8, 1), 0, 2), 0);
  assert.equal(recordType(Uint8Array.of(3, 2), 0, 2), 0);
  assert.equal(recordType(Uint8Array.of(3), 0, 1), 0);
  assert.equal(recordBytesOf(0), 0);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 140 }),
      fc.integer({ min: 0, max: 6 }),
      (bytes, type) => {
        if (bytes.length >= 2) bytes.set([type, 1]);
        const view = viewOf(bytes);
        recordType(bytes, 0, bytes.length);
        decodePoolRecord(bytes, 0, bytes.length);
        decodeMdcRecord(bytes, 0, bytes.length);
        readObjectRecord(view, 0, bytes.length, blankObjectRecord());
        deletionProblem(view, 0, bytes.length);
        checkpointProblem(view, 0, bytes.length);
      },
    ),
  );
});

test('deletions and checkpoints with wrong bytes are refused', () => {
  const deletion = encodeDeletionRecord(OBJECT.idLow, OBJECT.idHigh);
  deletion[9] = 0x03;
  assert.equal(typeof deletionProblem(viewOf(deletion), 0, 16), 'string');
  assert.equal(typeof deletionProblem(viewOf(deletion), 0, 15), 'string');
  const checkpoint = encodeIdCheckpoint(1);
  checkpoint[15] = 0xff;
  assert.equal(typeof checkpointProblem(viewOf(checkpoint), 0, 16), 'string');
  const reserved = encodeIdCheckpoint(1);
  reserved[7] = 1;
  assert.equal(typeof checkpointProblem(viewOf(reserved), 0, 16), 'string');
});

test('the logs of MDC n have the ids 2n and 2n + 1 of slot 0', () => {
  assert.deepEqual(mdcLogIds(0), { logA: 0x200n, logB: 0x1200n });
  assert.deepEqual(mdcLogIds(255), { logA: 0x1fe200n, logB: 0x1ff200n });
});
