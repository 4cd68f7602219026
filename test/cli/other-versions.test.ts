// Goal: an older version of this program refuses what a newer one made, with ENOTSUP and what to do, whatever verb it
//   is asked for, and writes nothing to it; what it may read it reads.
// Method: pools with newer superblocks, features, records and log headers, whole and with right checksums, as
//   files; every verb on each, by path and by name, while nothing of the files may change.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { viewOf } from '../../src/base/bytes.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { loadDryStore, loadStore } from '../../src/cli/store.ts';
import { type Feature, playVersionThatKnows } from '../../src/format/features.ts';
import { superblockOffsetBytes } from '../../src/format/superblock.ts';
import { activate } from '../../src/pool/activate.ts';
import type { Store } from '../../src/pool/store.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, B, MIB } from '../pool/pool-host.ts';
import { contentPool, type RepairPool } from '../pool/repair-pool.ts';
import { runTool, type Result } from './fake.ts';

const NEWER: readonly Feature[] = [
  { name: 'red', word: 'incompatible', bit: 30 },
  { name: 'blue', word: 'readOnlyCompatible', bit: 31 },
];
const [RED, BLUE] = NEWER as [Feature, Feature];
const folder = mkdtempSync(join(tmpdir(), 'mpool-versions-'));
const HOME = process.cwd();
process.chdir(folder);
after(() => {
  process.chdir(HOME);
  rmSync(folder, { recursive: true, force: true });
});

/** A pool as a version that knows the features makes it. */
async function poolOf(features: readonly Feature[]): Promise<RepairPool> {
  const undo = playVersionThatKnows(features);
  try {
    return await contentPool();
  } finally {
    undo();
  }
}

/** All superblocks say that they are of another format. */
function setVersion(host: SimHost, version: number): void {
  for (const [path, sizeBytes] of [
    [A, 24 * MIB],
    [B, 8 * MIB],
  ] as const) {
    for (let copy = 0; copy < 4; copy++) {
      const at = superblockOffsetBytes(copy, sizeBytes);
      const page = host.disk(path).bytes(at, 4096);
      const view = viewOf(page);
      view.setUint16(56, version, true);
      view.setUint32(62, crc32c(page.subarray(0, 62)), true);
      view.setUint32(68, 0, true);
      view.setUint32(68, crc32c(page), true);
      host.disk(path).poke(at, page);
    }
  }
}

/** What a newer version would append, whole and acknowledged. */
async function appendTo(host: SimHost, choose: (store: Store) => Store['catalog']['log']) {
  const store = await activate(host.environment, {
    capacityPath: A,
    stagingPaths: [B],
    readOnly: false,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: undefined,
  });
  const record = new Uint8Array(48);
  record.set([9, 1, 7]);
  await choose(store).append(record, 'adds', () => {});
  await store.shutdown(true);
}

/** A log's header becomes one of version 2, with a right checksum. */
function raiseHeader(host: SimHost, offsetBytes: number): void {
  const sector = host.disk(A).bytes(offsetBytes, 512);
  const view = viewOf(sector);
  const identity = new Uint8Array(24);
  identity.set(host.disk(A).bytes(40, 16));
  identity.set(sector.subarray(32, 40), 16);
  assert.equal(view.getUint32(4, true), crc32c(sector.subarray(8), crc32c(identity)));
  view.setUint8(8, 2);
  view.setUint32(4, crc32c(sector.subarray(8), crc32c(identity)), true);
  host.disk(A).poke(offsetBytes, sector);
}

async function tool(line: string): Promise<Result> {
  const world = { places: ['.'], dryStore: await loadDryStore(), input: 'x\n' };
  return runTool(line.split(' '), await loadStore(), world);
}

type Manner = 'read' | 'write' | 'judge';

/** Every verb about pools and what is in them; POOL, MBLOCK and MLOG are put in. */
const LINES: readonly [line: string, manner: Manner][] = [
  ['list POOL', 'read'],
  ['get POOL', 'read'],
  ['mblock list POOL', 'read'],
  ['mblock props POOL MBLOCK', 'read'],
  ['mblock read POOL MBLOCK off=0 len=5', 'read'],
  ['mcache warm POOL', 'read'],
  ['mcache residency POOL MBLOCK', 'read'],
  ['mcache evict POOL', 'read'],
  ['mlog list POOL', 'read'],
  ['mlog read POOL MLOG', 'read'],
  ['mdc list POOL', 'read'],
  ['mdc read POOL root', 'read'],
  ['scrub POOL rate=10g', 'read'],
  ['destroy POOL', 'write'],
  ['destroy -n POOL', 'write'],
  ['set POOL label=x', 'write'],
  ['rename POOL other', 'write'],
  ['add POOL stgdev=new.stg stgsize=8m', 'write'],
  ['grow POOL', 'write'],
  ['upgrade POOL', 'write'],
  ['upgrade -n POOL', 'write'],
  ['mblock put POOL text', 'write'],
  ['mblock delete POOL MBLOCK', 'write'],
  ['mlog alloc POOL size=64k', 'write'],
  ['mlog append POOL MLOG', 'write'],
  ['mlog erase POOL MLOG', 'write'],
  ['mlog delete POOL MLOG', 'write'],
  ['mdc alloc POOL size=64k', 'write'],
  ['mdc append POOL root', 'write'],
  ['mdc compact POOL root', 'write'],
  ['mdc delete POOL 0x999201,0x99a201', 'write'],
  ['check POOL', 'judge'],
  ['check --data POOL', 'judge'],
  ['dump POOL', 'judge'],
  ['repair POOL', 'judge'],
  ['repair -f POOL', 'judge'],
  ['scan .', 'judge'],
  ['create other capacity', 'judge'],
  ['create other other.pool size=8m stgdev=staging', 'judge'],
];

test('every verb about pools is among the lines', () => {
  const lines = LINES.map(([line]) => line);
  const others =
    /^(activate|deactivate|status|clients|top|doctor|completion|version|mcache reaper)$/;
  for (const { name, hidden } of COMMANDS) {
    if (hidden || others.test(name)) continue;
    assert.ok(
      lines.some((line) => line.startsWith(`${name} `)),
      name,
    );
  }
});

const hashOf = (name: string): string =>
  createHash('sha256').update(readFileSync(name)).digest('hex');

function stateOf(name: string): string {
  const { ino, size, mtimeNs } = lstatSync(name, { bigint: true });
  return `${ino} ${size} ${mtimeNs}`;
}

interface Kind {
  name: string;
  make: () => Promise<RepairPool>;
  /** Which verbs may do their work. */
  may?: readonly Manner[];
  /** Its superblocks are as ever: it can be found and destroyed like any pool. */
  ordinary?: boolean;
  said: RegExp;
}

const KINDS: readonly Kind[] = [
  { name: 'incompatible features', make: () => poolOf([RED]), said: /bit 30: use a newer version/ },
  {
    name: 'read-only-compatible features',
    make: () => poolOf([BLUE]),
    may: ['read'],
    said: /bit 31.*: use a newer version/,
  },
  {
    name: 'a newer format',
    async make() {
      const made = await poolOf([]);
      setVersion(made.host, 3);
      return made;
    },
    said: /format 3 is of a newer version of mpool: use that/,
  },
  {
    name: 'the format of the kernel driver',
    async make() {
      const made = await poolOf([]);
      setVersion(made.host, 1);
      return made;
    },
    said: /format 1 is the kernel driver's/,
  },
  ...(['MDC 0', 'MDC 1'] as const).map((mdc): Kind => ({
    name: `an unknown record in ${mdc}`,
    async make() {
      const made = await poolOf([]);
      const which = mdc === 'MDC 0' ? 'poolRecords' : 'catalog';
      await appendTo(made.host, (store) => store[which].log);
      return made;
    },
    ordinary: true,
    said: new RegExp(`${mdc} holds a record of type 9, version 1, of a newer version of mpool`),
  })),
  ...(['active', 'other'] as const).map((which): Kind => ({
    name: `an unknown header of MDC 1's log that is ${which}`,
    async make() {
      const made = await poolOf([]);
      raiseHeader(made.host, made.places.mdc1[which]);
      return made;
    },
    ordinary: true,
    said: /a header of version 2, of a newer version of mpool: use that/,
  })),
];

for (const { name, make, may = [], ordinary = false, said } of KINDS) {
  test(`a pool with ${name}`, async () => {
    const { host, content } = await make();
    writeFileSync('capacity', host.disk(A).bytes(0, 24 * MIB));
    writeFileSync('staging', host.disk(B).bytes(0, 8 * MIB));
    writeFileSync('text', 'some text');
    const files = ['capacity', 'staging'];
    const hashes = files.map(hashOf);
    // MDC 0 is opened, and its last frame made durable, before MDC 1 is seen to be newer.
    const stateNow = name.includes('MDC 1') ? hashOf : stateOf;
    const states = files.map(stateNow);
    const [mblock] = content.mblocks.keys();
    const [mlog] = content.mlogs.keys();
    for (const target of ['./capacity', 'p1']) {
      for (const [template, manner] of LINES) {
        // Nothing else is needed to destroy it, and it has all the features that there are.
        if (ordinary && /^(destroy|upgrade)/.test(template)) continue;
        const line = template
          .replace('POOL', target)
          .replace('MBLOCK', `0x${mblock!.toString(16)}`)
          .replace('MLOG', `0x${mlog!.toString(16)}`);
        const { status, out, err } = await tool(line);
        const told = `${line}: ${status}\n${out.slice(0, 500)}\n${err}`;
        assert.deepEqual(files.map(stateNow), states, `something was written by ${told}`);
        if (may.includes(manner)) assert.deepEqual([status, err], [0, ''], told);
        else if (manner === 'judge') judged(line, { status, out, err }, said);
        else {
          // A pool that is found is listed as faulted, which is no failure.
          assert.equal(status, ordinary && line.startsWith('list') ? 0 : 1, told);
          // Of an id that is none it is enough that it is not found.
          if (!line.startsWith('mdc delete')) assert.match(err, said, told);
          assert.match(err, /\(E[A-Z]+\)/, told);
        }
      }
    }
    assert.deepEqual(files.map(hashOf), hashes);
    if (!ordinary) {
      assert.equal((await tool('destroy -f ./capacity')).status, 0, 'force destroys it');
      assert.equal((await tool('create -f p2 capacity')).status, 0);
      assert.equal((await tool('check p2')).status, 0);
    }
    for (const file of [...files, 'text']) rmSync(file);
  });
}

/** Verbs that look at what nobody can open. */
function judged(line: string, { status, out, err }: Result, said: RegExp): void {
  const told = `${line}: ${status}\n${out.slice(0, 500)}\n${err}`;
  if (line.startsWith('dump')) return assert.ok(status === 0 || said.test(err), told);
  if (line.startsWith('scan')) return assert.equal(status, 0, told);
  if (line.startsWith('create')) {
    assert.equal(status, 1, told);
    return assert.match(err, /mpool.*\(EBUSY\)/, told);
  }
  // A pool that may be read is checked as any.
  if (status === 0) return assert.match(line + out, /^check|0 repairs, nothing is wrong/, told);
  assert.equal(status, 1, told);
}

test("a user's log with an unknown header is refused, and repaired by none; all else goes on", async () => {
  const { host, content, places } = await poolOf([]);
  const [mlog, other] = content.mlogs.keys();
  raiseHeader(host, places.mlogs.get(mlog!)!);
  raiseHeader(host, places.root.other);
  writeFileSync('capacity', host.disk(A).bytes(0, 24 * MIB));
  writeFileSync('staging', host.disk(B).bytes(0, 8 * MIB));
  const said = /a header of version 2, of a newer version of mpool: use that.*\(ENOTSUP\)/;
  const hash = hashOf('capacity');
  for (const line of ['repair p1', 'repair -f p1']) assert.equal((await tool(line)).status, 1);
  assert.equal(hashOf('capacity'), hash, 'a repair leaves both as they are');
  for (const line of [`mlog read p1 0x${mlog!.toString(16)}`, 'mdc read p1 root']) {
    assert.match((await tool(line)).err, said, line);
  }
  const read = await tool(`mlog read p1 0x${other!.toString(16)}`);
  assert.deepEqual([read.status, read.out.split('\n').length], [0, 7]);
});
