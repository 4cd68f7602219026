// Goal: whatever structure of a pool is damaged, check names the object, the structure and the place.
// Method: a pool made of structures that holds every kind of them; one is damaged at a time, in several
// ways, and what check finds is compared with what was done, to the byte of its structure.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { ChunkKind, FRAME_FLAG_CLOSED } from '../../src/format/log-frame.ts';
import { LogState } from '../../src/format/log-header.ts';
import { idLow, printIdHalves } from '../../src/format/object-id.ts';
import { encodeSuperblock, superblockOffsetBytes } from '../../src/format/superblock.ts';
import { checkPool, type CheckReport } from '../../src/pool/check.ts';
import type { CheckedStructure, CheckFinding } from '../../src/pool/check-findings.ts';
import { chunk, type LogImage } from './log-image.ts';
import { CAPACITY, PAGES, PoolImage, STAGING, type PoolLogs } from './pool-image.ts';

const SEED = Number(process.env['SEED'] ?? 20_250_722);
const PAGE = 4096;
const SIZE_BYTES = 16 * 2 ** 20;

/** Every kind of chunk, in frames of their own, and a closing frame. */
function withAllFrames(): PoolImage {
  return new PoolImage({
    logs({ plain, rootA }) {
      for (const log of [plain, rootA]) {
        log.flushed();
        log.pieces(Buffer.alloc(2500, 7), 1000);
        log.flushed();
        log.frame(chunk(ChunkKind.compactionStart, new Uint8Array(0)));
        log.flushed();
        log.frame(chunk(ChunkKind.compactionEnd, new Uint8Array(0)));
        log.flushed();
        log.frame(new Uint8Array(0), { flags: FRAME_FLAG_CLOSED });
      }
    },
  });
}

async function check(image: PoolImage): Promise<CheckReport> {
  const options = { clock: image.host.clock, data: true };
  return image.use((devices) => checkPool(devices, options));
}

interface Expected {
  structure: CheckedStructure | readonly CheckedStructure[];
  device: string;
  offsetBytes: number;
  objectId?: string;
  severity?: CheckFinding['severity'];
}

/** Some finding is just that; and it is said why the others are there, if any. */
async function names(image: PoolImage, what: string, expected: Expected): Promise<void> {
  const { findings } = await check(image);
  const { structure, device, offsetBytes, objectId, severity } = expected;
  const found = findings.some(
    (finding) =>
      [structure].flat().includes(finding.structure) &&
      finding.location.device === device &&
      finding.location.offsetBytes === offsetBytes &&
      finding.objectId === objectId &&
      (severity === undefined || finding.severity === severity),
  );
  const told = findings.map((each) => JSON.stringify(each)).join('\n');
  assert.ok(found, `${what}, seed ${SEED}: ${JSON.stringify(expected)} is not among\n${told}`);
}

/** A wrong bit somewhere in [from, to), an unreadable sector there, and both as the same finding. */
async function damagedAnyHow(
  make: () => PoolImage,
  [device, from, to]: [string, number, number],
  what: string,
  expected: Expected,
): Promise<void> {
  const prng = new SeededPrng(SEED);
  for (let round = 0; round < 4; round++) {
    const image = make();
    const at = from + below(prng, to - from);
    image.host.disk(device).flipBit(at, below(prng, 8));
    await names(image, `${what}: a bit of byte ${at}`, expected);
  }
  const image = make();
  image.host.disk(device).failSectors(Math.floor(from / 512) * 512, 512);
  const { findings } = await check(image);
  const near = findings.some(
    ({ location }) =>
      location.device === device &&
      location.offsetBytes >= expected.offsetBytes - 2 ** 16 &&
      location.offsetBytes <= to,
  );
  assert.ok(near, `${what}: an unreadable sector: ${JSON.stringify(findings)}`);
}

test('the pool with every kind of structure is clean', async () => {
  const report = await check(withAllFrames());
  assert.deepEqual([report.clean, report.findings], [true, []]);
  assert.ok(report.counts.frames >= 20, 'all of its frames were read');
});

test('each copy of each superblock', async () => {
  for (const device of [CAPACITY, STAGING]) {
    for (let copy = 0; copy < 4; copy++) {
      const offsetBytes = superblockOffsetBytes(copy, SIZE_BYTES);
      const range: [string, number, number] = [device, offsetBytes, offsetBytes + PAGE];
      await damagedAnyHow(() => new PoolImage(), range, `copy ${copy} on ${device}`, {
        structure: 'superblock',
        device,
        offsetBytes,
        severity: 'warning',
      });
    }
  }
  for (const copy of [0, 1, 2, 3]) {
    const image = new PoolImage();
    const { superblock } = image;
    const offsetBytes = superblockOffsetBytes(copy, SIZE_BYTES);
    const older = encodeSuperblock({ ...superblock, generation: superblock.generation - 1 }, copy);
    image.host.disk(CAPACITY).poke(offsetBytes, older);
    const at = { structure: 'superblock', device: CAPACITY, offsetBytes } as const;
    await names(image, `an older copy ${copy}`, { ...at, severity: 'note' });
    const elsewhere = new PoolImage();
    const misplaced = encodeSuperblock(elsewhere.superblock, (copy + 1) % 4);
    elsewhere.host.disk(CAPACITY).poke(offsetBytes, misplaced);
    await names(elsewhere, `copy ${copy} misplaced`, { ...at, severity: 'warning' });
  }
});

test('reserved pages, of both ends of both devices', async () => {
  for (const device of [CAPACITY, STAGING]) {
    for (const offsetBytes of [PAGE, 31 * PAGE, SIZE_BYTES - 15 * PAGE, SIZE_BYTES - 2 * PAGE]) {
      const image = new PoolImage();
      image.host.disk(device).flipBit(offsetBytes + 77);
      await names(image, 'a reserved page', { structure: 'reserved pages', device, offsetBytes });
    }
  }
});

const LOG_NAMES = ['mdc0A', 'mdc0B', 'mdc1A', 'mdc1B', 'rootA', 'rootB', 'plain'] as const;

function idOf(image: LogImage): string {
  const { low, high } = image.header.objectId;
  return printIdHalves(low, high);
}

test('the header of each log', async () => {
  for (const name of LOG_NAMES) {
    const offsetBytes = PAGES[name] * PAGE;
    const objectId = idOf(withAllFrames().logs[name]);
    const range: [string, number, number] = [CAPACITY, offsetBytes, offsetBytes + 512];
    const at = { structure: 'log header', device: CAPACITY, offsetBytes, objectId } as const;
    await damagedAnyHow(withAllFrames, range, `header of ${name}`, at);
  }
});

test('each frame of each log that counts: of records, of pieces, of markers, the closing one', async () => {
  for (const name of ['mdc0A', 'mdc1B', 'rootA', 'plain'] as const) {
    const log = withAllFrames().logs[name];
    const logBytes = PAGES[name] * PAGE;
    const ends = [...log.frames.slice(1), log.offsetBytes];
    for (const [i, start] of log.frames.entries()) {
      const offsetBytes = logBytes + start;
      const range: [string, number, number] = [CAPACITY, offsetBytes, logBytes + ends[i]!];
      const expected: Expected = {
        structure: 'log',
        device: CAPACITY,
        offsetBytes,
        objectId: idOf(log),
      };
      // Nothing tells whether the last one was acknowledged, unless the log's header does.
      const vouched = start < log.header.committedBytes || i < log.frames.length - 1;
      if (vouched) expected.severity = 'error';
      await damagedAnyHow(withAllFrames, range, `frame ${i} of ${name}`, expected);
    }
  }
});

test('what the logs of an MDC say of each other', async () => {
  const cases: [string, (logs: PoolLogs) => void, keyof PoolLogs][] = [
    ['none current', ({ mdc1B }) => (mdc1B.header.state = LogState.superseded), 'mdc1A'],
    ['both current', ({ mdc1A }) => (mdc1A.header.state = LogState.current), 'mdc1A'],
    ['a newer superseded', ({ mdc1A }) => (mdc1A.header.generation = 9), 'mdc1A'],
  ];
  for (const [what, logs, name] of cases) {
    const image = new PoolImage({ logs });
    const at = { structure: 'log', device: CAPACITY, offsetBytes: PAGES[name] * PAGE } as const;
    await names(image, what, { ...at, objectId: idOf(image.logs[name]) });
  }
});

test('markers that lie', async () => {
  const image = new PoolImage({
    logs({ plain }) {
      plain.frame(chunk(ChunkKind.compactionStart, Buffer.from('x')));
    },
  });
  const { plain } = image.logs;
  await names(image, 'a marker with a length', {
    structure: 'log',
    device: CAPACITY,
    offsetBytes: PAGES.plain * PAGE + plain.frames.at(-1)!,
    objectId: idOf(plain),
    severity: 'error',
  });
  const begun = new PoolImage({
    logs: (all) => void all.plain.frame(chunk(ChunkKind.compactionStart, new Uint8Array(0))),
  });
  await names(begun, 'a compaction that was never ended', {
    structure: 'log',
    device: CAPACITY,
    offsetBytes: PAGES.plain * PAGE + begun.logs.plain.offsetBytes,
    objectId: idOf(begun.logs.plain),
    severity: 'note',
  });
});

test('each page and each checksum of mblocks', async () => {
  for (const [device, first, pageCount, objectId] of [
    [CAPACITY, PAGES.large, 3, '0x4101'],
    [CAPACITY, PAGES.small, 1, '0x5101'],
    [STAGING, PAGES.staged, 200, '0x7101'],
  ] as const) {
    for (let page = 0; page < pageCount; page += pageCount > 10 ? 49 : 1) {
      const offsetBytes = (first + page) * PAGE;
      const range: [string, number, number] = [device, offsetBytes, offsetBytes + PAGE];
      const expected: Expected = {
        structure: pageCount === 1 ? ['mblock', 'page'] : 'page',
        device,
        offsetBytes,
        objectId,
      };
      await damagedAnyHow(() => new PoolImage(), range, `page ${page} of ${objectId}`, expected);
    }
    if (pageCount === 1) continue;
    const offsetBytes = (first + pageCount) * PAGE;
    const range: [string, number, number] = [device, offsetBytes, offsetBytes + PAGE];
    const expected = { structure: 'mblock', device, offsetBytes, objectId } as const;
    await damagedAnyHow(() => new PoolImage(), range, `checksums of ${objectId}`, expected);
  }
});

test('extents: overlapping, outside, on reserved pages; logs without their partner', async () => {
  const moved = (uniquifier: number, pageAddress: number): PoolImage =>
    new PoolImage({
      objects: (objects) =>
        objects.map((object) => {
          const mine = object.idLow >>> 12 === uniquifier;
          return mine ? { ...object, pageAddress } : object;
        }),
    });
  const at = { structure: 'extent', device: CAPACITY } as const;
  for (const [uniquifier, type, pageAddress, what] of [
    [5, 1, PAGES.large, 'an mblock on another'],
    [3, 2, PAGES.mdc1B, 'a log on a log of MDC 1'],
    [3, 2, PAGES.mdc0A + 4, 'a log on a log of MDC 0'],
    [3, 2, PAGES.large, 'a log in the zone of an mblock'],
    [5, 1, 0, 'an mblock on the superblocks'],
    [5, 1, 1030, 'an mblock that is no zone'],
    [5, 1, 2 ** 20, 'an mblock beyond the device'],
    [3, 2, 2 ** 20, 'a log beyond the device'],
  ] as const) {
    const image = moved(uniquifier, pageAddress);
    const { findings } = await check(image);
    const mine = printIdHalves(idLow(uniquifier, type, 1), 0);
    // Of two that overlap the finding is about one, and names both.
    const found = findings.find(
      ({ structure, objectId, message }) =>
        structure === 'extent' && (objectId === mine || message.includes(mine)),
    );
    assert.equal(found?.location.device, at.device, `${what}: ${JSON.stringify(findings)}`);
    assert.ok(found.location.offsetBytes >= Math.min(pageAddress, PAGES.plain) * PAGE, what);
  }
  const orphan = new PoolImage({
    objects: (objects) => objects.filter((object) => object.idLow >>> 12 !== 2),
  });
  await names(orphan, 'log A without its log B', {
    structure: 'object',
    device: CAPACITY,
    offsetBytes: PAGES.rootA * PAGE,
    objectId: '0x1201',
  });
});

test('MDC 0 without the records that a pool cannot be without', async () => {
  const image = new PoolImage({
    logs: ({ mdc0A }) => {
      mdc0A.offsetBytes = PAGE;
      mdc0A.sequence = 0;
      mdc0A.previousCrc = 0;
      mdc0A.recordCount = 0;
      mdc0A.frames.length = 0;
      mdc0A.header.committedBytes = PAGE;
      mdc0A.bytes.fill(0, PAGE);
    },
  });
  const messages = (await check(image)).findings.map(({ structure, location, message }) => {
    return [structure, location.offsetBytes, message];
  });
  assert.deepEqual(messages, [
    ['record', PAGES.mdc0A * PAGE, 'the properties of the pool are missing'],
    ['record', PAGES.mdc0A * PAGE, 'the MDC of the objects is missing'],
  ]);
});
