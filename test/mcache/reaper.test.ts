// Goal: the reaper evicts the right objects, before the kernel must, and nothing else.
// Method: a simulated machine, clock and sets of objects page by page; what was really cached, used and evicted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { IN_USE, SHOWN, STALE, UNMAPPED } from '../../src/mcache/resident-set.ts';
import { TEMPERATURE, Zipf } from './reaper-machine.ts';
import type { FakeSet } from './reaper-machine.ts';
import { rig, ROW_PAGES, SEED } from './reaper-rig.ts';

const { cold, warm, hot, pinned } = TEMPERATURE;

/** Rows of a MiB, wholly cached. */
function filledRows(set: FakeSet, count: number, temperature: number = cold, flags = 0): number[] {
  return Array.from({ length: count }, () => {
    const row = set.addRow(ROW_PAGES, temperature, flags);
    set.fill(row);
    return row;
  });
}

test(`usage is held under the limit, and stats tell what a recount finds (SEED=${SEED})`, async () => {
  const { set, reaper, machine, prng, run, used } = rig({ limitMib: 80, otherMib: 20 });
  const temperatureOf = (row: number): number =>
    row % 20 === 0 ? hot : row % 5 === 0 ? warm : cold;
  for (let row = 0; row < 200; row++) set.addRow(ROW_PAGES, temperatureOf(row));
  reaper.add(set);
  const objects = new Zipf(200, 0.9);
  const pages = new Zipf(ROW_PAGES, 0.6);
  let most = 0;
  let pressed = 0;
  await run(30_000, (step) => {
    for (let i = 0; i < 100; i++) set.access(objects.next(prng), pages.next(prng));
    most = Math.max(most, used());
    if (step > 1000) pressed += Number(reaper.stats().pressure > 0);
  });
  assert.ok(most < 0.98, `at most ${most} of the limit was used`);
  assert.ok(used() > 0.8, `and memory is not wasted: ${used()}`);
  assert.ok(pressed > 4000, 'it was short all the time');
  const { evictedObjects, evictedPages, rounds } = reaper.stats();
  assert.equal(evictedObjects, set.evictedRows().length);
  assert.ok(evictedPages > 10_000 && rounds > 500);

  machine.limitBytes = 8000 * MIB;
  await run(20_000);
  const { residentPages, objectCount, pressure } = reaper.stats();
  const recount = [0, 0, 0];
  for (let row = 0; row < 200; row++) recount[temperatureOf(row)]! += set.cachedPages(row);
  assert.deepEqual([residentPages.cold, residentPages.warm, residentPages.hot], recount);
  assert.deepEqual([objectCount, pressure], [200, 0]);
});

test('rows are evicted in the order of their last use, whole, until enough is free', async () => {
  const { set, reaper, run, leaveFree } = rig();
  const rows = filledRows(set, 60);
  reaper.add(set);
  // Used one after another, in an order that is not the rows'.
  const order = rows.map((_, i) => rows[(i * 37) % 60]!);
  await run(60_000, (step) => {
    if (step % 200 === 0) set.access(order[step / 200]!, 0);
  });
  assert.deepEqual(set.evictedRows(), [], '60 of 100 MiB are used');
  leaveFree(12);
  await run(2000);
  // 12 of 100 are free, and 15.45 shall be.
  assert.deepEqual(set.evictedRows(), order.slice(0, 4));
  leaveFree(12);
  await run(2000);
  assert.deepEqual(set.evictedRows(), order.slice(0, 8));
  assert.equal(set.cachedPages(), 52 * ROW_PAGES);
});

test('of rows that are used all the time those go that are used least', async () => {
  const { set, reaper, run, machine } = rig();
  const rows = filledRows(set, 80);
  reaper.add(set);
  // Row i is used every 5 × (1 + i / 2) ms: all within a fifth of a second.
  await run(20_000, (step) => {
    for (const row of rows) if (step % (1 + Math.floor(row / 2)) === 0) set.access(row, 0);
    if (step === 3000) machine.otherBytes = 13 * MIB;
  });
  const evicted = [...new Set(set.evictedRows())];
  assert.ok(evicted.length > 0 && evicted.every((row) => row >= 60), String(evicted));
});

test('temperature: warm outlasts cold, hot outlasts warm, pinned is never evicted', async () => {
  const { set, reaper, run, machine } = rig({ limitMib: 120 });
  const rows = [cold, warm, hot, pinned].map((temperature) => filledRows(set, 20, temperature));
  reaper.add(set);
  await run(30_000);
  // From now on something is always short.
  for (let free = 18; free > 0; free -= 2) {
    machine.otherBytes = machine.limitBytes! - machine.cachedBytes - free * MIB;
    // oxlint-disable-next-line no-await-in-loop -- one step after another
    await run(3000);
  }
  const evicted = set.evictedRows();
  const first = evicted.slice(0, 20).toSorted((a, b) => a - b);
  const second = evicted.slice(20, 40).toSorted((a, b) => a - b);
  assert.deepEqual(first, rows[0]);
  assert.deepEqual(second, rows[1]);
  assert.ok(evicted.slice(40).every((row) => rows[2]!.includes(row)));
  machine.otherBytes = 200 * MIB;
  await run(30_000);
  assert.deepEqual(set.evictedRows().length, 60, 'everything else went');
  assert.equal(set.cachedPages(), 20 * ROW_PAGES);
  assert.equal(reaper.stats().residentPages.pinned, 20 * ROW_PAGES);
});

test('two sets compete alike, whatever their sizes', async () => {
  const { sets, reaper, run, prng } = rig({ sets: 2, limitMib: 60 });
  const [small, large] = sets as [FakeSet, FakeSet];
  for (let i = 0; i < 20; i++) small.addRow(ROW_PAGES);
  for (let i = 0; i < 100; i++) large.addRow(ROW_PAGES);
  reaper.add(small);
  reaper.add(large);
  // Each row of both is used alike often, so each loses as large a part.
  const pages = new Zipf(ROW_PAGES, 0.4);
  await run(20_000, () => {
    for (let i = 0; i < 60; i++) {
      const row = Math.floor((prng.u32() / 2 ** 32) * 120);
      if (row < 20) small.access(row, pages.next(prng));
      else large.access(row - 20, pages.next(prng));
    }
  });
  const share = small.cachedPages() / 20 / (large.cachedPages() / 100);
  assert.ok(share > 0.75 && share < 1.33, `a row of the small set has ${share} times as much`);
  const rate = small.evictedRows().length / 20 / (large.evictedRows().length / 100);
  assert.ok(rate > 0.75 && rate < 1.33, `and is evicted ${rate} times as often`);
});

test('rows of no map go first, and are forgotten when nothing of them is left', async () => {
  const { set, reaper, run, machine, leaveFree } = rig();
  const used = filledRows(set, 30);
  const left = filledRows(set, 30, hot);
  reaper.add(set);
  await run(1000);
  for (const row of left) set.flag(row, UNMAPPED | STALE);
  await run(1000);
  assert.equal(reaper.stats().residentPages.unmapped, 30 * ROW_PAGES, 'as long as there is room');
  assert.equal(reaper.stats().objectCount, 30);
  leaveFree(4);
  await run(3000, () => left.forEach((row) => set.access(row, 0)));
  assert.ok(set.evictedRows().length >= 10);
  assert.ok(set.evictedRows().every((row) => left.includes(row)));
  // Those that were evicted were used again above, as by a read under way. Now nothing can stay.
  machine.otherBytes = 99 * MIB;
  await run(20_000);
  const forgotten = set.calls.flatMap(({ name, rows }) => (name === 'forget' ? rows : []));
  assert.deepEqual(
    forgotten.toSorted((a, b) => a - b),
    left,
  );
  assert.ok(used.every((row) => set.has(row, IN_USE)));
});

test('what the kernel took of a row of no map is noticed, and the row forgotten', async () => {
  const { set, reaper, run } = rig();
  const [row] = filledRows(set, 1, cold, UNMAPPED) as [number];
  reaper.add(set);
  await run(2000);
  set.drop(row);
  set.flag(row, STALE);
  await run(5000);
  assert.equal(set.has(row, IN_USE), false);
});

test('a view that is used gets a second chance; one that is not does not', async () => {
  const { set, reaper, run, leaveFree } = rig();
  const rows = filledRows(set, 60, cold, SHOWN);
  const busy = rows.filter((row) => row % 3 === 0);
  reaper.add(set);
  const use = (): void => busy.forEach((row) => void set.touch(row, row % ROW_PAGES));
  await run(30_000, use);
  // By the API alone, those that are busy in views have been idle the longest.
  for (const row of rows) if (!busy.includes(row)) set.access(row, 0);
  await run(5000, use);
  for (let i = 0; i < 5; i++) {
    leaveFree(11);
    // oxlint-disable-next-line no-await-in-loop -- one step after another
    await run(5000, use);
  }
  const evicted = set.evictedRows();
  assert.ok(evicted.length >= 20, `${evicted.length} were evicted`);
  assert.deepEqual(
    evicted.filter((row) => busy.includes(row)),
    [],
  );
  // Each was watched for a while, and then looked at, before it went.
  for (const row of evicted) {
    const of = (name: string) =>
      set.calls.findLast((call) => call.name === name && call.rows.includes(row))!.atMs;
    assert.ok(of('zap') < of('touched') && of('touched') <= of('evict'));
  }
  assert.ok(set.calls.some(({ name }) => name === 'touched'));
});

test('an emergency does not wait: cold and warm go at once, hot that was just used and pinned stay', async () => {
  const { set, reaper, run, leaveFree } = rig({ limitMib: 120 });
  const rows = [cold, warm, hot, pinned].map((temperature) =>
    filledRows(set, 20, temperature, SHOWN),
  );
  reaper.add(set);
  const use = (): void => rows.flat().forEach((row) => void set.access(row, 0));
  await run(5000, use);
  assert.deepEqual(set.evictedRows(), []);
  leaveFree(1);
  const from = set.calls.length;
  await run(400, () => {
    use();
    leaveFree(1);
  });
  const evicted = new Set(set.evictedRows());
  assert.deepEqual(
    [...evicted].toSorted((a, b) => a - b),
    [...rows[0]!, ...rows[1]!],
  );
  const names = new Set(set.calls.slice(from).map(({ name }) => name));
  assert.ok(names.has('evict') && !names.has('touched'), 'nobody was looked at');
  // 2.5 seconds without a use are enough for hot ones.
  await run(4000, () => leaveFree(0));
  assert.equal(new Set(set.evictedRows()).size, 60);
  assert.equal(set.cachedPages(), 20 * ROW_PAGES);
});

test('what is read ahead and not yet used is not evicted before what is idle', async () => {
  const { set, reaper, run, leaveFree } = rig();
  const idle = filledRows(set, 40);
  reaper.add(set);
  await run(10_000, () => idle.forEach((row) => void set.access(row, 0)));
  await run(6000);
  const fresh = filledRows(set, 10);
  await run(400);
  leaveFree(12);
  await run(1000);
  const evicted = set.evictedRows();
  assert.ok(evicted.length >= 3 && evicted.every((row) => !fresh.includes(row)), String(evicted));
});

test('somebody else’s page cache does not empty ours', async () => {
  const { set, reaper, run, machine } = rig();
  filledRows(set, 60);
  reaper.add(set);
  await run(5000);
  for (let i = 0; i <= 40; i++) {
    machine.foreignCacheBytes = i * MIB;
    // oxlint-disable-next-line no-await-in-loop -- one step after another
    await run(500);
  }
  assert.deepEqual(set.evictedRows(), [], 'the group is full, of log files');
  machine.foreignCacheBytes = 0;
  machine.otherBytes = 30 * MIB;
  await run(5000);
  assert.equal(set.evictedRows().length, 6, 'of heap it is not');
});

test('objects that are used again within a minute were evicted in vain, and are counted', async () => {
  const { set, reaper, run, leaveFree, machine } = rig();
  filledRows(set, 60);
  reaper.add(set);
  await run(20_000);
  leaveFree(10);
  await run(2000);
  const [again, later] = set.evictedRows();
  assert.ok(set.evictedRows().length >= 5);
  machine.otherBytes = 0;
  set.access(again!, 0);
  await run(61_000);
  set.access(later!, 0);
  await run(2000);
  assert.equal(reaper.stats().refaultedObjects, 1);
  await reaper.remove(set);
  assert.equal(reaper.stats().refaultedObjects, 1, 'nor forgotten with the set');
});

test('a row that is another object’s begins anew', async () => {
  const { set, reaper, run, leaveFree } = rig();
  const [row, other] = filledRows(set, 70) as [number, number];
  reaper.add(set);
  for (let i = 0; i < 1000; i++) set.access(row, 0);
  await run(20_000);
  // Freed and used again between two rounds; the count of accesses begins at 0.
  const chunk = set.chunkOf(row);
  chunk.hits[row] = 0;
  chunk.seenHits[row] = 0;
  chunk.hitsPerSecond[row] = 0;
  // And one whose counter runs over.
  set.chunkOf(other).hits[other] = 2 ** 32 - 1;
  set.chunkOf(other).seenHits[other] = 2 ** 32 - 1;
  await run(500);
  set.access(other, 0);
  await run(500);
  assert.ok(chunk.idleSinceMs[row]! > 20_000);
  assert.ok(chunk.hitsPerSecond[row] < 1 && chunk.hitsPerSecond[other]! < 1);
  leaveFree(12);
  await run(600);
  const evicted = set.evictedRows();
  assert.ok(evicted.length > 0 && !evicted.includes(row) && !evicted.includes(other));
});
