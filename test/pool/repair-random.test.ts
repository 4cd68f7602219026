// Goal: whatever is damaged, a repair makes nothing worse: what could be read before can be read after, nothing
// reads as what it never was, nothing that was deleted comes back; and a second repair has nothing to do.
// Method: random damage to structures of a pool with content of every kind, bits and sectors; what can be read
// of it is compared before and after a repair, without force and with it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { MblockId, MlogId } from '../../src/format/object-id.ts';
import { superblockOffsetBytes } from '../../src/format/superblock.ts';
import type { RepairReport } from '../../src/pool/repair.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, allOf, B, MIB, texts } from './pool-host.ts';
import {
  contentPool,
  imageOf,
  openStore,
  repair,
  type Content,
  type Places,
} from './repair-pool.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const ROUNDS = Number(process.env['REPAIR_ROUNDS'] ?? 40);

/** What can be read: pages of mblocks by id, records of logs, the label. Undefined: the pool does not open. */
interface Readable {
  mblocks: Map<bigint, Map<number, string>>;
  mlogs: Map<bigint, string[] | undefined>;
  root: string[] | undefined;
  label: string;
}

async function readable(host: SimHost): Promise<Readable | undefined> {
  const opened = await orUndefined(openStore(host.clone({ seed: 3 }), true));
  if (opened === undefined) return undefined;
  const found: Readable = { mblocks: new Map(), mlogs: new Map(), root: undefined, label: '' };
  for (const { id, writtenBytes } of await allOf(opened.mblocks.list())) {
    const pages = new Map<number, string>();
    for (let at = 0; at < writtenBytes; at += PAGE_BYTES) {
      const length = Math.min(PAGE_BYTES, writtenBytes - at);
      const bytes = await orUndefined(opened.mblocks.read(id, at, length));
      if (bytes !== undefined) pages.set(at, Buffer.from(bytes).toString('latin1'));
    }
    found.mblocks.set(id, pages);
  }
  for (const { id } of await allOf(opened.mlogs.list())) {
    const log = await orUndefined(opened.mlogs.open(id));
    found.mlogs.set(id, log && (await texts(log.records())));
    await log?.close();
  }
  const root = await orUndefined(opened.mdcs.root());
  found.root = root && (await texts(root.records()));
  await root?.close();
  found.label = (await opened.parameters()).label;
  await opened.close({ force: true });
  return found;
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!isMpoolError(error)) throw error;
    return undefined;
  }
}

/** Byte ranges of structures, each with its device. */
function rangesOf(places: Places): [device: string, from: number, lengthBytes: number][] {
  const ranges: [string, number, number][] = [];
  for (let copy = 0; copy < 4; copy++) {
    ranges.push([A, superblockOffsetBytes(copy, 24 * MIB), PAGE_BYTES]);
    ranges.push([B, superblockOffsetBytes(copy, 8 * MIB), PAGE_BYTES]);
  }
  for (const { active, other } of [places.mdc0, places.mdc1, places.root]) {
    for (const at of [active, other]) ranges.push([A, at, 512], [A, at + PAGE_BYTES, 5 * 512]);
    ranges.push([A, active + PAGE_BYTES, 512]);
  }
  for (const at of places.mlogs.values()) ranges.push([A, at, 512], [A, at + PAGE_BYTES, 7 * 512]);
  for (const { device, offsetBytes, dataPages } of places.mblocks.values()) {
    ranges.push([device, offsetBytes, dataPages * PAGE_BYTES]);
    if (dataPages > 1) ranges.push([device, offsetBytes + dataPages * PAGE_BYTES, 900]);
  }
  return ranges.filter(([, , lengthBytes]) => lengthBytes > 0);
}

function damage(host: SimHost, places: Places, prng: SeededPrng): string {
  const ranges = rangesOf(places);
  const told: string[] = [];
  for (let left = 1 + below(prng, 4); left > 0; left--) {
    const [device, from, lengthBytes] = ranges[below(prng, ranges.length)]!;
    const at = from + below(prng, lengthBytes);
    const sector = Math.floor(at / 512) * 512;
    const how = below(prng, 3);
    if (how === 0) host.disk(device).failSectors(sector, 512);
    else if (how === 1) host.disk(device).flipBit(at, below(prng, 8));
    else host.disk(device).poke(sector, { fill: below(prng, 256), lengthBytes: 512 });
    told.push(`${device} ${at} (${how})`);
  }
  return told.join(', ');
}

/** All that is readable is what was stored. */
function isTrue(found: Readable, content: Content, what: string): void {
  for (const [id, pages] of found.mblocks) {
    const bytes = content.mblocks.get(id as MblockId);
    assert.ok(bytes !== undefined, `${what}: mblock ${id} was deleted`);
    for (const [at, page] of pages) {
      const wanted = Buffer.from(bytes.subarray(at, at + PAGE_BYTES)).toString('latin1');
      assert.ok(page === wanted, `${what}: mblock ${id} at ${at}`);
    }
  }
  for (const [id, records] of found.mlogs) {
    const all = content.mlogs.get(id as MlogId);
    assert.ok(all !== undefined, `${what}: mlog ${id}`);
    assert.deepEqual(records ?? [], all.slice(0, records?.length ?? 0), `${what}: mlog ${id}`);
  }
  const root = found.root ?? [];
  assert.deepEqual(root, content.root.slice(0, root.length), what);
}

/** Nothing readable became less. */
function notLess(before: Readable, after: Readable | undefined, what: string): void {
  assert.ok(after !== undefined, `${what}: the pool opened, and does no longer`);
  for (const [id, pages] of before.mblocks) {
    const now = after.mblocks.get(id);
    for (const at of pages.keys()) assert.ok(now?.has(at), `${what}: mblock ${id} at ${at}`);
  }
  for (const [id, records] of before.mlogs) {
    if (records !== undefined)
      assert.deepEqual(after.mlogs.get(id), records, `${what}: mlog ${id}`);
  }
  if (before.root !== undefined) assert.deepEqual(after.root, before.root, what);
  assert.equal(after.label, before.label, what);
}

/** Several mblocks are looked at at once, so the order may differ. */
function leftOf({ left }: RepairReport): string[] {
  return left.map((finding) => JSON.stringify(finding)).toSorted();
}

test('random damage: nothing gets worse, nothing is made up, and it ends', async () => {
  const pools = [await contentPool(), await contentPool({ compacted: true })];
  const prng = new SeededPrng(SEED);
  const outcome = { opened: 0, unopened: 0, reopened: 0, forced: 0, clean: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const { host: sound, content, places } = pools[round % 2]!;
    const host = sound.clone();
    const what = `seed ${SEED}, round ${round}: ${damage(host, places, prng)}`;
    const before = await readable(host);
    for (const force of [false, true]) {
      const image = imageOf(host);
      const report = await repair(host, { force, data: true }).catch((error: unknown) => {
        assert.ok(isMpoolError(error), `${what}: ${String(error)}`);
        assert.equal(before, undefined, `${what}: ${error.message}`);
      });
      if (!report) break;
      const told = JSON.stringify(report);
      if (report.steps.length === 0) assert.equal(imageOf(host), image, what);
      const after = await readable(host);
      if (after !== undefined) isTrue(after, content, `${what}: ${told}`);
      if (before !== undefined) notLess(before, after, `${what}: ${told}`);
      const image2 = imageOf(host);
      const again = await repair(host, { force, data: true });
      assert.deepEqual(again.steps, [], `${what}: ${told}`);
      assert.deepEqual([leftOf(again), again.clean], [leftOf(report), report.clean], what);
      assert.equal(imageOf(host), image2, what);
      if (force && report.steps.length > 0) outcome.forced += 1;
      if (before === undefined && after !== undefined) outcome.reopened += 1;
      if (report.clean) outcome.clean += 1;
    }
    assert.equal(host.liveBufferCount, 0, what);
    if (before === undefined) outcome.unopened += 1;
    else outcome.opened += 1;
  }
  if (ROUNDS < 40) return;
  for (const [name, count] of Object.entries(outcome)) assert.ok(count > 0, `${name}: ${count}`);
});
