// Goal: superblocks are as docs/format.md says, and nothing else is taken for one.
// Method: a vector computed apart from this code, round trips, every bit flip, hostile bytes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../../src/base/bytes.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import {
  decodeSuperblock,
  encodeSuperblock,
  superblockOffsetBytes,
  type Superblock,
} from '../../src/format/superblock.ts';
import { descriptor, eachBitFlip, STAGING_UUID, superblock, toHex } from './samples.ts';

const SIZE = superblock().capacity.sizeBytes;

function offsetOf(copy: number): number {
  return superblockOffsetBytes(copy, SIZE);
}

/** Makes both checksums right again after a change. */
function reseal(page: Uint8Array): Uint8Array {
  const view = viewOf(page);
  view.setUint32(62, crc32c(page.subarray(0, 62)), true);
  view.setUint32(68, 0, true);
  view.setUint32(68, crc32c(page), true);
  return page;
}

test('the checksum is CRC32C', () => {
  assert.equal(crc32c(new TextEncoder().encode('123456789')), 0xe3069283);
});

test('copy 2 is byte for byte as computed from the document by another program', () => {
  const page = encodeSuperblock(superblock(), 2);
  assert.equal(
    toHex(page.subarray(0, 120)),
    '6d706f6f6c446576706f6f6c2d31000000000000000000000000000000000000' +
      '0000000000000000101112131415161718191a1b1c1d1e1f0200070000' +
      '00b009963a00002bd561d00000ff0300000000020000000000000000000000' +
      '000000007b68e5cf8b010000202122232425262728292a2b2c2d2e2f',
  );
  assert.equal(crc32c(page), 0x4c9eb39d);
});

test('all four copies decode to what was encoded, each at its own place only', () => {
  for (let copy = 0; copy < 4; copy++) {
    const page = encodeSuperblock(superblock(), copy);
    const decoded = decodeSuperblock(page, offsetOf(copy));
    assert.deepEqual(decoded, { ok: true, superblock: superblock(), copy });
    for (let other = 0; other < 4; other++) {
      const elsewhere = decodeSuperblock(page, offsetOf(other));
      if (other !== copy) assert.equal(!elsewhere.ok && elsewhere.problem, 'position');
    }
  }
});

test('any superblock survives the round trip', () => {
  const name = fc.stringMatching(/^[A-Za-z0-9._][A-Za-z0-9._-]{0,30}$/);
  const arbitrary = fc.record({
    name,
    generation: fc.integer({ min: 1, max: 0xffffffff }),
    createdMs: fc.maxSafeNat(),
    zoneLog2: fc.integer({ min: 8, max: 14 }),
    sizePages: fc.integer({ min: 16384, max: 2 ** 36 }),
    sectorBytes: fc.constantFrom(512, 4096),
    path: fc.string({ unit: 'grapheme', maxLength: 100 }),
    withStaging: fc.boolean(),
    onStaging: fc.boolean(),
    copy: fc.nat(3),
  });
  fc.assert(
    fc.property(arbitrary, (a) => {
      const capacity = descriptor({
        zonePages: 2 ** a.zoneLog2,
        sizeBytes: a.sizePages * 4096,
        sectorBytes: a.sectorBytes,
        ...(a.sizePages / 2 ** a.zoneLog2 > 2 ** 28 ? { zonePages: 16384 } : {}),
      });
      const base = superblock({ ...pick(a), capacity, capacityPath: a.path, stagingPath: '' });
      if (!a.withStaging) delete base.staging;
      if (a.withStaging && a.onStaging) base.deviceUuid = STAGING_UUID;
      const own = a.withStaging && a.onStaging ? base.staging! : capacity;
      const page = encodeSuperblock(base, a.copy);
      const decoded = decodeSuperblock(page, superblockOffsetBytes(a.copy, own.sizeBytes));
      assert.deepEqual(decoded, { ok: true, superblock: base, copy: a.copy });
    }),
    { numRuns: 200 },
  );
});

function pick({
  name,
  generation,
  createdMs,
}: Superblock | Pick<Superblock, 'name' | 'generation' | 'createdMs'>) {
  return { name, generation, createdMs };
}

test('every single-bit flip is refused', () => {
  const page = encodeSuperblock(superblock(), 1);
  for (const { byte, bit } of eachBitFlip(page)) {
    assert.equal(decodeSuperblock(page, offsetOf(1)).ok, false, `byte ${byte} bit ${bit}`);
  }
  assert.equal(decodeSuperblock(page, offsetOf(1)).ok, true);
});

test('blank, foreign, torn, newer and misplaced pages are told apart', () => {
  const problem = (page: Uint8Array, offsetBytes = 0): string => {
    const decoded = decodeSuperblock(page, offsetBytes);
    return decoded.ok ? 'ok' : decoded.problem;
  };
  assert.equal(problem(new Uint8Array(4096)), 'blank');
  assert.equal(problem(new Uint8Array(4096).fill(7)), 'magic');
  const torn = encodeSuperblock(superblock(), 0);
  torn.fill(0, 512, 1024);
  assert.equal(problem(torn), 'checksum');
  const newer = encodeSuperblock(superblock(), 0);
  viewOf(newer).setUint16(56, 3, true);
  viewOf(newer).setUint32(62, crc32c(newer.subarray(0, 62)), true);
  assert.equal(problem(newer), 'version');
  const feature = encodeSuperblock(superblock(), 0);
  viewOf(feature).setUint32(92, 4, true);
  assert.equal(problem(reseal(feature)), 'version');
  const decoded = decodeSuperblock(feature, 0);
  assert.equal(!decoded.ok && decoded.identity?.generation, 7);
  assert.equal(problem(encodeSuperblock(superblock(), 0), 65536), 'position');
});

test('impossible values under right checksums are refused', () => {
  const change = (edit: (view: DataView, page: Uint8Array) => void): string => {
    const page = encodeSuperblock(superblock(), 0);
    edit(viewOf(page), page);
    const decoded = decodeSuperblock(reseal(page), 0);
    return decoded.ok ? 'ok' : decoded.problem;
  };
  assert.equal(
    change(() => {}),
    'ok',
  );
  const edits: Record<string, (view: DataView, page: Uint8Array) => void> = {
    'name of a path': (view) => view.setUint8(8, 0x2f),
    'name with a tail': (view) => view.setUint8(20, 0x41),
    'generation 0': (view) => view.setUint32(58, 0, true),
    'reserved byte 66': (view) => view.setUint8(66, 1),
    'reserved byte 124': (view) => view.setUint8(124, 1),
    'reserved byte 300': (view) => view.setUint8(300, 1),
    'reserved byte 3000': (view) => view.setUint8(3000, 1),
    'foreign device': (view) => view.setUint8(104, 0x99),
    'media class': (view) => view.setUint8(128 + 16, 0),
    'device kind': (view) => view.setUint8(128 + 17, 3),
    'sector shift': (view) => view.setUint8(128 + 18, 10),
    'zone pages': (view) => view.setUint32(128 + 20, 300, true),
    'zones too small': (view) => view.setUint32(128 + 20, 128, true),
    'zone count': (view) => view.setUint32(128 + 32, 0xffffffff, true),
    'size above 2^53': (view) => view.setUint32(128 + 28, 0xffffffff, true),
    'descriptor tail': (view) => view.setUint8(128 + 60, 1),
    'no staging uuid': (_, page) => page.fill(0, 192, 208),
    'mdc0 on the superblocks': (view) => view.setUint32(256, 16, true),
    'mdc0 beyond the zones': (view) => view.setUint32(256, 16384, true),
    'mdc0 logs overlap': (view) => view.setUint32(272, 40, true),
    'mdc0 over a border': (view) => view.setUint32(272, 250, true),
    'mdc0 endless': (view) => view.setUint32(264, 0xffffffff, true),
    'mdc0 of one page': (view) => view.setUint32(264, 1, true),
    'both devices of one UUID': (_, page) => page.copyWithin(192, 128, 144),
    'path length': (view) => view.setUint16(512, 1023, true),
    'path tail': (view) => view.setUint8(1500, 1),
  };
  for (const [name, edit] of Object.entries(edits)) assert.equal(change(edit), 'content', name);
  assert.equal(
    change((view) => view.setUint32(80, 1, true)),
    'position',
  );
  assert.equal(
    change((view) => view.setUint32(80, 0xffffffff, true)),
    'position',
  );
  assert.equal(
    change((view) => view.setUint32(72, 65536, true)),
    'position',
    'an own offset that is not that of its copy',
  );
});

test('unknown compatible features leave the reserved bytes to newer programs', () => {
  const page = encodeSuperblock(superblock(), 0);
  viewOf(page).setUint32(84, 1, true);
  page[3000] = 1;
  assert.equal(decodeSuperblock(reseal(page), 0).ok, true);
});

test('hostile bytes never throw', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 4096, maxLength: 4096 }),
      fc.boolean(),
      fc.maxSafeNat(),
      (page, sealed, offsetBytes) => {
        if (sealed) {
          page.set(encodeSuperblock(superblock(), 0).subarray(0, 62), 0);
          reseal(page);
        }
        assert.equal(decodeSuperblock(page, offsetBytes).ok, false);
      },
    ),
    { numRuns: 300 },
  );
});
