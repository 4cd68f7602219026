// Goal: log headers and frames are as docs/format.md says, and belong to one log, generation and
// place.
// Method: vectors computed apart from this code, round trips, every bit flip, hostile bytes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../../src/base/bytes.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import {
  chunkKind,
  ChunkKind,
  chunkLengthBytes,
  chunkWord,
  decodeFrameHeader,
  encodeFrameHeader,
  NO_WITNESS,
  FRAME_FLAG_CLOSED,
  FRAME_PAYLOAD_BYTES_MAX,
  frameBytesOf,
  frameSeed,
  payloadIsRight,
  type FrameFields,
  type FrameHeader,
  type FramePlace,
  SEQUENCE_MAX,
} from '../../src/format/log-frame.ts';
import {
  decodeLogHeader,
  encodeLogHeader,
  logIdentity,
  LogState,
  type LogHeader,
  GENERATION_MAX,
} from '../../src/format/log-header.ts';
import { halvesOfId, makeObjectId } from '../../src/format/object-id.ts';
import { eachBitFlip, fromHex, POOL_UUID, toHex } from './samples.ts';

const ID = halvesOfId(makeObjectId(5, 2, 3));
const IDENTITY = logIdentity(POOL_UUID, ID);
const SALT = 0xdeadbeef;
const HEADER: LogHeader = {
  state: LogState.current,
  sectorBytes: 4096,
  generation: 9,
  salt: SALT,
  objectId: ID,
  committedBytes: 8192,
};
const EXPECTED = { identity: IDENTITY, sectorBytes: 4096, extentBytes: 2 ** 20 };

const PAYLOAD = Uint8Array.from([3, 0, 0, 0, 0x61, 0x62, 0x63]);
const FIELDS: FrameFields = {
  generation: 9,
  sequence: 4,
  payloadBytes: PAYLOAD.length,
  payloadCrc: 0,
  previousCrc: 0x01020304,
  flags: 0,
  durableBytes: 4096,
  recordsBefore: 17,
  witness: NO_WITNESS,
};
const SEED = frameSeed(IDENTITY, SALT);
const PLACE: FramePlace = {
  seed: SEED,
  offsetBytes: 8192,
  extentBytes: 2 ** 20,
  generation: 9,
  sectorBytes: 512,
  witnesses: false,
};

/** The sample frame: 512 bytes. */
function sampleFrame(changes: Partial<FrameFields> = {}): Uint8Array {
  const frame = new Uint8Array(512);
  const fields = { ...FIELDS, ...changes };
  if (fields.payloadBytes > 0) frame.set(PAYLOAD, 64);
  const payloadCrc = crc32c(frame.subarray(64));
  encodeFrameHeader(frame, { ...fields, payloadCrc }, SEED, PLACE.offsetBytes);
  return frame;
}

function decode(frame: Uint8Array, place: Partial<FramePlace> = {}): FrameHeader | string {
  return decodeFrameHeader(frame, viewOf(frame), 0, { ...PLACE, ...place });
}

test('the header is byte for byte as computed from the document by another program', () => {
  const page = encodeLogHeader(HEADER, IDENTITY);
  assert.equal(page.length, 4096);
  assert.equal(
    toHex(page.subarray(0, 48)),
    '6d704c4893e3ba5d01010c00000000000900000000000000' +
      'efbeadde0000000003520000000000000020000000000000',
  );
  assert.deepEqual(decodeLogHeader(page, EXPECTED), { ok: true, header: HEADER });
});

test('any header survives the round trip', () => {
  const arbitrary = fc.record({
    state: fc.constantFrom(LogState.current, LogState.superseded),
    sectorBytes: fc.constantFrom(512, 4096),
    generation: fc.integer({ min: 1, max: GENERATION_MAX }),
    salt: fc.integer({ min: 0, max: 0xffffffff }),
    committed: fc.integer({ min: 1, max: 256 }),
  });
  fc.assert(
    fc.property(arbitrary, ({ committed, ...rest }) => {
      const header = { ...rest, objectId: ID, committedBytes: committed * 4096 };
      const expected = { ...EXPECTED, sectorBytes: rest.sectorBytes };
      const decoded = decodeLogHeader(encodeLogHeader(header, IDENTITY), expected);
      assert.deepEqual(decoded, { ok: true, header });
    }),
  );
});

test('every single-bit flip of the header is refused', () => {
  const page = encodeLogHeader(HEADER, IDENTITY);
  for (const { byte, bit } of eachBitFlip(page, 0, 512)) {
    assert.equal(decodeLogHeader(page, EXPECTED).ok, false, `byte ${byte} bit ${bit}`);
  }
});

test('the header of another log or pool, and impossible values, are refused', () => {
  const problem = (page: Uint8Array, expected = EXPECTED): string => {
    const decoded = decodeLogHeader(page, expected);
    return decoded.ok ? 'ok' : decoded.problem;
  };
  const page = encodeLogHeader(HEADER, IDENTITY);
  const other = logIdentity(POOL_UUID, halvesOfId(makeObjectId(6, 2, 3)));
  assert.equal(problem(page, { ...EXPECTED, identity: other }), 'checksum');
  assert.equal(problem(page, { ...EXPECTED, sectorBytes: 512 }), 'content');
  assert.equal(problem(page, { ...EXPECTED, extentBytes: 4096 }), 'content');
  assert.equal(problem(new Uint8Array(512)), 'magic');
  const edits: [string, string, (view: DataView) => void][] = [
    ['version', 'version', (view) => view.setUint8(8, 2)],
    ['state', 'content', (view) => view.setUint8(9, 3)],
    ['shift', 'content', (view) => view.setUint8(10, 200)],
    ['generation 0', 'content', (view) => view.setUint8(16, 0)],
    ['generation 2^60', 'content', (view) => view.setUint8(23, 16)],
    ['object id', 'content', (view) => view.setUint8(32, 0)],
    ['committed in a sector', 'content', (view) => view.setUint8(40, 1)],
    ['committed below the frames', 'content', (view) => view.setUint16(40, 0, true)],
    ['reserved 12', 'content', (view) => view.setUint8(12, 1)],
    ['reserved 30', 'content', (view) => view.setUint8(30, 1)],
    ['reserved 500', 'content', (view) => view.setUint8(500, 1)],
  ];
  for (const [name, wanted, edit] of edits) {
    const changed = encodeLogHeader(HEADER, IDENTITY);
    edit(viewOf(changed));
    viewOf(changed).setUint32(4, crc32c(changed.subarray(8, 512), crc32c(IDENTITY)), true);
    assert.equal(problem(changed), wanted, name);
  }
});

test('a frame is byte for byte as computed from the document by another program', () => {
  const frame = sampleFrame();
  const hex =
    '6d704c466220a2310900000000000000040000000000000007000000e20fc54b0403020100000000' +
    '00100000000000001100000000000000000000000000000003000000616263';
  assert.equal(toHex(frame.subarray(0, 71)), hex);
  const read = new Uint8Array(512);
  read.set(fromHex(hex));
  const header = decode(read);
  assert.ok(typeof header !== 'string');
  assert.deepEqual(header, {
    ...FIELDS,
    payloadCrc: 0x4bc50fe2,
    crc: 0x31a22062,
    offsetBytes: 8192,
  });
  assert.ok(payloadIsRight(read, 0, header, 512));
});

test('any frame survives the round trip, at any place in a buffer', () => {
  const arbitrary = fc.record({
    generation: fc.integer({ min: 1, max: GENERATION_MAX }),
    sequence: fc.integer({ min: 1, max: SEQUENCE_MAX }),
    payloadBytes: fc.integer({ min: 0, max: FRAME_PAYLOAD_BYTES_MAX }),
    previousCrc: fc.integer({ min: 0, max: 0xffffffff }),
    durableSectors: fc.integer({ min: 8, max: 1000 }),
    recordsBefore: fc.maxSafeNat(),
    at: fc.nat(4),
  });
  fc.assert(
    fc.property(arbitrary, ({ at, durableSectors, ...rest }) => {
      const frameBytes = frameBytesOf(rest.payloadBytes, 512);
      const all = new Uint8Array(at * 512 + frameBytes).fill(0x5a);
      const frame = all.subarray(at * 512);
      const payloadCrc = crc32c(frame.subarray(64));
      const flags = rest.payloadBytes === 0 ? FRAME_FLAG_CLOSED : 0;
      const witness = { generation: at, endBytes: durableSectors * 512 };
      const fields = { ...rest, payloadCrc, flags, durableBytes: durableSectors * 512, witness };
      const offsetBytes = 1000 * 512;
      const crc = encodeFrameHeader(frame, fields, SEED, offsetBytes);
      const place = { ...PLACE, offsetBytes, generation: rest.generation, witnesses: true };
      const header = decodeFrameHeader(all, viewOf(all), at * 512, place);
      assert.ok(typeof header !== 'string');
      assert.deepEqual(header, { ...fields, crc, offsetBytes });
      assert.ok(payloadIsRight(all, at * 512, header, 512));
    }),
  );
});

test('every single-bit flip of a frame is refused by header or payload', () => {
  const frame = sampleFrame();
  for (const { byte, bit } of eachBitFlip(frame)) {
    const header = decode(frame);
    const refused = typeof header === 'string' || !payloadIsRight(frame, 0, header, 512);
    assert.ok(refused, `byte ${byte} bit ${bit}`);
  }
});

test('a frame of another place, generation, salt or log is no frame here', () => {
  const frame = sampleFrame();
  assert.equal(decode(frame, { offsetBytes: 8704 }), 'checksum');
  assert.equal(decode(frame, { generation: 10 }), 'content');
  assert.equal(decode(frame, { seed: frameSeed(IDENTITY, SALT + 1) }), 'checksum');
  const other = logIdentity(POOL_UUID, halvesOfId(makeObjectId(6, 2, 3)));
  assert.equal(decode(frame, { seed: frameSeed(other, SALT) }), 'checksum');
  assert.equal(decode(frame, { extentBytes: 8192 }), 'content');
  assert.equal(decode(new Uint8Array(512)), 'magic');
});

test('impossible values under right checksums are refused', () => {
  const edits: [string, (view: DataView) => void][] = [
    ['generation', (view) => view.setUint8(15, 1)],
    ['sequence 0', (view) => view.setUint8(16, 0)],
    ['sequence 2^56', (view) => view.setUint8(23, 1)],
    ['payload too long', (view) => view.setUint32(24, FRAME_PAYLOAD_BYTES_MAX + 1, true)],
    ['payload endless', (view) => view.setUint32(24, 0xffffffff, true)],
    ['unknown flag', (view) => view.setUint32(36, 2, true)],
    ['closed with a payload', (view) => view.setUint32(36, 1, true)],
    ['durable ahead', (view) => view.setUint32(40, 8704, true)],
    ['durable in a sector', (view) => view.setUint32(40, 4097, true)],
    ['durable in the header', (view) => view.setUint32(40, 0, true)],
    ['records 2^63', (view) => view.setUint8(55, 0x80)],
    ['reserved', (view) => view.setUint8(60, 1)],
  ];
  for (const [name, edit] of edits) {
    const frame = sampleFrame();
    edit(viewOf(frame));
    const place = new Uint8Array(8);
    viewOf(place).setUint32(0, PLACE.offsetBytes, true);
    viewOf(frame).setUint32(4, crc32c(frame.subarray(8, 64), crc32c(place, SEED)), true);
    assert.equal(decode(frame), 'content', name);
  }
});

test('hostile bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), fc.boolean(), (bytes, magic) => {
      if (magic) bytes.set([0x6d, 0x70, 0x4c, 0x46], 0);
      assert.equal(typeof decode(bytes), 'string');
      if (magic) bytes.set([0x6d, 0x70, 0x4c, 0x48], 0);
      assert.equal(decodeLogHeader(bytes, EXPECTED).ok, false);
    }),
  );
});

test('chunk words hold kind and length', () => {
  assert.equal(chunkWord(ChunkKind.last, 5), 0x60000005);
  for (const kind of Object.values(ChunkKind)) {
    const word = chunkWord(kind, 2 ** 29 - 1);
    assert.deepEqual([chunkKind(word), chunkLengthBytes(word)], [kind, 2 ** 29 - 1]);
  }
});
