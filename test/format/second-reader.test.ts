// Goal: docs/format.md suffices: a reader written from it alone, in another language, reads our
// pools and finds damage in them.
// Method: scripts/read-pool.py on a pool made of structures and on one made by the store.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SeededPrng } from '../../src/base/prng.ts';
import { checkPool } from '../../src/pool/check.ts';
import { createPool } from '../../src/pool/create.ts';
import { openPool } from '../../src/pool/open.ts';
import { SimHost } from '../../src/testing/index.ts';
import { CAPACITY, meaningfulRanges, PAGES, PoolImage, STAGING } from '../pool/pool-image.ts';
import { below } from '../../src/base/prng.ts';

const SEED = 20_250_104;
const READER = 'scripts/read-pool.py';
const MIB = 2 ** 20;
const missing = spawnSync('python3', ['--version']).status !== 0;
const skip = missing ? 'python3 is not installed' : false;

interface ReaderReport {
  problems: string[];
  pool: { name: string; uuid: string; generation: number };
  mdcs: { slot: number; active: string; records: number }[];
  objects: {
    id: string;
    type: string;
    length: number;
    sha256?: string;
    records?: number;
    recordsSha256?: string;
  }[];
}

/** Runs the reader on disks of a host, written to files. */
function read(host: SimHost, paths: string[]): { status: number; report: ReaderReport } {
  const directory = mkdtempSync(join(tmpdir(), 'mpool-reader-'));
  try {
    const files = paths.map((path, i) => {
      const file = join(directory, `device-${i}`);
      const disk = host.disk(path);
      writeFileSync(file, disk.bytes(0, disk.sizeBytes));
      return file;
    });
    const run = spawnSync('python3', [READER, '--json', ...files], { encoding: 'utf8' });
    assert.equal(run.stderr, '');
    const report: ReaderReport = JSON.parse(run.stdout);
    return { status: run.status!, report };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('it reads a pool made of structures', { skip }, () => {
  const image = new PoolImage();
  const { status, report } = read(image.host, [CAPACITY, STAGING]);
  assert.deepEqual(report.problems, []);
  assert.equal(status, 0);
  assert.equal(report.pool.name, 'pool-1');
  assert.deepEqual(
    report.mdcs.map(({ slot, active, records }) => [slot, active, records]),
    [
      [0, 'A', 2],
      [1, 'B', 4],
    ],
  );
  assert.deepEqual(
    report.objects.map(({ id, length }) => [id, length]),
    [
      ['0x1201', 0],
      ['0x2201', 0],
      ['0x3201', 0],
      ['0x4101', 8292],
      ['0x5101', 1000],
      ['0x6101', 0],
      ['0x7101', 200 * 4096],
    ],
  );
  const large = image.host.disk(CAPACITY).bytes(PAGES.large * 4096, 8292);
  assert.equal(report.objects[3]?.sha256, createHash('sha256').update(large).digest('hex'));
  assert.equal(report.objects[2]?.records, 3);
});

test('it finds wrong bits wherever our own check does', { skip }, () => {
  const prng = new SeededPrng(SEED);
  const ranges = meaningfulRanges(new PoolImage()).filter(([device]) => device === CAPACITY);
  for (const [device, from, to] of ranges) {
    const image = new PoolImage({ withStaging: false });
    const at = from + below(prng, to - from);
    image.host.disk(device).flipBit(at, below(prng, 8));
    const { status, report } = read(image.host, [CAPACITY]);
    const spareHeader = [PAGES.mdc0B, PAGES.mdc1A, PAGES.rootB].some(
      (page) => page * 4096 === from,
    );
    // Only current logs matter to a reader.
    if (spareHeader) continue;
    assert.equal(status, 1, `byte ${at}, seed ${SEED}`);
    assert.ok(report.problems.length > 0);
  }
});

test('it reads what the store wrote, and finds the same content', { skip }, async () => {
  const host = new SimHost({ seed: SEED, keepTrace: false });
  const [capacity, staging] = ['/sim/capacity', '/sim/staging'];
  const where = { places: ['/sim'], blockDevices: false };
  await createPool(host.environment, {
    name: 'second',
    capacity: { path: capacity, sizeBytes: 32 * MIB, mblockSizeBytes: MIB },
    staging: { path: staging, sizeBytes: 16 * MIB, mblockSizeBytes: 2 * MIB },
  });
  const expected = await fillPool(host, capacity, where);
  const { status, report } = read(host, [capacity, staging]);
  assert.deepEqual(report.problems, []);
  assert.equal(status, 0);
  const mblocks = report.objects.filter(({ type }) => type === 'mblock');
  const found = Object.fromEntries(mblocks.map(({ id, sha256 }) => [id, sha256]));
  assert.deepEqual(found, expected.mblocks);
  const log = report.objects.find(({ id }) => id === expected.logId);
  assert.equal(log?.records, expected.records);
  assert.equal(log?.recordsSha256, expected.recordsSha256);
  const devices = {
    capacity: await host.openDevice(capacity, { access: 'read' }),
    staging: await host.openDevice(staging, { access: 'read' }),
  };
  const check = await checkPool(devices, { clock: host.clock, data: true });
  assert.deepEqual(check.findings, []);
  assert.equal(check.counts.mblocks, mblocks.length);
  await Promise.all([devices.capacity.close(), devices.staging.close()]);
});

/** Writes, commits, deletes and appends. @returns what a reader must find */
async function fillPool(
  host: SimHost,
  target: string,
  where: { places: string[]; blockDevices: boolean },
) {
  const prng = new SeededPrng(SEED);
  const pool = await openPool(host.environment, target, {}, where);
  const mblocks: Record<string, string> = {};
  for (let i = 0; i < 12; i++) {
    const mediaClass = i % 3 === 0 ? 'staging' : 'capacity';
    const mblock = await pool.mblocks.alloc({ mediaClass });
    const lengthBytes = [1, 4096, 5000, 100_000, 300_000][i % 5]!;
    const data = Uint8Array.from({ length: lengthBytes }, () => prng.u32());
    await mblock.write(data);
    await mblock.commit();
    if (i % 4 === 3) await mblock.delete();
    else mblocks[`0x${mblock.id.toString(16)}`] = createHash('sha256').update(data).digest('hex');
  }
  const allocation = await pool.mlogs.alloc({ capacityBytes: MIB });
  await allocation.commit();
  const log = await pool.mlogs.open(allocation.id);
  const content = createHash('sha256');
  const records = 200;
  for (let i = 0; i < records; i++) {
    const record = Uint8Array.from({ length: below(prng, i === 50 ? 400_000 : 2000) }, () =>
      prng.u32(),
    );
    const head = Buffer.alloc(4);
    head.writeUInt32LE(record.length);
    content.update(head).update(record);
    await log.append(record, { sync: i % 9 === 0 });
  }
  await log.close();
  await pool.close();
  const logId = `0x${allocation.id.toString(16)}`;
  return { mblocks, logId, records, recordsSha256: content.digest('hex') };
}
