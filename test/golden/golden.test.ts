// Goal: a pool written by any released format version reads as it was written, for ever.
// Method: each structure is decoded and compared with what its writer said of it, and encoded again and compared to the
// byte; unpack each image to a real file, open it read-only and then read-write, compare with what its
// writer said; let the checker and the reader in Python (from docs/format.md alone) agree. At last, each kind
// of thing in docs/format.md must have been in one of the images.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
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
import { FEATURES } from '../../src/format/features.ts';
import { ChunkKind } from '../../src/format/log-frame.ts';
import { LogState } from '../../src/format/log-header.ts';
import * as recordConstants from '../../src/format/records.ts';
import { type GoldenContent, goldenFindings, readGolden } from './content.ts';
import { rewriteAll } from './rewrite.ts';

const images = readdirSync('test/golden').filter((name) => name.startsWith('format-'));
const directory = mkdtempSync(join(tmpdir(), 'mpool-golden-'));
after(() => rmSync(directory, { recursive: true }));

assert.ok(images.length > 0, 'there are golden images');

/** All that an image with everything shows; with the feature `witnesses` also WITNESS_STRUCTURES. */
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
const WITNESS_STRUCTURES = ['log mark record', 'loss record'];

/** Each kind of thing in docs/format.md, by its number there: it is in at least one image. */
const KINDS = [
  'superblock, the first; superblock, updated; with witnesses; without witnesses',
  'media class 0; media class 1; device kind 1; device kind 2',
  'sectorShift 9; sectorShift 12',
  'log state 1; log state 2; log header with frames that were committed',
  'frame flags 0; frame flags 1; frame that is torn',
  'witness of MDC 0; witness of MDC 1; witness of a log of users',
  'chunk 0; chunk 1; chunk 2; chunk 3; chunk 4; chunk 5',
  'record 1; record 2; record 3; record 4; record 5; record 6; record 7',
  'object of class 0; object of class 1; object of type 1; object of type 2',
  'object of role 0; object of role 1; object of role 2',
  'mark; mark, empty; loss; loss, over',
].flatMap((line) => line.split('; '));
const met = new Set<string>();
const dumped: DumpEntry[] = [];

/** As it was packed: by gzip in the first release, by brotli since, which makes nothing of the empty space. */
function unpacked(folder: string, name: string): Buffer {
  const path = join(folder, name);
  return existsSync(`${path}.gz`)
    ? gunzipSync(readFileSync(`${path}.gz`))
    : brotliDecompressSync(readFileSync(`${path}.br`));
}

/** Of scripts/read-pool.py. */
interface PythonReport {
  problems: string[];
  objects: {
    id: string;
    length: number;
    sha256?: string | null;
    generation?: number;
    records?: number;
  }[];
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

const mblockOf = (isRight: (pages: number) => boolean): IsThere => {
  return (all) =>
    all.some(({ fields }) => {
      const pages = Math.ceil(Number(fields['lengthBytes']) / 4096);
      return fields['type'] === 'mblock' && isRight(pages);
    });
};
/** What at least one of all images has besides. */
const STATES_OF_ANY: Record<string, IsThere> = {
  'MDC 0 without a compaction': has('log header', {
    log: 'MDC 0 log A',
    state: 'current',
    generation: 1,
  }),
  'MDC 1 without a compaction': has('log header', {
    log: 'MDC 1 log A',
    state: 'current',
    generation: 1,
  }),
  'a superblock that was never updated': has('superblock', { generation: 1 }),
  'an mblock of nothing': mblockOf((pages) => pages === 0),
  'an mblock whose only checksum is its digest': mblockOf((pages) => pages === 1),
  'an mblock of one page of checksums': mblockOf((pages) => pages > 1 && pages <= 1024),
  'an mblock of several pages of checksums': mblockOf((pages) => pages > 1024),
};

for (const image of images) {
  const source = join('test/golden', image);
  const place = join(directory, image);
  mkdirSync(place);
  const capacity = join(place, 'capacity');
  const staging = join(place, 'staging');
  writeFileSync(capacity, unpacked(source, 'capacity.img'));
  writeFileSync(staging, unpacked(source, 'staging.img'));
  // Before the pool was ever open for writing.
  const asReleased = { capacity: readFileSync(capacity), staging: readFileSync(staging) };
  const written = JSON.parse(readFileSync(join(source, 'content.json'), 'utf8')) as GoldenContent;
  const { deleted, findings: _, ...expected } = written;
  const bad = written.findings?.filter(({ severity }) => severity !== 'note') ?? [];

  test(`${image} has every structure where it was, with all that it said`, async (t) => {
    const found: DumpEntry[] = [];
    for await (const each of dump(capacity, { searchPlaces: [place] })) found.push(each);
    dumped.push(...found);
    if (!existsSync(join(source, 'structures.jsonl.br'))) return t.skip('its writer did not say');
    const lines = unpacked(source, 'structures.jsonl').toString().split('\n');
    const wanted = lines.map((line) => JSON.parse(line) as DumpEntry);
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
    const more = written.findings === undefined ? [] : WITNESS_STRUCTURES;
    assert.deepEqual([...kinds].toSorted(), [...STRUCTURES, ...more].toSorted());
    const { findings } = await check(capacity, { data: true, searchPlaces: [place] });
    if (written.findings !== undefined)
      assert.deepEqual(goldenFindings(findings), written.findings);
    for (const [what, isThere] of Object.entries(STATES))
      assert.ok(isThere(wanted, findings), what);
  });

  test(`${image} is what the same structures are written as today, to the byte`, () => {
    const { met: kinds, ...all } = rewriteAll(asReleased);
    for (const [what, structures] of Object.entries(all)) {
      assert.ok(structures.length >= 4, `${structures.length} ${what}`);
      for (const { bytes, again } of structures)
        assert.deepEqual(Buffer.from(again), Buffer.from(bytes), what);
    }
    assert.equal(all.superblocks.length, 8);
    for (const kind of kinds) met.add(kind);
  });

  for (const readOnly of [true, false]) {
    test(`${image} opens ${readOnly ? 'read-only' : 'read-write'} and reads as written`, async () => {
      await using pool = await open(capacity, { readOnly, stagingPath: staging });
      const found = await readGolden(pool);
      for (const key of ['mdcs', 'parameters', 'lost'] as const)
        if (expected[key] === undefined) delete found[key];
      assert.deepEqual(found, expected);
      for (const id of deleted) {
        await assert.rejects(pool.mblocks.find(BigInt(id) as MblockId), (error) =>
          isMpoolError(error, 'ERR_MPOOL_NOT_FOUND'),
        );
      }
    });
  }

  test(`${image} passes the checker, page by page, but for what was lost`, async () => {
    const report = await check(capacity, { data: true, searchPlaces: [place] });
    const found = report.findings.filter(({ severity }) => severity !== 'note');
    assert.deepEqual(goldenFindings(found), bad);
  });

  test(`${image} reads the same in Python, from the specification alone`, (t) => {
    const python = spawnSync('python3', ['scripts/read-pool.py', '--json', capacity, staging], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    if (python.error !== undefined) return t.skip('there is no python3');
    const said = JSON.parse(python.stdout) as PythonReport;
    const lost = expected.lost ?? [];
    assert.equal(python.status, lost.length === 0 ? 0 : 1, python.stderr);
    for (const problem of said.problems)
      assert.ok(
        lost.some(({ object }) => problem.includes(object)),
        problem,
      );
    for (const { object } of lost)
      assert.ok(
        said.problems.some((problem) => problem.includes(object)),
        object,
      );
    for (const { id, writtenBytes, sha256 } of expected.mblocks) {
      const other = said.objects.find((each) => each.id === id);
      assert.deepEqual([other?.length, other?.sha256 ?? undefined], [writtenBytes, sha256]);
    }
    for (const { id, generation, records } of expected.mlogs) {
      if (records === undefined) continue;
      const other = said.objects.find((each) => each.id === id);
      assert.deepEqual([String(other?.generation), other?.records], [generation, records.length]);
    }
  });
}

test('images are as they were released, to the byte', () => {
  const lines = readFileSync('test/golden/released.sha256', 'utf8').trim().split('\n');
  const listed = new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
  for (const image of images) {
    for (const name of readdirSync(join('test/golden', image))) {
      const bytes = readFileSync(join('test/golden', image, name));
      const file = `${image}/${name}`;
      assert.equal(createHash('sha256').update(bytes).digest('hex'), listed.get(file), file);
      listed.delete(file);
    }
  }
  assert.deepEqual([...listed.keys()], [], 'none is gone');
});

test('each kind of thing that the format has is in an image', () => {
  assert.deepEqual([...met].toSorted(), KINDS.toSorted());
  for (const kind of [...kindsInSource(), ...recordTypesInDocument()])
    assert.ok(met.has(kind), kind);
  for (const [what, isThere] of Object.entries(STATES_OF_ANY)) assert.ok(isThere(dumped, []), what);
});

/** What src/format has names for: a new one is to be in a new image. */
function kindsInSource(): string[] {
  const kinds = [
    ...Object.values(ChunkKind).map((kind) => `chunk ${kind}`),
    ...Object.values(LogState).map((state) => `log state ${state}`),
    ...FEATURES.flatMap(({ name }) => [`with ${name}`, `without ${name}`]),
  ];
  for (const [name, value] of Object.entries(recordConstants)) {
    if (/^RECORD_(?!VERSION)/.test(name)) kinds.push(`record ${String(value)}`);
    if (name.startsWith('ROLE_')) kinds.push(`object of role ${String(value)}`);
  }
  return kinds;
}

function recordTypesInDocument(): string[] {
  const text = readFileSync('docs/format.md', 'utf8');
  const types = [...text.matchAll(/^Type (\d+), /gm)].map(([, type]) => `record ${type}`);
  assert.ok(types.length >= 7, 'docs/format.md has types of records');
  return types;
}
