// Goal: a pool written by any released format version reads as it was written, for ever.
// Method: each structure is decoded and compared with what its writer said of it, and encoded again and compared to the
// byte; unpack each image to a real file, open it read-only and then read-write, compare with what its
// writer said; let the checker and the reader in Python (from docs/format.md alone) agree.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import {
  check,
  type CheckFinding,
  dump,
  type DumpEntry,
  isMpoolError,
  open,
  type MblockId,
} from '../../src/index.ts';
import { type GoldenContent, readGolden } from './content.ts';
import { structuresOn } from './rewrite.ts';

const images = readdirSync('test/golden').filter((name) => name.startsWith('format-'));
const top = mkdtempSync(join(tmpdir(), 'mpool-golden-'));
after(() => rmSync(top, { recursive: true }));

assert.ok(images.length > 0, 'there are golden images');

/** All that an image with everything shows. */
const STRUCTURES = [
  'deletion record',
  'end of log',
  'frame',
  'id checkpoint record',
  'log header',
  'mdc record',
  'object record',
  'pool record',
  'superblock',
];

/** As it was packed: by gzip in the first release, by brotli since, which makes nothing of the empty space. */
function unpacked(folder: string, name: string): Buffer {
  const path = join(folder, name);
  return existsSync(`${path}.gz`)
    ? gunzipSync(readFileSync(`${path}.gz`))
    : brotliDecompressSync(readFileSync(`${path}.br`));
}

type IsThere = (all: readonly DumpEntry[], findings: readonly CheckFinding[]) => boolean;

const has =
  (structure: string, wanted: DumpEntry['fields']): IsThere =>
  (all) =>
    all.some((each) => {
      const fits = Object.entries(wanted).every(([key, value]) => each.fields[key] === value);
      return each.structure === structure && fits;
    });
const isNoted =
  (note: RegExp): IsThere =>
  (_, findings) =>
    findings.some(({ severity, message }) => severity === 'note' && note.test(message));

/** What these structures are found in. */
const STATES: Record<string, IsThere> = {
  'a superblock after growth': (all) => all.some(({ fields }) => Number(fields['generation']) > 1),
  'MDC 0 after a compaction': has('log header', { log: 'MDC 0 log B', state: 'current' }),
  'MDC 1 at larger logs': (all) =>
    all.some(({ structure, fields }) => {
      return structure === 'mdc record' && Number(fields['logAPageAddress']) > 1000;
    }),
  'a root MDC after a compaction': has('log header', { log: 'log 0x2201', generation: 2 }),
  'a log after an erasure to a generation': has('log header', { state: 'current', generation: 7 }),
  'a log that was closed': has('frame', { closed: 'yes' }),
  'a log that was not': isNoted(/: a torn tail \(/),
  'a compaction of an mlog that never ended': isNoted(/a compaction was started and not ended/),
};

for (const image of images) {
  const source = join('test/golden', image);
  // Each alone: images that were made alike are of pools with one UUID.
  const directory = join(top, image);
  mkdirSync(directory);
  const capacity = join(directory, 'capacity');
  const staging = join(directory, 'staging');
  writeFileSync(capacity, unpacked(source, 'capacity.img'));
  writeFileSync(staging, unpacked(source, 'staging.img'));
  // Before the pool was ever open for writing.
  const asReleased = { capacity: readFileSync(capacity), staging: readFileSync(staging) };
  const written = JSON.parse(readFileSync(join(source, 'content.json'), 'utf8')) as GoldenContent;
  const { deleted, ...expected } = written;

  test(`${image} has every structure where it was, with all that it said`, async (t) => {
    if (!existsSync(join(source, 'structures.jsonl.br'))) return t.skip('its writer did not say');
    const lines = unpacked(source, 'structures.jsonl').toString().split('\n');
    const wanted = lines.map((line) => JSON.parse(line) as DumpEntry);
    const found: DumpEntry[] = [];
    for await (const each of dump(capacity, { searchPlaces: [directory] })) found.push(each);
    assert.equal(found.length, wanted.length);
    const kinds = new Set<string>();
    for (const [i, { structure, offsetBytes, fields }] of wanted.entries()) {
      const other = found[i]!;
      // A later version may say more of it, and never anything else.
      const same = Object.fromEntries(Object.keys(fields).map((key) => [key, other.fields[key]]));
      assert.deepEqual(
        [other.structure, other.offsetBytes, same],
        [structure, offsetBytes, fields],
      );
      kinds.add(structure);
    }
    // Features may have more of them.
    for (const structure of STRUCTURES) assert.ok(kinds.has(structure), structure);
    const { findings } = await check(capacity, { searchPlaces: [directory] });
    for (const [what, isThere] of Object.entries(STATES))
      assert.ok(isThere(wanted, findings), what);
  });

  test(`${image} is what the same structures are written as today, to the byte`, () => {
    let count = 0;
    const { pool, logs } = structuresOn(asReleased);
    for (const { bytes, again } of [...pool, ...logs]) {
      assert.deepEqual(again, bytes);
      count += 1;
    }
    assert.ok(pool.length === 8 && logs.length >= 6, `${count} structures`);
  });

  for (const readOnly of [true, false]) {
    test(`${image} opens ${readOnly ? 'read-only' : 'read-write'} and reads as written`, async () => {
      await using pool = await open(capacity, { readOnly, stagingPath: staging });
      const found = await readGolden(pool);
      if (expected.mdcs === undefined) delete found.mdcs;
      assert.deepEqual(found, expected);
      for (const id of deleted) {
        await assert.rejects(pool.mblocks.find(BigInt(id) as MblockId), (error) =>
          isMpoolError(error, 'ERR_MPOOL_NOT_FOUND'),
        );
      }
    });
  }

  test(`${image} passes the checker, page by page`, async () => {
    const report = await check(capacity, { data: true, searchPlaces: [directory] });
    assert.deepEqual(
      report.findings.filter(({ severity }) => severity !== 'note'),
      [],
    );
  });

  test(`${image} reads the same in Python, from the specification alone`, (t) => {
    const python = spawnSync('python3', ['scripts/read-pool.py', '--json', capacity, staging], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    if (python.error !== undefined) return t.skip('there is no python3');
    assert.equal(python.status, 0, python.stdout + python.stderr);
    for (const { id } of expected.mblocks) assert.match(python.stdout, new RegExp(id.slice(2)));
  });
}
