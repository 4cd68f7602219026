// Goal: the space map never gives pages out twice, never loses one, and shares spare out as promised.
// Method: random commands against a plain array of pages, checked after each; then the edges by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { InvariantError } from '../../src/base/assert.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Extent } from '../../src/format/extent.ts';
import { SpaceMap } from '../../src/pool/space-map.ts';

const ZONE = 256;
const HEAD = 32;
const TAIL = 16;

type Page = 'free' | 'used' | 'reserved';

/** What the map must be, in the slowest and plainest way. */
class Model {
  pages: Page[] = [];
  zoneCount = 0;
  owned: Extent[] = [];
  freeSpare = 0;
  percent: number;

  constructor(zoneCount: number, sizePages: number, percent: number) {
    this.percent = percent;
    this.resize(zoneCount, sizePages);
    this.freeSpare = Math.min(this.spareTarget(), this.freeZones().length);
  }

  resize(zoneCount: number, sizePages: number): void {
    const before = new Set(this.freeZones());
    const old = this.pages;
    this.zoneCount = zoneCount;
    this.pages = Array.from({ length: sizePages }, (_, page) => {
      if (page < HEAD || page >= sizePages - TAIL || page >= zoneCount * ZONE) return 'reserved';
      return old[page] === 'used' ? 'used' : 'free';
    });
    const gained = this.freeZones().filter((zone) => !before.has(zone)).length;
    this.freeSpare = Math.min(this.spareTarget(), this.freeSpare + gained);
  }

  zone(zone: number): Page[] {
    return this.pages.slice(zone * ZONE, (zone + 1) * ZONE);
  }

  freeZones(): number[] {
    const zones = Array.from({ length: this.zoneCount }, (_, zone) => zone);
    return zones.filter((zone) => this.zone(zone).every((page) => page === 'free'));
  }

  spareTarget(): number {
    const zones = Array.from({ length: this.zoneCount }, (_, zone) => zone);
    const whole = zones.filter((zone) => !this.zone(zone).includes('reserved')).length;
    return whole - Math.floor((whole * (100 - this.percent)) / 100);
  }

  /** Free runs of zones that are not wholly free. */
  partialRuns(): number[] {
    const free = new Set(this.freeZones());
    const lengths: number[] = [];
    for (let zone = 0; zone < this.zoneCount; zone++) {
      if (free.has(zone)) continue;
      const marks = this.zone(zone).map((page) => (page === 'free' ? 'f' : '-'));
      lengths.push(...(marks.join('').match(/f+/g) ?? []).map((marked) => marked.length));
    }
    return lengths;
  }

  available(spare: boolean): number {
    return this.freeZones().length - (spare ? 0 : this.freeSpare);
  }

  longestFreeRun(): number {
    const free = new Set(this.freeZones());
    const marks = Array.from({ length: this.zoneCount }, (_, z) => (free.has(z) ? 'f' : '-'));
    return Math.max(0, ...(marks.join('').match(/f+/g) ?? []).map((marked) => marked.length));
  }

  isFree({ pageAddress, pageCount }: Extent): boolean {
    const range = this.pages.slice(pageAddress, pageAddress + pageCount);
    return range.length === pageCount && range.every((page) => page === 'free');
  }

  take(extent: Extent, spare: boolean): void {
    assert.ok(this.isFree(extent), 'what was given out was free');
    const before = this.freeZones();
    const usable = before.length - this.freeSpare;
    this.pages.fill('used', extent.pageAddress, extent.pageAddress + extent.pageCount);
    this.owned.push(extent);
    const opened = before.length - this.freeZones().length;
    const fromSpare = spare
      ? Math.min(opened, this.freeSpare)
      : Math.max(0, opened - Math.max(0, usable));
    this.freeSpare -= fromSpare;
  }

  give(extent: Extent): void {
    const before = this.freeZones().length;
    this.pages.fill('free', extent.pageAddress, extent.pageAddress + extent.pageCount);
    const gained = this.freeZones().length - before;
    this.freeSpare = Math.max(
      this.freeSpare,
      Math.min(this.spareTarget(), this.freeSpare + gained),
    );
  }
}

function check(map: SpaceMap, model: Model): void {
  const usage = map.usage();
  const count = (kind: Page) => model.pages.filter((page) => page === kind).length;
  assert.equal(usage.usedPages, count('used'));
  assert.equal(usage.reservedPages, count('reserved'));
  assert.equal(usage.freeUsablePages + usage.freeSparePages, count('free'));
  assert.equal(usage.totalPages, usage.usablePages + usage.sparePages);
  assert.equal(usage.totalPages + usage.reservedPages, model.pages.length);
  assert.equal(usage.sparePages, model.spareTarget() * ZONE);
  assert.ok(usage.freeUsablePages >= 0 && usage.freeUsablePages <= usage.usablePages);
  assert.ok(usage.freeSparePages >= 0 && usage.freeSparePages <= usage.sparePages);
  const excess = count('free') - model.freeSpare * ZONE - usage.usablePages;
  assert.equal(usage.freeSparePages, model.freeSpare * ZONE + Math.max(0, excess));
}

type Command =
  | { kind: 'zone'; spare: boolean }
  | { kind: 'pages'; pageCount: number; spare: boolean }
  | { kind: 'free'; pick: number }
  | { kind: 'mark'; pageAddress: number; pageCount: number }
  | { kind: 'grow'; zones: number; rest: number }
  | { kind: 'percent'; percent: number };

function run(command: Command, map: SpaceMap, model: Model): void {
  switch (command.kind) {
    case 'zone': {
      const pageAddress = map.allocZone(command);
      if (pageAddress < 0) return assert.equal(model.available(command.spare), 0);
      assert.equal(pageAddress % ZONE, 0);
      assert.ok(model.available(command.spare) > 0);
      return model.take({ pageAddress, pageCount: ZONE }, command.spare);
    }
    case 'pages':
      return runPages(command, map, model);
    case 'free': {
      const [extent] = model.owned.splice(command.pick % Math.max(1, model.owned.length), 1);
      if (extent === undefined) return;
      map.free(extent);
      return model.give(extent);
    }
    case 'mark': {
      const whole = command.pageAddress % ZONE === 0 && command.pageCount % ZONE === 0;
      const within = (command.pageAddress % ZONE) + command.pageCount <= ZONE;
      const extent = { pageAddress: command.pageAddress, pageCount: command.pageCount };
      const fits = (whole || within) && model.isFree(extent);
      assert.equal(map.markUsed(extent), fits);
      if (fits) model.take(extent, false);
      return;
    }
    case 'grow': {
      const zoneCount = model.zoneCount + command.zones;
      const sizePages = zoneCount * ZONE + command.rest;
      const grows = sizePages >= model.pages.length;
      assert.equal(map.grow(zoneCount, sizePages), grows);
      if (grows) model.resize(zoneCount, sizePages);
      return;
    }
    case 'percent':
      map.setSparePercent(command.percent);
      model.percent = command.percent;
      model.freeSpare = Math.min(model.spareTarget(), model.freeZones().length);
  }
}

function runPages(command: Command & { kind: 'pages' }, map: SpaceMap, model: Model): void {
  const { pageCount, spare } = command;
  const extent = map.allocPages(pageCount, command);
  const zones = Math.ceil(pageCount / ZONE);
  if (pageCount >= ZONE) {
    const possible = model.available(spare) >= zones && model.longestFreeRun() >= zones;
    assert.equal(extent !== undefined, possible);
    if (extent === undefined) return;
    assert.equal(extent.pageCount, zones * ZONE);
    assert.equal(extent.pageAddress % ZONE, 0);
    return model.take(extent, spare);
  }
  const tightest = Math.min(...model.partialRuns().filter((length) => length >= pageCount));
  if (extent === undefined) {
    assert.equal(tightest, Infinity);
    return assert.equal(model.available(spare), 0);
  }
  assert.equal(extent.pageCount, pageCount);
  assert.ok((extent.pageAddress % ZONE) + pageCount <= ZONE, 'within one zone');
  model.take(extent, spare);
  if (tightest === Infinity) return;
  model.pages.fill('free', extent.pageAddress, extent.pageAddress + pageCount);
  assert.ok(model.partialRuns().includes(tightest));
  const zone = Math.floor(extent.pageAddress / ZONE);
  let start = extent.pageAddress;
  let end = start;
  while (start > zone * ZONE && model.pages[start - 1] === 'free') start--;
  while (end < (zone + 1) * ZONE && model.pages[end] === 'free') end++;
  assert.equal(end - start, tightest, 'the tightest gap was used');
  model.pages.fill('used', extent.pageAddress, extent.pageAddress + pageCount);
}

const anySpare = fc.boolean();
const anyPageCount = fc.oneof(
  fc.integer({ min: 1, max: ZONE - 1 }),
  fc.integer({ min: ZONE, max: 3 * ZONE }),
);
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant('zone' as const), spare: anySpare }),
  fc.record({ kind: fc.constant('pages' as const), pageCount: anyPageCount, spare: anySpare }),
  fc.record({ kind: fc.constant('free' as const), pick: fc.nat(50) }),
  fc.record({
    kind: fc.constant('mark' as const),
    pageAddress: fc.oneof(
      fc.nat(8 * ZONE),
      fc.nat(8).map((zone) => zone * ZONE),
    ),
    pageCount: fc.oneof(anyPageCount, fc.constantFrom(ZONE, 2 * ZONE)),
  }),
  fc.record({ kind: fc.constant('grow' as const), zones: fc.nat(2), rest: fc.nat(ZONE - 1) }),
  fc.record({ kind: fc.constant('percent' as const), percent: fc.nat(100) }),
);

test('any commands leave the map as a plain array of pages says', () => {
  const start = fc.record({
    zoneCount: fc.integer({ min: 1, max: 8 }),
    rest: fc.nat(ZONE - 1),
    percent: fc.nat(100),
  });
  fc.assert(
    fc.property(
      start,
      fc.array(anyCommand, { maxLength: 60 }),
      ({ zoneCount, rest, percent }, list) => {
        const sizePages = zoneCount * ZONE + rest;
        const options = { zoneCount, zonePages: ZONE, sizePages, sparePercent: percent };
        const map = new SpaceMap(options);
        const model = new Model(zoneCount, sizePages, percent);
        check(map, model);
        for (const each of list) {
          run(each, map, model);
          check(map, model);
        }
        // All given back, the map is as a new one of its size.
        for (const extent of model.owned) map.free(extent);
        map.setSparePercent(percent);
        const { zoneCount: zones, sizePages: size } = map;
        const fresh = new SpaceMap({ ...options, zoneCount: zones, sizePages: size });
        assert.deepEqual(map.usage(), fresh.usage());
      },
    ),
    { numRuns: 300 },
  );
});

/** Ten whole zones between zone 0, which has the head, and a tail beyond the zones. */
function tenZones(sparePercent: number): SpaceMap {
  return new SpaceMap({
    zoneCount: 11,
    zonePages: ZONE,
    sizePages: 11 * ZONE + TAIL,
    sparePercent,
  });
}

function drain(map: SpaceMap, options: { spare: boolean }): number {
  let count = 0;
  while (map.allocZone(options) >= 0) count++;
  return count;
}

test('normal allocations leave the spare part alone; spare ones take all', () => {
  const map = tenZones(20);
  assert.equal(drain(map, { spare: false }), 8);
  assert.equal(drain(map, { spare: true }), 2);
  assert.equal(drain(tenZones(20), { spare: true }), 10);
  assert.equal(drain(tenZones(100), { spare: false }), 0);
  assert.equal(drain(tenZones(0), { spare: false }), 10);
});

test('a spare allocation takes spare first, and freed space refills spare first', () => {
  const map = tenZones(20);
  const pageAddress = map.allocZone({ spare: true });
  assert.equal(map.usage().freeSparePages, ZONE);
  const other = map.allocZone({ spare: false });
  map.free({ pageAddress: other, pageCount: ZONE });
  assert.equal(map.usage().freeSparePages, 2 * ZONE, 'spare is whole again');
  map.free({ pageAddress, pageCount: ZONE });
  assert.equal(map.usage().freeSparePages, 2 * ZONE);
});

test('what is marked at activation counts as usable first', () => {
  const map = tenZones(20);
  for (let zone = 1; zone <= 9; zone++) {
    assert.ok(map.markUsed({ pageAddress: zone * ZONE, pageCount: ZONE }));
  }
  assert.equal(map.usage().freeSparePages, ZONE);
  assert.equal(drain(map, { spare: false }), 0);
});

test('the reserved pages are nobody’s', () => {
  const map = new SpaceMap({ zoneCount: 3, zonePages: ZONE, sizePages: 3 * ZONE, sparePercent: 0 });
  assert.equal(map.usage().reservedPages, HEAD + TAIL);
  assert.equal(map.markUsed({ pageAddress: 31, pageCount: 1 }), false);
  assert.equal(map.markUsed({ pageAddress: 3 * ZONE - TAIL, pageCount: 1 }), false);
  assert.equal(map.markUsed({ pageAddress: 0, pageCount: ZONE }), false);
  assert.ok(map.markUsed({ pageAddress: 32, pageCount: ZONE - HEAD }));
  assert.ok(map.markUsed({ pageAddress: 2 * ZONE, pageCount: ZONE - TAIL }));
  assert.throws(() => map.free({ pageAddress: 0, pageCount: ZONE }), InvariantError);
  assert.throws(() => map.free({ pageAddress: 16, pageCount: 32 }), InvariantError);
});

test('freeing what is not owned is a bug', () => {
  const map = tenZones(0);
  const extent = map.allocPages(10, { spare: false })!;
  map.allocPages(10, { spare: false });
  map.free(extent);
  assert.throws(() => map.free(extent), InvariantError);
  assert.throws(() => map.free({ pageAddress: ZONE, pageCount: ZONE }), InvariantError);
  assert.throws(() => map.free({ pageAddress: 40, pageCount: 10 }), InvariantError);
  assert.throws(() => map.free({ pageAddress: 200, pageCount: 100 }), InvariantError);
});

test('zones are given out in turn, not the last one freed', () => {
  const map = tenZones(0);
  const first = map.allocZone({ spare: false });
  map.free({ pageAddress: first, pageCount: ZONE });
  assert.equal(map.allocZone({ spare: false }), first + ZONE);
});

test('growing moves the reserved tail and makes the old one free', () => {
  const map = new SpaceMap({ zoneCount: 2, zonePages: ZONE, sizePages: 2 * ZONE, sparePercent: 0 });
  assert.equal(map.allocZone({ spare: false }), -1, 'both zones hold superblocks');
  assert.ok(map.grow(2, 2 * ZONE + 8));
  assert.equal(map.usage().reservedPages, HEAD + TAIL);
  assert.ok(map.grow(2, 2 * ZONE + 16));
  assert.equal(map.allocZone({ spare: false }), ZONE);
  assert.equal(map.grow(2, 2 * ZONE), false, 'it never shrinks');
  assert.ok(map.grow(40, 40 * ZONE));
  assert.equal(drain(map, { spare: false }), 37);
});

test('with thousands of zones, none is lost and none given out twice', (t) => {
  const seed = 20_260_102;
  t.diagnostic(`seed ${seed}`);
  const prng = new SeededPrng(seed);
  const zoneCount = 5000;
  const sizePages = zoneCount * ZONE + TAIL;
  const map = new SpaceMap({ zoneCount, zonePages: ZONE, sizePages, sparePercent: 0 });
  const owned: number[] = [];
  const seen = new Set<number>();
  for (let i = 0; i < 40_000; i++) {
    // Fills up, then hovers around full: there the search has to look far.
    if (i < 6000 || below(prng, 100) < 60 || owned.length === 0) {
      const pageAddress = map.allocZone({ spare: false });
      assert.equal(pageAddress < 0, owned.length === zoneCount - 1);
      if (pageAddress < 0) continue;
      assert.ok(!seen.has(pageAddress));
      seen.add(pageAddress);
      owned.push(pageAddress);
    } else {
      const at = below(prng, owned.length);
      const pageAddress = owned[at]!;
      owned[at] = owned.at(-1)!;
      owned.pop();
      seen.delete(pageAddress);
      map.free({ pageAddress, pageCount: ZONE });
    }
  }
  // One long run, across words of the bitmap, and single zones elsewhere, more than the run has.
  for (const pageAddress of owned) {
    const zone = pageAddress / ZONE;
    const isSingle = zone >= 4000 && zone % 2 === 0;
    if (isSingle || (zone >= 3010 && zone < 3110)) map.free({ pageAddress, pageCount: ZONE });
  }
  assert.equal(map.allocPages(120 * ZONE, { spare: false }), undefined);
  const found = map.allocPages(100 * ZONE, { spare: false });
  assert.deepEqual(found, { pageAddress: 3010 * ZONE, pageCount: 100 * ZONE });
});
