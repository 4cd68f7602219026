// Goal: whatever a device may hold is seen and named, and a blank one is taken for blank.
// Method: magics and places written once more, by hand; pictures of whole devices, simulated;
// random single bytes and ranges (the seed is in each message); real files. What real programs
// make: probe-tools.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { closeSync, openSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32c } from '../../src/base/crc32c.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { MIB } from '../../src/base/units.ts';
import type { PathInfo } from '../../src/device/host.ts';
import { probeContent, type ByteRange, type Finding } from '../../src/device/probe-content.ts';
import { matchSignature, SIGNATURES } from '../../src/device/signatures.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { encodeSuperblock } from '../../src/format/superblock.ts';
import { type SimDisk, SimHost } from '../../src/testing/index.ts';
import { fromHex, superblock } from '../format/samples.ts';
import {
  FAT,
  hex,
  MD,
  MINIX,
  MPOOL_IDENTITY,
  ODD_BYTES,
  PARTITION,
  PROTECTIVE,
  type Sample,
  SAMPLES,
  SMALL_BYTES,
  text,
} from './content-samples.ts';
import { temporaryFolder } from './places.ts';

const host = new SimHost({ keepTrace: false });
let diskCount = 0;

function newDisk(sizeBytes: number): { path: string; disk: SimDisk } {
  const path = `/dev/disk${diskCount++}`;
  return { path, disk: host.addDisk(path, { sizeBytes, kind: 'file' }) };
}

/** A disk with these bytes at these places. */
function diskWith(sizeBytes: number, parts: [offsetBytes: number, bytes: Uint8Array][]) {
  const made = newDisk(sizeBytes);
  for (const [offsetBytes, bytes] of parts) made.disk.poke(offsetBytes, bytes);
  return made;
}

/** What is found on it. */
async function findingOn(
  sizeBytes: number,
  parts: [offsetBytes: number, bytes: Uint8Array][],
): Promise<Finding | undefined> {
  return await probeContent(host, diskWith(sizeBytes, parts).path);
}

function partsOf(sample: Sample, at: number): [offsetBytes: number, bytes: Uint8Array][] {
  const fields = sample.fields ?? [];
  return [
    ...fields.map(([distance, bytes]): [number, Uint8Array] => [at + distance, bytes]),
    [at, sample.magic],
  ];
}

/** Somewhere no signature looks. */
const OTHER_DATA: [number, Uint8Array] = [9000, hex('5a')];

test('each signature is found in each of its places, among other data', async () => {
  let count = 0;
  for (const sample of SAMPLES) {
    for (const at of sample.at) {
      const expected = { what: sample.what, offsetBytes: at };
      const parts = partsOf(sample, at);
      const message = `${sample.magic.toString('hex')} at ${at}`;
      assert.deepEqual(await findingOn(ODD_BYTES, parts), expected, message);
      assert.deepEqual(await findingOn(ODD_BYTES, [OTHER_DATA, ...parts]), expected, message);
      if (at < MIB) assert.deepEqual(await findingOn(SMALL_BYTES, parts), expected, message);
      count++;
    }
  }
  assert.ok(count > 130, `${count} places`);
});

test('every row and place of the table has a sample', () => {
  const disks = SAMPLES.flatMap((sample) =>
    sample.at.map((at) => ({ at, disk: diskWith(ODD_BYTES, partsOf(sample, at)).disk })),
  );
  const media = disks.map(({ disk }) => ({
    sizeBytes: ODD_BYTES,
    bytesAt: (offset: number, length: number): Uint8Array | undefined =>
      offset < 0 || offset + length > ODD_BYTES ? undefined : disk.bytes(offset, length),
  }));
  for (const row of SIGNATURES) {
    const places = row.offsetsBytes;
    // Long rows are runs: their first place stands for all.
    for (const place of places.length > 8 ? [places[0]!] : places) {
      const hit = media.some((m, i) => matchSignature(row, place, m)?.offsetBytes === disks[i]!.at);
      assert.ok(hit, `${row.what}: ${Buffer.from(row.magic).toString('hex')} at ${place}`);
    }
  }
});

test('short magics that chance has put there are data', async () => {
  const cases: [name: string, offsetBytes: number, ...[number, Uint8Array][]][] = [
    ['a label that is not LVM2', 512, [512, text('LABELONE')]],
    ['md of version 2', 4096, [4096, Buffer.concat([MD, hex('02000000')])]],
    ['md 0.90 at the place of 1.0', 3_342_336, [3_342_336, MD]],
    ['ext of blocks of 128 KiB', 1048, [1048, hex('07')], [1080, hex('53ef')]],
    ['minix without inodes', 1040, [1040, hex('7f13')]],
    ['minix without a map', 1025, [1024, MINIX], [1028, hex('0000')], [1040, hex('7f13')]],
    ['minix of large zones', 1025, [1024, MINIX], [1034, hex('01')], [1040, hex('7f13')]],
    ['minix with data in its maps', 1025, [1024, MINIX], [1032, hex('03')], [1040, hex('7f13')]],
    ['NILFS of revision 1', 1024, [1024, hex('01')], [1030, hex('3434')]],
    ['another block of GFS2', 65_536, [65_536, hex('0116197000000002')]],
    ['an end mark alone', 510, [510, hex('55aa')]],
    ['a boot loader', 0, [0, hex('eb3c90')], [510, hex('55aa')]],
    ['a FAT that does not begin with a jump', 0, [0, FAT], [0, hex('fa')], [510, hex('55aa')]],
    ['a FAT of sectors of 513 bytes', 0, [0, FAT], [11, hex('01')], [510, hex('55aa')]],
    ['a FAT of sectors of 256 bytes', 0, [0, FAT], [11, hex('0001')], [510, hex('55aa')]],
    ['a FAT of clusters of 3 sectors', 0, [0, FAT], [13, hex('03')], [510, hex('55aa')]],
    ['a FAT without its first sector', 0, [0, FAT], [14, hex('0000')], [510, hex('55aa')]],
    ['a FAT on no known media', 0, [0, FAT], [21, hex('f7')], [510, hex('55aa')]],
    ['a FAT of three tables', 0, [0, FAT], [16, hex('03')], [510, hex('55aa')]],
    ['a partition of state 12', 446, [446, PARTITION], [446, hex('12')], [510, hex('55aa')]],
    ['a partition of no length', 446, [446, PARTITION], [458, hex('00000000')], [510, hex('55aa')]],
    ['the first half of a magic', 0, [0, text('mpool')]],
    ['a magic one byte off', 1, [1, text('XFSB')]],
  ];
  for (const [name, offsetBytes, ...parts] of cases) {
    assert.deepEqual(await findingOn(ODD_BYTES, parts), { what: 'data', offsetBytes }, name);
  }
});

test('a file that ends behind a magic, before the fields that judge it, holds data', async () => {
  for (const sample of SAMPLES) {
    const at = sample.at[0]!;
    if (at >= MIB) continue;
    const found = await findingOn(at + sample.magic.length, [[at, sample.magic]]);
    assert.ok(found !== undefined && found.offsetBytes >= at, `${sample.what} at ${at}`);
  }
});

test('of several, the outermost names the device', async () => {
  const sample = (what: string): [number, Uint8Array][] => {
    const found = SAMPLES.find((s) => s.what === what)!;
    return partsOf(found, found.at[0]!);
  };
  const cases: [inner: string, outer: string][] = [
    ['an ext4 filesystem', 'a Linux RAID member (1.0)'],
    ['an ext4 filesystem', 'a Linux RAID member (1.2)'],
    ['an XFS filesystem', 'a DRBD volume'],
    ['a GPT partition table', 'an LVM2 physical volume'],
    ['a GPT partition table', 'a LUKS2 volume'],
    ['an MBR partition table', 'an NTFS filesystem'],
    ['an MBR partition table', 'an ext2 filesystem'],
    ['an ISO 9660 filesystem', 'a UDF filesystem'],
    ['a protective MBR (of a GPT partition table)', 'a GPT partition table'],
    ['a GPT partition table (its backup)', 'an XFS filesystem'],
    ['a GPT partition table (its backup)', 'an MBR partition table'],
    ['a swap area', 'the mpool "tank" (format 2)'],
  ];
  for (const [inner, outer] of cases) {
    const parts = inner === 'an ISO 9660 filesystem' ? [[34_817, text('NSR03')]] : sample(outer);
    const finding = await findingOn(ODD_BYTES, [
      ...sample(inner),
      ...(parts as [number, Uint8Array][]),
    ]);
    assert.equal(finding?.what, outer, `${inner} within ${outer}`);
  }
  // The same two bytes end both kinds of first sector.
  const both = [...sample('a FAT filesystem'), ...sample('an MBR partition table')];
  assert.equal((await findingOn(ODD_BYTES, both))?.what, 'a FAT filesystem');
});

test('a GPT is seen by either copy, with sectors of 512 and of 4096 bytes', async () => {
  const sizeBytes = 64 * MIB;
  const mbr: [number, Uint8Array][] = [
    [446, PROTECTIVE],
    [510, hex('55aa')],
  ];
  for (const sectorBytes of [512, 4096]) {
    const primary: [number, Uint8Array] = [sectorBytes, text('EFI PART\0\0\x01\0')];
    const backup: [number, Uint8Array] = [sizeBytes - sectorBytes, text('EFI PART\0\0\x01\0')];
    const whole = await findingOn(sizeBytes, [...mbr, primary, backup]);
    assert.deepEqual(whole, { what: 'a GPT partition table', offsetBytes: sectorBytes });
    assert.deepEqual(await findingOn(sizeBytes, [backup]), {
      what: 'a GPT partition table (its backup)',
      offsetBytes: sizeBytes - sectorBytes,
    });
  }
});

test('an mpool of format 2 is named by any whole copy', async () => {
  const sizeBytes = 64 * MIB;
  const places = [0, 65_536, sizeBytes - 65_536, sizeBytes - 4096];
  const { path, disk } = newDisk(sizeBytes);
  for (const [copy, place] of places.entries()) {
    disk.poke(place, encodeSuperblock(superblock(), copy));
  }
  const what = 'the mpool "pool-1" (format 2)';
  assert.deepEqual(await probeContent(host, path), { what, offsetBytes: 0 });
  // Damaged in its identity, one after the other: the magics stay.
  for (const place of places.slice(0, 3)) {
    disk.flipBit(place + 9);
    assert.deepEqual(await probeContent(host, path), { what, offsetBytes: 0 });
  }
  disk.flipBit(places[3]! + 9);
  const damaged = { what: 'a damaged mpool', offsetBytes: 0 };
  assert.deepEqual(await probeContent(host, path), damaged);
  // Whole again, and then gone one after the other.
  for (const place of places) disk.flipBit(place + 9);
  for (const [index, place] of places.entries()) {
    assert.deepEqual(await probeContent(host, path), { what, offsetBytes: place });
    disk.poke(place, { fill: 0, lengthBytes: 4096 });
    if (index === 3) assert.equal(await probeContent(host, path), undefined);
  }
});

/** Made by the original; its second copy is at 8 KiB. */
const FORMAT_1 = fromHex(`
  6d70 6f6f 6c44 6576 6465 6d6f 5f70 6f6f 6c00 0000 0000 0000 0000 0000 0000 0000
  0000 0000 0000 0000 f6da e318 d5a2 4afd ad35 385b 5496 c355 0100 0100 0000 74f5
  f37d 0000 0000 0000 0102 0c16 8c19 9b63 874e e1aa 9e36 93c2 c8db 6200 0000 0000`);

test('an mpool of format 1 is named by either copy', async () => {
  const what = 'the mpool "demo_pool" (format 1)';
  const first: [number, Uint8Array] = [0, FORMAT_1];
  const second: [number, Uint8Array] = [8192, FORMAT_1];
  assert.deepEqual(await findingOn(ODD_BYTES, [first, second]), { what, offsetBytes: 0 });
  assert.deepEqual(await findingOn(ODD_BYTES, [second]), { what, offsetBytes: 8192 });
  const damage: [number, Uint8Array] = [20, hex('ff')];
  assert.deepEqual(await findingOn(ODD_BYTES, [first, damage, second]), { what, offsetBytes: 0 });
  assert.equal((await findingOn(ODD_BYTES, [first, damage]))?.what, 'a damaged mpool');
});

test('a name that would steer a terminal is not shown', async () => {
  for (const name of ['\x1b[2Jpool', 'a b', 'p\xf6\xf6l', '']) {
    const identity = Buffer.from(MPOOL_IDENTITY);
    identity.fill(0, 8, 40);
    identity.write(name, 8, 'latin1');
    const crc = Buffer.alloc(4);
    crc.writeUInt32LE(crc32c(identity));
    const found = await findingOn(ODD_BYTES, [[0, Buffer.concat([identity, crc])]]);
    assert.deepEqual(found, { what: 'a damaged mpool', offsetBytes: 0 }, JSON.stringify(name));
  }
});

test('what is blank holds nothing, however large', async () => {
  for (const size of [
    0,
    1,
    511,
    512,
    4095,
    65_537,
    MIB,
    2 * MIB,
    2 * MIB + 1,
    2 ** 40,
    ODD_BYTES,
  ]) {
    assert.equal(await findingOn(size, []), undefined, `${size} bytes`);
  }
});

test('at both ends any byte counts, and between them none', async () => {
  const MB = 1_048_576;
  const size = 5_242_880;
  const cases: [offsetBytes: number, found: boolean][] = [
    [0, true],
    [MB - 1, true],
    [MB, false],
    [size - MB - 1, false],
    [size - MB, true],
    [size - 1, true],
  ];
  for (const [offsetBytes, found] of cases) {
    const expected = found ? { what: 'data', offsetBytes } : undefined;
    assert.deepEqual(await findingOn(size, [[offsetBytes, hex('80')]]), expected, `${offsetBytes}`);
  }
  // The ends of what is small are all of it.
  for (const offsetBytes of [0, MB - 1, MB, MB + 1, 2 * MB - 1]) {
    const expected = { what: 'data', offsetBytes };
    assert.deepEqual(await findingOn(2 * MB, [[offsetBytes, hex('01')]]), expected);
  }
});

const seed = randomInt(2 ** 32);

test('a random single byte is found within the ends and not between them', async () => {
  const prng = new SeededPrng(seed);
  let seen = 0;
  for (let round = 0; round < 150; round++) {
    const size = 1 + below(prng, round % 3 === 0 ? 3 * MIB : 8 * MIB);
    const offsetBytes = below(prng, size);
    const byte = 1 + below(prng, 255);
    const within = offsetBytes < MIB || offsetBytes >= size - MIB;
    const expected = within ? { what: 'data', offsetBytes } : undefined;
    const found = await findingOn(size, [[offsetBytes, Uint8Array.of(byte)]]);
    assert.deepEqual(found, expected, `seed ${seed}, ${byte} at ${offsetBytes} of ${size}`);
    if (within) seen++;
  }
  assert.ok(seen > 20 && seen < 145, `seed ${seed}: both kinds occur (${seen})`);
});

test('ranges replace the ends; the first byte is that of the first range with one', async () => {
  const prng = new SeededPrng(seed);
  const size = 4 * MIB + 777;
  for (let round = 0; round < 150; round++) {
    const bytes = Array.from({ length: 1 + below(prng, 4) }, () => below(prng, size));
    const ranges = Array.from({ length: below(prng, 4) }, (): ByteRange => {
      const offsetBytes = below(prng, size + 1000);
      return { offsetBytes, lengthBytes: below(prng, 2 * MIB) };
    });
    const { path, disk } = newDisk(size);
    for (const at of bytes) disk.poke(at, hex('77'));
    const hits = ranges.map(({ offsetBytes, lengthBytes }) =>
      bytes.filter((at) => at >= offsetBytes && at < offsetBytes + lengthBytes),
    );
    const first = hits.find((hit) => hit.length > 0);
    const expected = first && { what: 'data', offsetBytes: Math.min(...first) };
    const message = `seed ${seed}, round ${round}`;
    assert.deepEqual(await probeContent(host, path, ranges), expected, message);
  }
});

test('ranges are clipped, cross the ends, and do not hide a format', async () => {
  const { path, disk } = diskWith(4 * MIB, [[MIB + 50, hex('01')]]);
  const found = { what: 'data', offsetBytes: MIB + 50 };
  const across = { offsetBytes: MIB - 100, lengthBytes: 200 };
  assert.deepEqual(await probeContent(host, path, [across]), found);
  const all = { offsetBytes: 0, lengthBytes: Number.MAX_SAFE_INTEGER };
  assert.deepEqual(await probeContent(host, path, [all]), found);
  assert.equal(await probeContent(host, path, []), undefined);
  const none = { offsetBytes: MIB + 50, lengthBytes: 0 };
  const beyond = { offsetBytes: 4 * MIB, lengthBytes: 10 };
  assert.equal(await probeContent(host, path, [none, beyond]), undefined);
  disk.poke(0, text('XFSB'));
  const format = { what: 'an XFS filesystem', offsetBytes: 0 };
  assert.deepEqual(await probeContent(host, path, [across]), format);
  assert.deepEqual(await probeContent(host, path, []), format);
});

test('ranges that are none are refused before anything is read', async () => {
  const bad = [-1, 0.5, NaN, Infinity, 2 ** 53];
  const ranges = bad.flatMap((value) => [
    { offsetBytes: value, lengthBytes: 1 },
    { offsetBytes: 0, lengthBytes: value },
  ]);
  const good = { offsetBytes: 0, lengthBytes: 1 };
  for (const range of ranges) {
    const probe = probeContent(host, '/dev/nowhere', [good, range]);
    const error = { name: 'RangeError', code: 'ERR_MPOOL_INVALID_ARG' };
    await assert.rejects(probe, error, JSON.stringify(range));
  }
  const code = 'ERR_MPOOL_NOT_FOUND';
  await assert.rejects(probeContent(host, '/dev/nowhere', [good]), { code, path: '/dev/nowhere' });
});

test('what reading throws comes through, whichever read it is', async () => {
  const { path } = newDisk(4 * MIB);
  const other = { offsetBytes: 2 * MIB, lengthBytes: 100 };
  const reads: (() => Promise<Finding | undefined>)[] = [
    () => probeContent(host, path),
    () => probeContent(host, path, [other]),
  ];
  const counts: number[] = [];
  for (const probe of reads) {
    for (let nth = 1; ; nth++) {
      const effect = { kind: 'error', errno: 'ENXIO' } as const;
      const fault = host.addFault({ op: 'peek', disk: path, nth, effect });
      const outcome = await probe().catch((error: unknown) => error);
      fault.remove();
      if (fault.hits === 0) {
        counts.push(nth - 1);
        assert.equal(outcome, undefined);
        break;
      }
      assert.ok(isMpoolError(outcome, 'ERR_MPOOL_IO'), `read ${nth}: ${String(outcome)}`);
      assert.equal(outcome.errno, -6);
      assert.equal(outcome.path, path);
    }
  }
  assert.ok(counts[0]! >= 3 && counts[1] === counts[0]! + 1, `reads: ${counts.join()}`);
});

test('an unreadable sector counts only where it is read', async () => {
  const { path, disk } = newDisk(4 * MIB);
  disk.failSectors(2 * MIB, 512);
  assert.equal(await probeContent(host, path), undefined);
  disk.failSectors(4 * MIB - 512, 512);
  await assert.rejects(probeContent(host, path), { code: 'ERR_MPOOL_IO', errno: -5 });
});

test('a device claimed and written by another is read, and left as it is', async () => {
  const { path, disk } = diskWith(ODD_BYTES, [[1080, hex('53ef')]]);
  const device = await host.openDevice(path, { access: 'write' });
  const before = disk.bytes(0, ODD_BYTES);
  const operations = host.operationCount;
  assert.equal((await probeContent(host, path))?.what, 'an ext2 filesystem');
  assert.equal(host.operationCount, operations, 'nothing but reads');
  assert.ok(Buffer.from(before).equals(disk.bytes(0, ODD_BYTES)));
  await device.close();
});

const system = new SystemHost();

test('real files: blank, empty, linked, of data and of a format', async (t) => {
  const path = join(temporaryFolder(t), 'file');
  writeFileSync(path, '');
  assert.equal(await probeContent(system, path), undefined);
  truncateSync(path, 64 * MIB);
  assert.equal(await probeContent(system, path), undefined);
  const link = `${path}.link`;
  symlinkSync(path, link);
  writeAt(path, 64 * MIB - 3, hex('01'));
  const data = { what: 'data', offsetBytes: 64 * MIB - 3 };
  assert.deepEqual(await probeContent(system, link), data);
  writeAt(path, 65_600, text('_BHRfS_M'));
  const btrfs = { what: 'a btrfs filesystem', offsetBytes: 65_600 };
  assert.deepEqual(await probeContent(system, link), btrfs);
  writeFileSync(path, 'hello');
  assert.deepEqual(await probeContent(system, path), { what: 'data', offsetBytes: 0 });
});

test('what cannot hold a pool is refused', async (t) => {
  const folder = temporaryFolder(t);
  const range = { name: 'RangeError', code: 'ERR_MPOOL_INVALID_ARG' };
  await assert.rejects(probeContent(system, folder), range);
  await assert.rejects(probeContent(system, '/dev/null'), range);
  const path = join(folder, 'none');
  await assert.rejects(probeContent(system, path), { code: 'ERR_MPOOL_NOT_FOUND', path });
});

test('a file that shrinks meanwhile ends in zeros', async (t) => {
  class LateHost extends SystemHost {
    override async stat(path: string): Promise<PathInfo | undefined> {
      const info = await super.stat(path);
      return info && { ...info, sizeBytes: info.sizeBytes + 3 * MIB };
    }
  }
  const path = join(temporaryFolder(t), 'file');
  writeFileSync(path, new Uint8Array(1000));
  const range = { offsetBytes: 2 * MIB, lengthBytes: 100 };
  assert.equal(await probeContent(new LateHost(), path), undefined);
  assert.equal(await probeContent(new LateHost(), path, [range]), undefined);
});

function writeAt(path: string, offsetBytes: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  try {
    writeSync(file, bytes, 0, bytes.length, offsetBytes);
  } finally {
    closeSync(file);
  }
}
