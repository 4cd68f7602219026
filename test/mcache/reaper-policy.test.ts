// Goal: what is evicted is chosen better than by plain recency, in far fewer evictions.
// Method: the reaper on simulated machines under seeded traces, against evicting whole objects by last access, and at
// random, with as much memory as the reaper used in the mean.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Prng } from '../../src/base/prng.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { isRipe, Ranking, scoreOf } from '../../src/mcache/reaper-choice.ts';
import { SHOWN, UNMAPPED } from '../../src/mcache/resident-set.ts';
import { Zipf } from './reaper-machine.ts';
import { rig, SEED } from './reaper-rig.ts';

interface Workload {
  objects: number;
  pages: number;
  /** How unequal the objects' heat is, and their pages'. */
  objectSkew: number;
  pageSkew: number;
  /** Sizes differ by up to 32. */
  mixed?: boolean;
  /** Two objects change places each so many accesses. */
  drift?: number;
  /** One access of so many goes through all objects in order. */
  scan?: number;
}

const USUAL: Workload = { objects: 256, pages: 256, objectSkew: 0.9, pageSkew: 0.6 };
const STEPS = 6000;
const ACCESSES_A_STEP = 100;
const MEMORY_SHARE = 0.4;

function trace(load: Workload) {
  const prng = new SeededPrng(SEED);
  const sizes = Array.from({ length: load.objects }, () =>
    load.mixed === true ? load.pages >> below(prng, 6) : load.pages,
  );
  const objects = new Zipf(load.objects, load.objectSkew);
  const pages = new Map([...new Set(sizes)].map((size) => [size, new Zipf(size, load.pageSkew)]));
  const places = sizes.map((_, i) => i);
  for (let i = places.length - 1; i > 0; i--) swap(places, i, below(prng, i + 1));
  let count = 0;
  let scanned = 0;
  return {
    sizes,
    next: (): [object: number, page: number] => {
      count += 1;
      if (load.drift !== undefined && count % load.drift === 0) {
        swap(places, below(prng, load.objects), below(prng, load.objects));
      }
      if (load.scan !== undefined && count % load.scan === 0) {
        const object = Math.floor(scanned / 64) % load.objects;
        return [object, scanned++ % 64];
      }
      const object = places[objects.next(prng)]!;
      const size = sizes[object]!;
      return [object, (pages.get(size)!.next(prng) * 101 + object * 7) % size];
    },
  };
}

function swap(list: number[], i: number, j: number): void {
  [list[i], list[j]] = [list[j]!, list[i]!];
}

interface Outcome {
  /** Of the second half. */
  hitShare: number;
  evictions: number;
  pages: number;
}

async function reaped(
  load: Workload,
  use: 'access' | 'touch',
): Promise<Outcome & { most: number }> {
  const { sizes, next } = trace(load);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const { set, reaper, machine, run, used } = rig();
  machine.limitBytes = Math.floor(total * PAGE_BYTES * MEMORY_SHARE);
  for (const size of sizes) set.addRow(size);
  reaper.add(set);
  let hits = 0;
  let misses = 0;
  let pages = 0;
  let most = 0;
  await run(STEPS * 5, (step) => {
    most = Math.max(most, used());
    if (step === STEPS / 2) [hits, misses] = [set.hits, set.misses];
    if (step >= STEPS / 2) pages += set.cachedPages() / (STEPS / 2);
    for (let i = 0; i < ACCESSES_A_STEP; i++) set[use](...next());
  });
  hits = set.hits - hits;
  const hitShare = hits / (hits + set.misses - misses);
  return { hitShare, evictions: reaper.stats().evictedObjects, pages, most };
}

/** Whole objects, whenever more pages are cached than that, by what `rank` makes of the last access. */
function evicting(load: Workload, pages: number, rank: (lastAccess: number) => number): Outcome {
  const { sizes, next } = trace(load);
  const cached = sizes.map((size) => new Uint8Array(size));
  const counts = sizes.map(() => 0);
  const lastAccess = sizes.map(() => 0);
  let [total, hits, misses, evictions] = [0, 0, 0, 0];
  for (let step = 0; step < STEPS; step++) {
    for (let i = 0; i < ACCESSES_A_STEP; i++) {
      const [object, page] = next();
      lastAccess[object] = step * ACCESSES_A_STEP + i;
      const hit = cached[object]![page] === 1;
      cached[object]![page] = 1;
      if (!hit) [counts[object], total] = [counts[object]! + 1, total + 1];
      if (step >= STEPS / 2) [hits, misses] = [hits + Number(hit), misses + Number(!hit)];
    }
    while (total > pages) {
      let victim = -1;
      let least = Number.POSITIVE_INFINITY;
      for (const [object, count] of counts.entries()) {
        const value = count > 0 ? rank(lastAccess[object]!) : Number.POSITIVE_INFINITY;
        if (value < least) [least, victim] = [value, object];
      }
      total -= counts[victim]!;
      counts[victim] = 0;
      cached[victim]!.fill(0);
      evictions += 1;
    }
  }
  return { hitShare: hits / (hits + misses), evictions, pages };
}

const WORKLOADS: Record<string, Workload> = {
  usual: USUAL,
  'of mixed sizes': { ...USUAL, pages: 512, mixed: true },
  'heat spread evenly over objects': { ...USUAL, objectSkew: 0.01, pageSkew: 0.99 },
  'heat that wanders': { ...USUAL, drift: 2000 },
  'a scan beside it': { ...USUAL, scan: 10 },
  'few large objects': { ...USUAL, objects: 32, pages: 2048 },
};

test(`hit ratios: at least those of last access, with half the evictions (SEED=${SEED})`, async (t) => {
  let [ours, plain] = [0, 0];
  for (const [name, load] of Object.entries(WORKLOADS)) {
    // oxlint-disable-next-line no-await-in-loop -- one simulation after another
    const reaper = await reaped(load, 'access');
    const recency = evicting(load, reaper.pages, (last) => last);
    const prng: Prng = new SeededPrng(SEED);
    const random = evicting(load, reaper.pages, () => prng.u32());
    // oxlint-disable-next-line no-await-in-loop -- as above
    const views = await reaped(load, 'touch');
    const row = [reaper, recency, random, views]
      .map((each) => `${(each.hitShare * 100).toFixed(1)} % (${each.evictions})`)
      .join(', ');
    t.diagnostic(`${name}: ours, recency, random, ours by views alone: ${row}`);
    assert.ok(reaper.hitShare > recency.hitShare - 0.005, name);
    assert.ok(reaper.evictions < recency.evictions * 0.75, name);
    assert.ok(reaper.hitShare > random.hitShare + 0.005, name);
    assert.ok(views.hitShare > reaper.hitShare - 0.015, `${name}, used through views only`);
    assert.ok(reaper.most < 1 && views.most < 1, `${name}: the limit is never met`);
    ours += reaper.hitShare;
    plain += recency.hitShare;
  }
  assert.ok(ours > plain + 0.03, `in all: ${ours} against ${plain}`);
});

test('scores: idleness by temperature, weighed by pages; pinned never, of no map first', () => {
  const score = (
    row: Partial<{ flags: number; temperature: number; resident: number; pages: number }>,
    idleMs: number,
    hitsPerSecond: number,
  ): number => {
    const { flags = 0, temperature = 0, resident = 100, pages = 100 } = row;
    return scoreOf(flags, temperature, resident, pages, idleMs, hitsPerSecond, 200);
  };
  assert.equal(score({}, 60_000, 0), 60_000, 'of the mean row it is its idleness');
  assert.equal(score({}, 0, 9.9), 100, 'or the time between its uses');
  assert.equal(score({ temperature: 1 }, 60_000, 0), 6000);
  assert.equal(score({ temperature: 2 }, 60_000, 0), 600);
  assert.equal(score({ temperature: 3 }, 1e9, 0), 0);
  assert.equal(score({ pages: 300 }, 60_000, 0), 120_000);
  assert.equal(score({ resident: 50, pages: 150 }, 60_000, 0), 60_000);
  assert.ok(score({ resident: 2, pages: 198 }, 60_000, 0) < 60_000 / 8, 'hardly worth a visit');
  const first = score({ flags: UNMAPPED, temperature: 3, resident: 1, pages: 8192 }, 0, 1e6);
  assert.ok(first > score({ pages: 1e6 }, 1e12, 0));
  assert.ok(score({ flags: UNMAPPED }, 50_000, 0) > score({ flags: UNMAPPED | SHOWN }, 40_000, 0));
  const selection = { nowMs: 0, ttlMs: 1000, emergency: false, meanPages: 200 };
  assert.equal(isRipe(first, 3, 0, selection, 1000), true);
  assert.equal(isRipe(999, 0, 999, selection, 1000), false);
  assert.equal(isRipe(1000, 0, 1000, selection, 1000), true);
  assert.equal(isRipe(5000, 0, 249, selection, 1000), false, 'seldom used, but just now');
  assert.equal(isRipe(5000, 1, 2499, selection, 1000), false);
  assert.equal(isRipe(5000, 1, 2500, selection, 1000), true);
  const emergency = { ...selection, emergency: true };
  assert.equal(isRipe(0.01, 1, 0, emergency, 1000), true);
  assert.equal(isRipe(500, 2, 2499, emergency, 1000), false);
  assert.equal(isRipe(500, 2, 2500, emergency, 1000), true);
  assert.equal(isRipe(0, 3, 1e9, emergency, 1000), false);
});

test(`a ranking keeps the best of what it was offered, in order (SEED=${SEED})`, () => {
  const prng = new SeededPrng(SEED);
  const ranking = new Ranking(64);
  for (const count of [0, 1, 63, 64, 65, 1000]) {
    ranking.clear();
    const scores = Array.from({ length: count }, () => below(prng, 500));
    scores.forEach((score, row) => ranking.offer(score, row % 3, row));
    const sorted = ranking.sorted();
    const expected = scores.toSorted((a, b) => a - b).slice(-64);
    assert.deepEqual(
      sorted.map(({ row }) => scores[row]),
      expected,
    );
    assert.ok(sorted.every(({ owner, row }) => owner === row % 3));
    assert.equal(new Set(sorted.map(({ row }) => row)).size, sorted.length);
  }
});
