// Goal: a check of a whole pool is clean, names whatever is wrong, goes on after it, and writes
// nothing.
// Method: a pool made of structures by test/pool/pool-image.ts, with one thing wrong at a time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { ChunkKind } from '../../src/format/log-frame.ts';
import { LogState } from '../../src/format/log-header.ts';
import { idLow } from '../../src/format/object-id.ts';
import {
  encodeDeletionRecord,
  encodeIdCheckpoint,
  encodeObjectRecord,
  type ObjectRecord,
} from '../../src/format/records.ts';
import { encodeSuperblock } from '../../src/format/superblock.ts';
import { checkPool, type CheckOptions, type CheckReport } from '../../src/pool/check.ts';
import { chunk } from './log-image.ts';
import {
  CAPACITY,
  meaningfulRanges,
  PAGES,
  PoolImage,
  SIZES,
  STAGING,
  type PoolImageChanges,
} from './pool-image.ts';

const SEED = 20_250_103;
const PAGE = 4096;

async function run(image: PoolImage, options: Partial<CheckOptions> = {}): Promise<CheckReport> {
  const before = image.host.operationCount;
  const report = await image.use((devices) =>
    checkPool(devices, { clock: image.host.clock, data: true, ...options }),
  );
  assert.equal(image.host.operationCount, before, 'a check writes nothing');
  assert.equal(image.host.liveBufferCount, 0, 'every buffer is given back');
  return report;
}

/** 'severity structure: message', one line each. */
function lines(report: CheckReport): string[] {
  return report.findings.map((f) => `${f.severity} ${f.structure}: ${f.message}`);
}

/** The check of a pool with these changes finds just these. */
async function finds(changes: PoolImageChanges, ...patterns: RegExp[]): Promise<CheckReport> {
  const report = await run(new PoolImage(changes));
  const found = lines(report);
  assert.equal(found.length, patterns.length, found.join('\n'));
  for (const pattern of patterns)
    assert.ok(
      found.some((line) => pattern.test(line)),
      `${pattern}\n${found.join('\n')}`,
    );
  assert.equal(
    report.clean,
    patterns.every((pattern) => pattern.source.startsWith('^note')),
  );
  return report;
}

/** An object of MDC 1 that takes a zone of its own. */
function mblock(uniquifier: number, changes: Partial<ObjectRecord> = {}): ObjectRecord {
  return {
    mediaClass: 1,
    role: 0,
    digest: 0,
    idLow: idLow(uniquifier, 1, 1),
    idHigh: 0,
    pageAddress: 1024,
    pageCount: 256,
    lengthBytes: 0,
    ...changes,
  };
}

test('a whole pool is clean, and everything was looked at', async () => {
  const image = new PoolImage();
  const progress: [number, number][] = [];
  const report = await run(image, { onProgress: (done, total) => progress.push([done, total]) });
  assert.deepEqual(lines(report), []);
  assert.equal(report.clean, true);
  assert.deepEqual(report.counts, {
    superblocks: 8,
    logs: 7,
    frames: 10,
    records: 10,
    mblocks: 4,
    mlogs: 3,
    pages: 3 + 1 + 200,
    bytes: (3 + 1 + 1 + 200 + 1) * PAGE,
  });
  assert.deepEqual(progress.at(-1), [204 * PAGE, 204 * PAGE]);
  const quick = await run(image, { data: false });
  assert.deepEqual([quick.clean, quick.counts.pages], [true, 1]);
});

test('a pool without a staging class is clean; a missing staging device is a warning', async () => {
  const one = await run(new PoolImage({ withStaging: false }));
  assert.deepEqual(lines(one), []);
  const image = new PoolImage();
  const report = await image.use(({ capacity }) => checkPool({ capacity }));
  assert.deepEqual(lines(report), ['warning device: the staging device is missing: not verified']);
  assert.equal(report.clean, false);
});

test('any wrong bit of any structure or page is found', async () => {
  const image = new PoolImage();
  const ranges = meaningfulRanges(image);
  const prng = new SeededPrng(SEED);
  for (let round = 0; round < 100; round++) {
    const [device, from, to] = ranges[round % ranges.length]!;
    const at = from + below(prng, to - from);
    const bit = below(prng, 8);
    image.host.disk(device).flipBit(at, bit);
    const report = await run(image);
    assert.equal(report.clean, false, `${device} byte ${at} bit ${bit}, seed ${SEED}`);
    image.host.disk(device).flipBit(at, bit);
  }
  assert.equal((await run(image)).clean, true);
});

test('any unreadable sector of any structure is found', async () => {
  for (const [device, from, to] of meaningfulRanges(new PoolImage())) {
    const image = new PoolImage();
    image.host.disk(device).failSectors(Math.floor((to - 1) / 512) * 512, 512);
    assert.equal((await run(image)).clean, false, `${device} ${from}`);
  }
});

test('after damage the check goes on', async () => {
  const image = new PoolImage();
  const disk = image.host.disk(CAPACITY);
  disk.flipBit(0);
  disk.failSectors(PAGES.rootA * PAGE, 512);
  disk.failSectors((PAGES.large + 1) * PAGE, 512);
  disk.flipBit((PAGES.large + 2) * PAGE);
  disk.flipBit(PAGES.small * PAGE);
  const structures = (await run(image)).findings.map(({ structure }) => structure);
  const wanted = ['superblock', 'log header', 'log', 'page', 'page', 'mblock'];
  assert.deepEqual(structures.toSorted(), wanted.toSorted());
});

test('findings say where', async () => {
  const image = new PoolImage();
  image.host.disk(STAGING).flipBit((PAGES.staged + 9) * PAGE + 3);
  const [finding] = (await run(image)).findings;
  assert.deepEqual(finding, {
    severity: 'error',
    structure: 'page',
    location: { device: STAGING, offsetBytes: (PAGES.staged + 9) * PAGE },
    objectId: '0x7101',
    message: 'page 9 is not what its checksum says',
  });
  assert.deepEqual(lines(await run(image, { data: false })), [], 'only with data');
});

test('data: table, single page and padding', async () => {
  const wrong = async (page: number, byte: number, data = false): Promise<string[]> => {
    const image = new PoolImage();
    image.host.disk(CAPACITY).flipBit(page * PAGE + byte);
    return lines(await run(image, { data }));
  };
  const table = 'error mblock: its checksum table is not what its record says';
  assert.deepEqual(await wrong(PAGES.large + 3, 0), [table]);
  const padding = 'error mblock: the padding of its checksum table is not zero';
  assert.deepEqual(await wrong(PAGES.large + 3, 12), [padding]);
  const single = 'error mblock: its page is not what its record says';
  assert.deepEqual(await wrong(PAGES.small, 5), [single]);
  const both = await wrong(PAGES.small, SIZES.small);
  const last = await wrong(PAGES.large + 2, SIZES.large % PAGE, true);
  assert.deepEqual(last, [
    'error page: page 2 is not what its checksum says',
    'error page: the padding of the last page is not zero',
  ]);
  assert.deepEqual(both, ['error page: the padding of the last page is not zero', single]);
});

test('findings are bounded, and the rest is counted', async () => {
  const image = new PoolImage();
  for (let page = 0; page < 150; page++) {
    image.host.disk(STAGING).flipBit((PAGES.staged + page) * PAGE);
  }
  const report = await run(image);
  assert.equal(report.findings.length, 100);
  assert.deepEqual(report.omitted, { page: 50 });
});

test('records that break a rule', async () => {
  const large = new PoolImage().objects[3]!;
  const free = mblock(60);
  const entry = (...records: Uint8Array[]): PoolImageChanges => ({
    entries: [Buffer.concat(records)],
  });
  const object = (changes: Partial<ObjectRecord>): PoolImageChanges =>
    entry(encodeObjectRecord({ ...large, ...changes }));
  await finds(
    entry(Uint8Array.of(9, 1, 0)),
    /^error record: a record of type 9, version 1, of a newer version/,
  );
  await finds(entry(), /^error record: an empty record/);
  await finds(
    entry(encodeIdCheckpoint(200), Uint8Array.of(3, 1, 0)),
    /^error record: no known record at byte 16 of 19/,
  );
  await finds(object({}), /^error record: its uniquifier is that of 0x4101, which exists/);
  await finds(
    entry(encodeDeletionRecord(free.idLow, 0)),
    /^error record: the deletion of an object that does/,
  );
  await finds(object({ idLow: idLow(50, 1, 1) }), /^error record: an id is used again/);
  await finds(object({ idLow: idLow(60, 1, 2) }), /^error record: an id of another slot in MDC 1/);
  await finds(
    entry(encodeDeletionRecord(idLow(4, 1, 2), 0)),
    /^error record: an id of another slot in MDC 1/,
  );
  await finds(entry(encodeIdCheckpoint(99)), /^error record: an id checkpoint fell from 100 to 99/);
  await finds({ checkpoint: 50 }, /^error record: no id checkpoint is above uniquifier 50/);
  const bad = encodeObjectRecord(free);
  bad[2] = 7;
  await finds(entry(bad), /^error record: an object: no such media class/);
  await finds(
    { poolRecords: [encodeIdCheckpoint(1)] },
    /^error record: a record of type 5 in MDC 0/,
  );
});

test('extents that overlap or lie where none may', async () => {
  const with1 = (changes: Partial<ObjectRecord>): PoolImageChanges => ({
    objects: (objects) => [...objects, mblock(60, changes)],
  });
  await finds(
    with1({ pageAddress: PAGES.large }),
    /^error extent: the extents of 0x4101 and 0x3c101 overlap/,
    /^error mblock: its checksum table/,
  );
  for (const [pageAddress, pattern] of [
    [1030, /^error extent: .* is not one zone/],
    [0, /^error extent: .* pages of the superblocks/],
    [4096, /^error extent: .* beyond the zones/],
  ] as const) {
    const report = await run(new PoolImage(with1({ pageAddress })));
    assert.ok(
      lines(report).some((line) => pattern.test(line)),
      lines(report).join('\n'),
    );
  }
  const staged = { mediaClass: 0 as const };
  const report = await run(new PoolImage({ ...with1(staged), withStaging: false }));
  assert.deepEqual(lines(report), ['error object: the pool has no staging class']);
});

test('logs of MDCs come in pairs, and the root MDC exists', async () => {
  const without = (...uniquifiers: number[]): PoolImageChanges => ({
    objects: (objects) =>
      objects.filter((o) => !uniquifiers.some((u) => o.idLow === idLow(u, 2, 1))),
  });
  await finds(
    without(2),
    /^error object: log A of an MDC has no log B/,
    /^error object: a log of the root MDC does not exist/,
  );
  await finds(
    without(1, 2),
    /^error object: a log of the root/,
    /^error object: a log of the root/,
  );
});

test('logs: which one counts, torn tails, damage, frames that lie', async () => {
  const logs = (change: NonNullable<PoolImageChanges['logs']>): PoolImageChanges => ({
    logs: change,
  });
  await finds(
    logs(({ mdc1A }) => (mdc1A.header.state = LogState.current)),
    /^note log: the end of a compaction of MDC 1 was interrupted/,
  );
  await finds(
    logs(({ mdc1A }) => (mdc1A.header.generation = 6)),
    /^error log: a newer log of MDC 1 is superseded by an older/,
  );
  await finds(
    logs(({ rootB }) => {
      rootB.header.state = LogState.current;
      rootB.header.generation = 4;
    }),
    /^error log: both logs of the MDC of log 0x1201 are current/,
  );
  await finds(
    logs(({ rootA }) => (rootA.header.state = LogState.superseded)),
    /^error log: no log of the MDC of log 0x1201 is current/,
  );
  await finds(
    logs(({ plain }) => (plain.header.state = LogState.superseded)),
    /^error log header: log 0x3201 is superseded, but has no successor/,
  );
  await finds(
    logs(({ plain }) => {
      plain.frame(Uint8Array.of(1, 0, 0, 0, 7));
      plain.bytes[plain.frames.at(-1)! + 70]! ^= 1;
    }),
    /^note log: log 0x3201: a torn tail/,
  );
  await finds(
    logs(({ plain }) => void (plain.bytes[plain.frames[1]! + 70]! ^= 1)),
    /^error log: log 0x3201: acknowledged records are damaged/,
  );
  await finds(
    logs(({ plain }) =>
      plain.frame(chunk(ChunkKind.whole, Buffer.from('x')), { recordsBefore: 9 }),
    ),
    /^error log: log 0x3201: a frame says 9 records are before it, not 3/,
  );
  // What an interrupted compaction leaves in the log that does not count is nothing.
  const overwritten = new PoolImage(logs(({ mdc1A }) => void mdc1A.bytes.fill(0x55, 4096)));
  assert.deepEqual(lines(await run(overwritten)), []);
});

test('superblocks: damaged, older, contradicting and missing copies; foreign devices', async () => {
  const image = new PoolImage();
  image.host.disk(CAPACITY).flipBit(100);
  assert.deepEqual(lines(await run(image)), [
    'warning superblock: copy 0 is checksum: the checksum of the page is wrong',
  ]);
  const two = new PoolImage();
  const put = (copy: number, generation: number, name: string): void => {
    const page = encodeSuperblock({ ...two.superblock, generation, name }, copy);
    two.host.disk(CAPACITY).poke(copy * 16 * PAGE, page);
  };
  put(0, 6, 'pool-1');
  put(1, 7, 'pool-2');
  assert.deepEqual(lines(await run(two)), [
    'note superblock: copy 0 is of generation 6, not 7',
    'error superblock: copy 2 differs from another of generation 7',
    'error superblock: copy 3 differs from another of generation 7',
    ...Array.from(
      { length: 4 },
      (_, i) => `error superblock: copy ${i} differs from another of generation 7`,
    ),
  ]);
  const reserved = new PoolImage();
  reserved.host.disk(CAPACITY).flipBit(5 * PAGE);
  assert.deepEqual(lines(await run(reserved)), [
    'warning reserved pages: a reserved page is not zero',
  ]);
  const blank = new PoolImage();
  blank.host.disk(CAPACITY).poke(0, { fill: 0, lengthBytes: 16 * 2 ** 20 });
  const report = await run(blank);
  assert.match(lines(report).at(-1)!, /^error superblock: no superblock to go on with: blank/);
  const other = new PoolImage({ withStaging: false });
  const swapped = await other.use(async ({ capacity }) => {
    const staging = await other.host.openDevice(STAGING, { access: 'read' });
    const found = await checkPool({ capacity, staging });
    await staging.close();
    return found;
  });
  assert.match(lines(swapped).at(-1)!, /^error superblock: no superblock to go on with: blank/);
  const whole = new PoolImage();
  const reversed = await whole.use(({ capacity, staging }) =>
    checkPool({ capacity: staging!, staging: capacity }),
  );
  assert.deepEqual(lines(reversed), ['error device: this is the staging device of the pool']);
});

test('hostile records under right checksums never throw, and end', async () => {
  const prng = new SeededPrng(SEED + 1);
  for (let round = 0; round < 40; round++) {
    const object = new Uint8Array(40);
    const entries = Array.from({ length: 30 }, () => {
      const fresh = encodeObjectRecord(mblock(60 + below(prng, 30)));
      object.set(fresh);
      for (let i = below(prng, 4); i > 0; i--) object[2 + below(prng, 38)] = prng.u32();
      object[0] = 1 + below(prng, 6);
      return object.slice(0, [16, 40, 128][below(prng, 3)]);
    });
    const report = await run(new PoolImage({ entries, poolRecords: entries }));
    assert.equal(report.clean, false, `round ${round}, seed ${SEED + 1}`);
  }
});

test('a check can be aborted', async () => {
  const check = run(new PoolImage(), { signal: AbortSignal.abort() });
  await assert.rejects(check, { code: 'ERR_MPOOL_ABORTED' });
});
