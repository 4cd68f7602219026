// Goal: a repair restores what anything on media still tells, gives up nothing without saying what and being
// told to, leaves the rest where it was, and has nothing to do the second time.
// Method: a pool with content of every kind, damaged in one place or several; afterwards check is clean and all
// content reads back, or just what the report says is missing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { encodeLogHeader, logIdentity, LogState } from '../../src/format/log-header.ts';
import { halvesOfId, mdcLogIds, type MlogId } from '../../src/format/object-id.ts';
import { decodeSuperblock, superblockOffsetBytes } from '../../src/format/superblock.ts';
import { checkPoolAt } from '../../src/pool/inspect.ts';
import { repairPoolAt } from '../../src/pool/repair.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, B, HERE, MIB, NAME, refuses } from './pool-host.ts';
import {
  contentPool,
  imageOf,
  openStore,
  readsBack,
  repair,
  type Content,
  type Places,
  type RepairPool,
} from './repair-pool.ts';

type Damage = (host: SimHost, places: Places) => void;

const plainPool = contentPool();
const compactedPool = contentPool({ compacted: true });

async function copyOf(pool: Promise<RepairPool>): Promise<RepairPool> {
  const { host, content, places } = await pool;
  const own: Content = {
    ...content,
    mblocks: new Map(content.mblocks),
    mlogs: new Map(content.mlogs),
    root: [...content.root],
  };
  return { host: host.clone(), content: own, places };
}

/** The id and the place of the mblock of so many pages. */
function mblockOf(places: Places, dataPages: number) {
  const [id, at] = [...places.mblocks].find(([, each]) => each.dataPages === dataPages)!;
  return { id, ...at };
}

test('a whole pool is left as it is, to the byte', async () => {
  const { host, content } = await copyOf(plainPool);
  const before = imageOf(host);
  const count = host.operationCount;
  for (const dryRun of [true, false]) {
    const report = await repair(host, { dryRun, data: true });
    assert.deepEqual([report.steps, report.withheld, report.left], [[], [], []]);
    assert.deepEqual([report.clean, report.dryRun], [true, dryRun]);
  }
  assert.equal(host.operationCount, count, 'nothing was even flushed');
  assert.equal(imageOf(host), before);
  await readsBack(host, content);
});

test('a pool that is open is refused, and stays as it is', async () => {
  const { host } = await copyOf(plainPool);
  const pool = await openStore(host);
  for (const dryRun of [true, false])
    await refuses(() => repair(host, { dryRun }), 'ERR_MPOOL_BUSY');
  await pool.close();
  assert.equal((await repair(host)).clean, true);
});

const size = 24 * MIB;
const table = (places: Places, pages: number): [string, number] => {
  const { device, offsetBytes, dataPages } = mblockOf(places, pages);
  return [device, offsetBytes + dataPages * PAGE_BYTES];
};

/** Damage of which everything can be restored, and what the steps say. */
const RESTORED: [string, 'plain' | 'compacted', Damage, RegExp[]][] = [
  [
    'three superblock copies of four',
    'plain',
    (host) =>
      [0, 1, 3].forEach((copy) => host.disk(A).flipBit(superblockOffsetBytes(copy, size) + 99)),
    [/^superblock: copies 0, 1, 3 written again/],
  ],
  [
    'a superblock copy of the staging device, unreadable',
    'plain',
    (host) => host.disk(B).failSectors(16 * PAGE_BYTES, 512),
    [/^superblock: copy 1 written again/],
  ],
  [
    'reserved pages',
    'plain',
    (host) => host.disk(A).flipBit(7 * PAGE_BYTES + 3),
    [/^reserved pages: the reserved page is zeroed/],
  ],
  ...(['mdc0', 'mdc1', 'root'] as const).map((name): (typeof RESTORED)[number] => [
    `the header of the spare log of ${name}`,
    'compacted',
    (host, places) => host.disk(A).failSectors(places[name].other, 512),
    [/^log header: the header of the log that does not count is written again/],
  ]),
  ...(['mdc0', 'mdc1'] as const).flatMap((name) =>
    (['plain', 'compacted'] as const).map((kind): (typeof RESTORED)[number] => [
      `the header of the log of ${name} that counts, ${kind}`,
      kind,
      (host, places) => host.disk(A).failSectors(places[name].active, 512),
      [/^log: MDC . is written anew .*: the header of its current log is lost/],
    ]),
  ),
  ...(['mdc0', 'mdc1'] as const).map((name): (typeof RESTORED)[number] => [
    `the first content of the log of ${name} that counts, from the log before it`,
    'compacted',
    (host, places) => host.disk(A).flipBit(places[name].active + PAGE_BYTES + 80),
    [/^log: MDC . is written anew .*: bytes 4096 to \d+ of its log are damaged/],
  ]),
  [
    'the first content of both MDCs of the pool, and a superblock',
    'compacted',
    (host, { mdc0, mdc1 }) => {
      host.disk(A).flipBit(mdc0.active + PAGE_BYTES + 80);
      host.disk(A).failSectors(mdc1.active + PAGE_BYTES, 512);
      host.disk(A).flipBit(0);
    },
    [/^superblock: copy 0/, /^log: MDC 0 is written anew/, /^log: MDC 1 is written anew/],
  ],
  [
    'the checksums of an mblock',
    'plain',
    (host, places) => {
      const [device, at] = table(places, 201);
      host.disk(device).flipBit(at + 9);
      host.disk(device).flipBit(at + 700);
      host.disk(device).flipBit(at + 3000);
    },
    [/^mblock: its checksums are written again/],
  ],
  [
    'the checksums of an mblock on staging, unreadable',
    'plain',
    (host, places) => {
      const [device, at] = table(places, 3);
      host.disk(device).failSectors(at, 512);
    },
    [/^mblock: its checksums are written again/],
  ],
];

for (const [what, kind, damage, messages] of RESTORED) {
  test(`restored: ${what}`, async () => {
    const { host, content, places } = await copyOf(kind === 'plain' ? plainPool : compactedPool);
    damage(host, places);
    const damaged = imageOf(host);
    const foreseen = await repair(host, { dryRun: true });
    assert.equal(imageOf(host), damaged, 'a dry run writes nothing');
    const report = await repair(host);
    assert.deepEqual(report.steps, foreseen.steps, 'a dry run says the same');
    assert.deepEqual([report.withheld, report.left, report.clean], [[], [], true]);
    const told = report.steps.map(({ structure, message }) => `${structure}: ${message}`);
    assert.equal(told.length, messages.length, told.join('\n'));
    for (const [i, message] of messages.entries()) assert.match(told[i]!, message);
    assert.deepEqual(
      report.steps.flatMap(({ losses }) => losses),
      [],
    );
    assert.equal((await checkPoolAt(host, NAME, HERE, { data: true })).clean, true);
    const image = imageOf(host);
    const again = await repair(host);
    assert.deepEqual([again.steps, again.clean], [[], true]);
    assert.equal(imageOf(host), image);
    assert.equal(host.liveBufferCount, 0);
    await readsBack(host, content);
    assert.equal((await checkPoolAt(host, NAME, HERE, { data: true })).clean, true);
  });
}

test('a damaged page stays damaged, is refused, and the pages around it are not', async () => {
  const { host, content, places } = await copyOf(plainPool);
  const { id, device, offsetBytes } = mblockOf(places, 201);
  host.disk(device).flipBit(offsetBytes + 7 * PAGE_BYTES);
  // Its table too, elsewhere: that is restored, although the page cannot be.
  host.disk(device).flipBit(offsetBytes + 201 * PAGE_BYTES + 4 * 150);
  const report = await repair(host, { data: true, force: true });
  assert.deepEqual(
    report.steps.map(({ structure }) => structure),
    ['mblock'],
  );
  const left = report.left.map(({ structure, objectId, location }) => {
    return [structure, objectId, location.offsetBytes];
  });
  assert.deepEqual(left, [['page', `0x${id.toString(16)}`, offsetBytes + 7 * PAGE_BYTES]]);
  assert.deepEqual((await repair(host, { data: true })).steps, []);
  const pool = await openStore(host);
  const page = 7 * PAGE_BYTES;
  await refuses(() => pool.mblocks.read(id, page, 1), 'ERR_MPOOL_CHECKSUM', /page 7 of mblock 0x/);
  const bytes = content.mblocks.get(id)!;
  const before = await pool.mblocks.read(id, 0, page);
  assert.ok(Buffer.compare(before, bytes.subarray(0, page)) === 0);
  const after = await pool.mblocks.read(id, page + PAGE_BYTES, bytes.length - page - PAGE_BYTES);
  assert.ok(Buffer.compare(after, bytes.subarray(page + PAGE_BYTES)) === 0);
  await pool.mblocks.delete([id]);
  await pool.close();
  assert.equal((await checkPoolAt(host, NAME, HERE, { data: true })).clean, true);
});

test('a damaged log stays as it is, until it is said to cut it; then what is lost is told', async () => {
  for (const unreadable of [false, true]) {
    const { host, content, places } = await copyOf(plainPool);
    const [id, at] = [...places.mlogs][1] as [MlogId, number];
    const third = at + PAGE_BYTES + 2 * 512;
    if (unreadable) host.disk(A).failSectors(third, 512);
    else host.disk(A).flipBit(third + 70);
    const image = imageOf(host);
    const withheld = await repair(host);
    assert.deepEqual([withheld.steps, withheld.clean], [[], false]);
    const [step] = withheld.withheld;
    assert.equal(step?.objectId, `0x${id.toString(16)}`);
    assert.match(step.message, /^the log is cut at byte 5120, after its first 2 records$/);
    const [loss] = step.losses;
    assert.equal(loss, '4 records from number 3 on, from byte 5120: 3 of them can still be read');
    assert.equal(imageOf(host), image, 'not a byte is written');
    await readsBack(host, content, { unreadable: [id] });
    const done = await repair(host, { force: true });
    assert.deepEqual([done.steps, done.withheld, done.clean], [[step], [], true]);
    content.mlogs.set(id, content.mlogs.get(id)!.slice(0, 2));
    for (const [log, records] of content.mlogs) {
      if (log !== id) content.mlogs.set(log, [...records, 'more']);
    }
    assert.deepEqual((await repair(host)).steps, []);
    await readsBack(host, content);
  }
});

/** Damage to a header of 512 bytes that leaves enough of it to know what it was. */
const HEADER_DAMAGE: [string, (host: SimHost, at: number) => void][] = [
  ['a bit of the magic', (host, at) => host.disk(A).flipBit(at + 1)],
  ['a bit of the checksum', (host, at) => host.disk(A).flipBit(at + 5, 3)],
  ['a bit of the state', (host, at) => host.disk(A).flipBit(at + 9, 1)],
  ['a bit of the generation', (host, at) => host.disk(A).flipBit(at + 17, 7)],
  ['a bit of the salt', (host, at) => host.disk(A).flipBit(at + 26, 2)],
  ['a bit of what was committed', (host, at) => host.disk(A).flipBit(at + 40, 4)],
  ['all that is the same in every header', (host, at) => fill(host, at + 48, 464)],
  [
    'magic, and what it is the header of',
    (host, at) => (fill(host, at, 4), fill(host, at + 32, 8)),
  ],
];

function fill(host: SimHost, at: number, lengthBytes: number, byte = 0xa5): void {
  host.disk(A).poke(at, { fill: byte, lengthBytes });
}

const HEADERS: [string, (places: Places) => number[]][] = [
  ['a log', ({ mlogs }) => [[...mlogs.values()][0]!]],
  ['both logs of the root MDC', ({ root }) => [root.active, root.other]],
  ['both logs of MDC 0', ({ mdc0 }) => [mdc0.active, mdc0.other]],
  ['both logs of MDC 1', ({ mdc1 }) => [mdc1.active, mdc1.other]],
];

for (const [what, of] of HEADERS) {
  test(`restored as they were: headers of ${what}, of which something is left`, async () => {
    for (const [how, harm] of HEADER_DAMAGE) {
      const { host, content, places } = await copyOf(compactedPool);
      const whole = imageOf(host);
      for (const at of of(places)) harm(host, at);
      const { steps, clean, withheld } = await repair(host);
      assert.deepEqual([clean, withheld], [true, []], how);
      assert.equal(steps.length, of(places).length, how);
      for (const { structure, message } of steps) {
        assert.match(
          `${structure}: ${message}`,
          /^log header: the header is written again as it was/,
        );
      }
      assert.equal(imageOf(host), whole, `${how}: to the byte`);
      await readsBack(host, content);
    }
  });
}

test('a header of which a field is lost is restored from the frames, when they fit its checksum', async () => {
  const of = ({ mlogs, root }: Places) => [[...mlogs.values()][0]!, root.active];
  for (const [field, lengthBytes] of [
    [16, 8],
    [24, 4],
  ] as const) {
    const { host, content, places } = await copyOf(plainPool);
    const whole = imageOf(host);
    for (const at of of(places)) fill(host, at + field, lengthBytes);
    assert.equal((await repair(host)).clean, true);
    assert.equal(imageOf(host), whole);
    await readsBack(host, content);
  }
});

test('an erasure stays, whatever happens to the header that made it', async () => {
  for (const [how, harm] of HEADER_DAMAGE) {
    const { host, content, places } = await copyOf(plainPool);
    const [id, at] = [...places.mlogs][0] as [MlogId, number];
    const pool = await openStore(host);
    const log = await pool.mlogs.open(id);
    await log.erase();
    // Without a closing frame: as a crash leaves it.
    const crashed = host.clone();
    await pool.close({ force: true });
    content.mlogs.set(id, []);
    harm(crashed, at);
    assert.equal((await repair(crashed)).clean, true, how);
    await readsBack(crashed, content);
  }
});

test('a log without a header refuses to be opened until it is said that the first frame tells it', async () => {
  for (const lost of ['log', 'active', 'both'] as const) {
    const { host, content, places } = await copyOf(compactedPool);
    const [id, at] = [...places.mlogs][0] as [MlogId, number];
    const { active, other } = places.root;
    if (lost === 'log') host.disk(A).failSectors(at, 512);
    else for (const each of lost === 'both' ? [active, other] : [active]) fill(host, each, 512, 0);
    const image = imageOf(host);
    const report = await repair(host);
    assert.deepEqual([report.steps, report.clean, report.withheld.length], [[], false, 1], lost);
    assert.match(report.withheld[0]!.message, /^the header is written anew, of generation 1 as/);
    assert.match(report.withheld[0]!.losses[0]!, /^an erasure, or a compaction to nothing/);
    assert.equal(imageOf(host), image);
    // It is the only one that suffers.
    const pool = await openStore(host);
    const opened = lost === 'log' ? () => pool.mlogs.open(id) : () => pool.mdcs.root();
    await refuses(opened, lost === 'log' ? 'ERR_MPOOL_IO' : 'ERR_MPOOL_CORRUPT');
    const [, intact] = content.mlogs.keys();
    assert.equal((await pool.mlogs.open(intact!)).recordCount, 6);
    await pool.close({ force: true });
    const done = await repair(host, { force: true });
    assert.equal(done.clean, true, JSON.stringify(done));
    const headers = done.steps.filter(({ structure }) => structure === 'log header');
    assert.equal(headers.length, lost === 'both' ? 2 : 1);
    assert.deepEqual((await repair(host)).steps, []);
    await readsBack(host, content);
  }
});

test('a log of which nothing is left is left alone, and can be deleted', async () => {
  const { host, content, places } = await copyOf(plainPool);
  const [id, at] = [...places.mlogs][0] as [MlogId, number];
  fill(host, at, 2 * PAGE_BYTES, 0);
  const report = await repair(host, { force: true });
  assert.deepEqual([report.steps, report.withheld, report.clean], [[], [], false]);
  assert.deepEqual(
    report.left.map(({ structure, objectId }) => [structure, objectId]),
    [['log header', `0x${id.toString(16)}`]],
  );
  await readsBack(host, content, { unreadable: [id] });
  const pool = await openStore(host);
  await pool.mlogs.delete([id]);
  await pool.close();
  assert.equal((await checkPoolAt(host, NAME, HERE, {})).clean, true);
});

test('MDC 0 and MDC 1 without any header are written anew, if the pool was closed in good order', async () => {
  for (const name of ['mdc0', 'mdc1'] as const) {
    for (const closed of [true, false]) {
      const { host, content, places } = await copyOf(compactedPool);
      const { active, other } = places[name];
      if (!closed) cutClosingFrame(host, active);
      for (const at of [active, other]) host.disk(A).failSectors(at, 512);
      const { steps, clean } = await repair(host);
      if (!closed) {
        assert.deepEqual([steps, clean], [[], false], name);
        continue;
      }
      assert.deepEqual([steps.length, clean], [1, true], name);
      assert.match(steps[0]!.message, /written anew .*: the header of its current log is lost/);
      assert.deepEqual(steps[0]!.losses, []);
      assert.deepEqual((await repair(host)).steps, []);
      await readsBack(host, content);
    }
  }
});

/** As a crash would have left the log. */
function cutClosingFrame(host: SimHost, logBytes: number): void {
  let last = 0;
  for (let at = logBytes + PAGE_BYTES; at < logBytes + 16 * PAGE_BYTES; at += 512) {
    const sector = Buffer.from(host.disk(A).bytes(at, 512));
    if (sector.readUInt32LE(0) === 0x464c706d && sector.readUInt32LE(36) === 1) last = at;
  }
  assert.ok(last > 0, 'there is a closing frame');
  fill(host, last, 512, 0);
}

test('what only MDC 1 told and no longer does is given up only when that is said', async () => {
  const { host, content, places } = await copyOf(compactedPool);
  // Of the frames after the compaction one: the creation of the mblock on staging, and marks of logs.
  const { id } = mblockOf(places, 3);
  const at = frameWith(host, places.mdc1.active, id);
  host.disk(A).flipBit(at + 100);
  const image = imageOf(host);
  const withheld = await repair(host);
  assert.deepEqual([withheld.steps, withheld.clean], [[], false]);
  const [step] = withheld.withheld;
  assert.match(
    step!.message,
    /^MDC 1 is written anew from what can be read, with \d+ objects: bytes/,
  );
  assert.equal(step!.losses.length, 1);
  assert.match(
    step!.losses[0]!,
    /^2 records in bytes \d+ to \d+ of the log of MDC 1: objects made/,
  );
  assert.equal(imageOf(host), image);
  const done = await repair(host, { force: true });
  assert.deepEqual([done.steps, done.clean], [[step], true]);
  content.mblocks.delete(id);
  assert.deepEqual((await repair(host)).steps, []);
  await readsBack(host, content);
});

test('what came before what is lost, and what came after it, is all there; nothing comes back', async () => {
  const { host, content, places } = await copyOf(plainPool);
  // The second deletion and the creation of others are behind the damage.
  const { id } = mblockOf(places, 1);
  host.disk(A).flipBit(frameWith(host, places.mdc1.active, id) + 100);
  const done = await repair(host, { force: true });
  assert.equal(done.clean, true, JSON.stringify(done));
  content.mblocks.delete(id);
  await readsBack(host, content);
});

/** Where the frame of MDC 1 begins that has the id in its payload. */
function frameWith(host: SimHost, logBytes: number, id: bigint): number {
  const wanted = Buffer.alloc(8);
  wanted.writeBigUInt64LE(id);
  for (let at = logBytes + PAGE_BYTES; at < logBytes + 32 * PAGE_BYTES; at += 512) {
    const sector = Buffer.from(host.disk(A).bytes(at, 512));
    if (sector.readUInt32LE(0) === 0x464c706d && sector.includes(wanted)) return at;
  }
  return assert.fail('there is such a frame');
}

test('a capacity device without a superblock gets that of its staging device, when that is said', async () => {
  const { host, content } = await copyOf(plainPool);
  for (let copy = 0; copy < 4; copy++) {
    host.disk(A).poke(superblockOffsetBytes(copy, size) + 90, { fill: 1, lengthBytes: 200 });
  }
  const image = imageOf(host);
  const asked = (options = {}) => repairPoolAt(host.environment, A, HERE, options);
  const withheld = await asked();
  assert.deepEqual([withheld.steps, withheld.clean], [[], false]);
  assert.match(withheld.withheld[0]!.message, /^all copies written again, of generation 1/);
  assert.equal(imageOf(host), image);
  const done = await asked({ force: true });
  assert.deepEqual([done.steps.length, done.clean], [1, true]);
  await readsBack(host, content);
  // A staging device of another pool is no help.
  const other = await copyOf(plainPool);
  for (let copy = 0; copy < 4; copy++) {
    other.host.disk(A).poke(superblockOffsetBytes(copy, size) + 90, { fill: 1, lengthBytes: 200 });
  }
  other.host.disk(A).poke(32 * PAGE_BYTES, { fill: 0, lengthBytes: 64 * PAGE_BYTES });
  const none = await repairPoolAt(other.host.environment, A, HERE, { force: true });
  assert.deepEqual([none.steps, none.withheld, none.clean], [[], [], false]);
});

test('a staging device without a superblock gets that of the capacity device, if its content proves it', async () => {
  const wipe = (host: SimHost, path: string): void => {
    for (let copy = 0; copy < 4; copy++) {
      const at = superblockOffsetBytes(copy, 8 * MIB);
      host.disk(path).poke(at, { fill: copy === 1 ? 7 : 0, lengthBytes: PAGE_BYTES });
    }
  };
  const { host, content } = await copyOf(plainPool);
  const whole = imageOf(host);
  wipe(host, B);
  const damaged = imageOf(host);
  const foreseen = await repair(host, { dryRun: true });
  assert.equal(imageOf(host), damaged);
  const report = await repair(host);
  assert.deepEqual([report.steps, report.clean], [foreseen.steps, true], JSON.stringify(report));
  assert.match(report.steps[0]!.message, /^copies 0, 1, 2, 3 written again, of generation 1/);
  assert.equal(imageOf(host), whole, 'to the byte');
  await readsBack(host, content);

  // Another device, of that size and with something on it, is not taken for it.
  const other = await copyOf(plainPool);
  other.host.disk(B).poke(0, { fill: 0x33, lengthBytes: 8 * MIB });
  const image = imageOf(other.host);
  const none = await repair(other.host, { force: true });
  assert.deepEqual([none.steps, none.clean], [[], false]);
  assert.equal(imageOf(other.host), image);

  // Of two that hold it nobody can tell which one counts.
  const twice = await copyOf(plainPool);
  wipe(twice.host, B);
  const copy = twice.host.addDisk('/dev/copy', { sizeBytes: 8 * MIB });
  copy.poke(0, twice.host.disk(B).bytes(0, 8 * MIB));
  const both = await repair(twice.host, { force: true });
  assert.deepEqual([both.steps, both.withheld.length, both.clean], [[], 1, false]);
  assert.match(both.withheld[0]!.losses[0]!, /\/dev\/b, \/dev\/copy hold the same objects/);
});

test('MDC 0 that lost a record is written anew when that is said, unless MDC 1 may be elsewhere', async () => {
  for (const moved of [false, true]) {
    const { host, content, places } = await copyOf(plainPool);
    // The first change of parameters; the second has all of them.
    host.disk(A).flipBit(places.mdc0.active + PAGE_BYTES + 2 * 512 + 80);
    if (moved) {
      const pool = await openStore(host.clone(), true).catch(() => undefined);
      assert.equal(pool, undefined, 'it does not open');
      newerHeaderOfMdc1(host, places);
    }
    const image = imageOf(host);
    const withheld = await repair(host);
    assert.deepEqual([withheld.steps, withheld.withheld.length], [[], 1], JSON.stringify(withheld));
    assert.match(
      withheld.withheld[0]!.losses[0]!,
      /^1 records in bytes \d+ to \d+ of the log of MDC 0/,
    );
    const done = await repair(host, { force: true });
    assert.equal(done.clean, !moved, JSON.stringify(done));
    if (!moved) {
      await readsBack(host, content);
      continue;
    }
    assert.match(done.withheld[0]!.losses.at(-1)!, /^the place of MDC 1, which moved/);
    assert.equal(imageOf(host), image);
  }
});

/** As a move of MDC 1 would leave it, at a place that only the lost record names. */
function newerHeaderOfMdc1(host: SimHost, places: Places): void {
  const disk = host.disk(A);
  const superblock = decodeSuperblock(disk.bytes(0, PAGE_BYTES), 0);
  assert.ok(superblock.ok);
  const objectId = halvesOfId(mdcLogIds(1).logA);
  const identity = logIdentity(superblock.superblock.poolUuid, objectId);
  const fields = { state: LogState.current, sectorBytes: 512, generation: 7, salt: 1 } as const;
  const header = encodeLogHeader({ ...fields, objectId, committedBytes: PAGE_BYTES }, identity);
  const zones = [...places.mblocks.values()].filter(({ device }) => device === A);
  disk.poke(Math.max(...zones.map(({ offsetBytes }) => offsetBytes)) + 4 * MIB, header);
}
