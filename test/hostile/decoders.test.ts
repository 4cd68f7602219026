// Goal: every decoder of src/format takes any bytes: it refuses them, or what it gives is what they say.
// Method: random bytes; structures with bytes changed, and with their checksums made right again, so that what a
//   checksum would hide is reached. What is decoded is encoded again and must be the same bytes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equalBytes, viewOf } from '../../src/base/bytes.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import { below, chance, type Prng, SeededPrng } from '../../src/base/prng.ts';
import { decodeDescriptor, encodeDescriptor } from '../../src/format/device-descriptor.ts';
import { decodeExtent, encodeExtent } from '../../src/format/extent.ts';
import {
  decodeFrameHeader,
  encodeFrameHeader,
  FRAME_PAYLOAD_BYTES_MAX,
  frameSeed,
} from '../../src/format/log-frame.ts';
import { decodeLogHeader, encodeLogHeader, logIdentity } from '../../src/format/log-header.ts';
import { halvesOfId, makeObjectId } from '../../src/format/object-id.ts';
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
} from '../../src/format/records.ts';
import { encodeLogMarks, encodeLosses, readLogMark, readLoss } from '../../src/format/log-mark.ts';
import {
  decodeSuperblock,
  encodeSuperblock,
  superblockOffsetBytes,
} from '../../src/format/superblock.ts';
import { descriptor, POOL_UUID, superblock } from '../format/samples.ts';
import { seeds, withSeed } from './long.ts';

const LOG_ID = halvesOfId(makeObjectId(9, 2, 1));
const IDENTITY = logIdentity(POOL_UUID, LOG_ID);
const EXTENT_BYTES = 64 * 4096;
const FRAME_SEED = frameSeed(IDENTITY, 77);

/** Numbers at which arithmetic goes wrong. */
const EDGES = [0n, 1n, 2n, 255n, 256n, 4095n, 4096n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n]
  .concat([2n ** 32n, 2n ** 52n - 1n, 2n ** 52n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n])
  .concat([2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 40n, 2n ** 41n - 1n]);

/** Changes some places: bits, bytes, and numbers of any size to ones at an edge. */
function mutate(bytes: Uint8Array, prng: Prng): Uint8Array {
  const changed = Uint8Array.from(bytes);
  const view = viewOf(changed);
  for (let n = 1 + below(prng, 4); n > 0; n--) {
    const size = [1, 1, 2, 4, 8][below(prng, 5)]!;
    const at = Math.floor(below(prng, Math.max(1, changed.length - size + 1)) / size) * size;
    const edge = EDGES[below(prng, EDGES.length)]!;
    if (size === 1 && chance(prng, 0.5)) changed[at]! ^= 1 << below(prng, 8);
    else if (size === 1) changed[at] = below(prng, 256);
    else if (size === 2) view.setUint16(at, Number(edge & 0xffffn), true);
    else if (size === 4) view.setUint32(at, Number(edge & 0xffffffffn), true);
    else view.setBigUint64(at, edge, true);
  }
  return changed;
}

function randomBytes(length: number, prng: Prng): Uint8Array {
  const fill = below(prng, 4);
  return Uint8Array.from({ length }, () =>
    fill === 0 ? below(prng, 256) : fill === 1 ? (chance(prng, 0.02) ? below(prng, 256) : 0) : fill,
  );
}

/** A structure, and how it is decoded. */
interface Subject {
  name: string;
  sample: (prng: Prng) => Uint8Array;
  /** Makes the checksums right. */
  reseal?: (bytes: Uint8Array, prng: Prng) => void;
  /** @returns the bytes that what was decoded stands for; undefined when it was refused */
  there: (bytes: Uint8Array) => Uint8Array | undefined;
}

function resealSuperblock(page: Uint8Array): void {
  const view = viewOf(page);
  view.setUint32(62, crc32c(page.subarray(0, 62)), true);
  view.setUint32(68, 0, true);
  view.setUint32(68, crc32c(page), true);
}

const FRAME_PLACE = {
  seed: FRAME_SEED,
  offsetBytes: 8192,
  extentBytes: EXTENT_BYTES,
  generation: 3,
  sectorBytes: 512,
  witnesses: true,
};

const SUBJECTS: readonly Subject[] = [
  {
    name: 'superblock',
    sample: (prng) => encodeSuperblock(superblock(), below(prng, 4)),
    reseal: resealSuperblock,
    there(page) {
      const offset = viewOf(page).getBigUint64(72, true);
      const asked = offset < 2n ** 53n ? Number(offset) : 0;
      const decoded = decodeSuperblock(page, asked);
      if (!decoded.ok) return undefined;
      const { superblock: found, copy } = decoded;
      assert.equal(superblockOffsetBytes(copy, found.capacity.sizeBytes) >= 0, true);
      // A path that is no UTF-8 is only a hint.
      const again = encodeSuperblock({ ...found }, copy);
      again.set(page.subarray(512, 2560), 512);
      viewOf(again).setUint32(68, viewOf(page).getUint32(68, true), true);
      return again;
    },
  },
  {
    name: 'device descriptor',
    sample() {
      const bytes = new Uint8Array(64);
      encodeDescriptor(bytes, viewOf(bytes), 0, descriptor());
      return bytes;
    },
    there(bytes) {
      const found = decodeDescriptor(bytes, viewOf(bytes), 0);
      if (typeof found === 'string') return undefined;
      // What is made from it must not be of any size.
      assert.ok(found.zoneCount <= 2 ** 28);
      const again = new Uint8Array(64);
      encodeDescriptor(again, viewOf(again), 0, found);
      return again;
    },
  },
  {
    name: 'extent',
    sample() {
      const bytes = new Uint8Array(16);
      encodeExtent(viewOf(bytes), 0, { pageAddress: 2 ** 40, pageCount: 256 });
      return bytes;
    },
    there(bytes) {
      const found = decodeExtent(viewOf(bytes), 0);
      if (found === undefined) return undefined;
      const again = new Uint8Array(16);
      encodeExtent(viewOf(again), 0, found);
      return again;
    },
  },
  {
    name: 'log header',
    sample: (prng) =>
      encodeLogHeader(
        {
          state: 1,
          sectorBytes: 512,
          generation: 1 + below(prng, 9),
          salt: prng.u32(),
          objectId: LOG_ID,
          committedBytes: 4096 + 512 * below(prng, 9),
        },
        IDENTITY,
      ).subarray(0, 512),
    reseal(bytes) {
      viewOf(bytes).setUint32(4, crc32c(bytes.subarray(8, 512), crc32c(IDENTITY)), true);
    },
    there(bytes) {
      const expected = { identity: IDENTITY, sectorBytes: 512, extentBytes: EXTENT_BYTES };
      const decoded = decodeLogHeader(bytes, expected);
      if (!decoded.ok) return undefined;
      return encodeLogHeader(decoded.header, IDENTITY).subarray(0, 512);
    },
  },
  {
    name: 'frame header',
    sample(prng) {
      const bytes = new Uint8Array(64);
      encodeFrameHeader(
        bytes,
        {
          generation: 3,
          sequence: 1 + below(prng, 99),
          payloadBytes: below(prng, 5000),
          payloadCrc: prng.u32(),
          previousCrc: prng.u32(),
          flags: 0,
          durableBytes: 4096,
          recordsBefore: below(prng, 99),
          witness: { generation: prng.u32(), endBytes: 512 * prng.u32() },
        },
        FRAME_SEED,
        8192,
      );
      return bytes;
    },
    reseal(bytes) {
      const place = new Uint8Array(8);
      viewOf(place).setUint32(0, 8192, true);
      const crc = crc32c(bytes.subarray(8, 64), crc32c(place, FRAME_SEED));
      viewOf(bytes).setUint32(4, crc, true);
    },
    there(bytes) {
      const found = decodeFrameHeader(bytes, viewOf(bytes), 0, FRAME_PLACE);
      if (typeof found === 'string') return undefined;
      assert.ok(found.payloadBytes <= FRAME_PAYLOAD_BYTES_MAX);
      assert.ok(found.durableBytes <= found.offsetBytes);
      const again = new Uint8Array(64);
      encodeFrameHeader(again, found, FRAME_SEED, 8192);
      return again;
    },
  },
  {
    name: 'record',
    sample: (prng) => SAMPLE_RECORDS[below(prng, SAMPLE_RECORDS.length)]!,
    there: recordThere,
  },
];

const SAMPLE_RECORDS: readonly Uint8Array[] = [
  encodePoolRecord({
    uid: 0,
    gid: 0,
    mode: 0o600,
    utype: new Uint8Array(16),
    label: 'a-label',
    sparePercentCapacity: 5,
    sparePercentStaging: 5,
    readAheadPages: 8,
    mappedRegionLog2: 30,
    rootMdc: { logA: makeObjectId(1, 2, 1), logB: makeObjectId(2, 2, 1) },
  }),
  encodeMdcRecord({
    slot: 1,
    logA: { pageAddress: 64, pageCount: 16 },
    logB: { pageAddress: 80, pageCount: 16 },
  }),
  encodeObjectRecord({
    ...blankObjectRecord(),
    idLow: (7 << 12) | 0x101,
    pageAddress: 512,
    pageCount: 256,
    lengthBytes: 9000,
  }),
  encodeDeletionRecord((7 << 12) | 0x201, 3),
  encodeIdCheckpoint(2 ** 40),
  encodeLogMarks([
    {
      idLow: (7 << 12) | 0x201,
      idHigh: 0,
      generation: 3,
      durableBytes: 9216,
      sequence: 77,
      crc: 0x12345678,
    },
  ]),
  encodeLosses([
    { idLow: (7 << 12) | 0x101, idHigh: 0, sinceMs: 2 ** 41, fromBytes: 4096, toBytes: 8192 },
  ]),
];

function recordThere(bytes: Uint8Array): Uint8Array | undefined {
  const type = recordType(bytes, 0, bytes.length);
  const view = viewOf(bytes);
  const length = bytes.length;
  if (type === 0) return undefined;
  assert.ok(recordBytesOf(type) > 0);
  switch (type) {
    case 1: {
      const found = decodePoolRecord(bytes, 0, length);
      return typeof found === 'string' ? undefined : encodePoolRecord(found);
    }
    case 2: {
      const found = decodeMdcRecord(bytes, 0, length);
      return typeof found === 'string' ? undefined : encodeMdcRecord(found);
    }
    case 3: {
      const found = blankObjectRecord();
      const problem = readObjectRecord(view, 0, length, found);
      return problem === undefined ? encodeObjectRecord(found) : undefined;
    }
    case 4:
      if (deletionProblem(view, 0, length) !== undefined) return undefined;
      return encodeDeletionRecord(idLowAt(view, 0), idHighAt(view, 0));
    case 6: {
      const found = length === 40 ? readLogMark(view, 0) : '';
      return typeof found === 'string' ? undefined : encodeLogMarks([found]);
    }
    case 7: {
      const found = length === 40 ? readLoss(view, 0) : '';
      return typeof found === 'string' ? undefined : encodeLosses([found]);
    }
    default:
      if (checkpointProblem(view, 0, length) !== undefined) return undefined;
      return encodeIdCheckpoint(checkpointAt(view, 0));
  }
}

for (const subject of SUBJECTS) {
  test(`${subject.name}: any bytes are refused, or mean just themselves`, async (t) => {
    let [tried, taken] = [0, 0];
    const isRight = (bytes: Uint8Array): void => {
      const before = Uint8Array.from(bytes);
      const meant = subject.there(bytes);
      tried += 1;
      assert.ok(equalBytes(bytes, before), 'a decoder changes nothing');
      if (meant === undefined) return;
      taken += 1;
      assert.ok(
        equalBytes(meant, bytes),
        `${Buffer.from(bytes).toString('hex')} means other bytes`,
      );
    };
    for (const seed of seeds(20)) {
      await withSeed(seed, () => {
        const prng = new SeededPrng(seed);
        for (let i = 0; i < 100; i++) {
          const sample = subject.sample(prng);
          isRight(sample);
          isRight(mutate(sample, prng));
          isRight(randomBytes(sample.length, prng));
          const resealed = mutate(sample, prng);
          subject.reseal?.(resealed, prng);
          isRight(resealed);
        }
      });
    }
    t.diagnostic(`${tried} tried, ${taken} taken`);
    assert.ok(taken >= tried / 4 && taken < tried, 'some are taken, some are not');
  });
}
