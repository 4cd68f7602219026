// Goal: rounds come when they should, in small pieces, and nothing that goes wrong around them stops them.
// Method: a simulated machine and clock; when the gauge was read, what was called when, how many rows at a time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { Reaper } from '../../src/mcache/reaper.ts';
import { CHUNK_ROWS, IN_USE, SHOWN, STALE } from '../../src/mcache/resident-set.ts';
import type { Eviction, ReaperStats } from '../../src/pool/map-api.ts';
import { SimClock } from '../../src/testing/index.ts';
import { FakeMachine, FakeSet, TEMPERATURE } from './reaper-machine.ts';
import { rig, ROW_PAGES } from './reaper-rig.ts';

type Rig = ReturnType<typeof rig>;

/** A machine with 60 of 100 MiB in rows that nobody uses. */
function filled(options: Parameters<typeof rig>[0] = {}): Rig {
  const made = rig(options);
  for (let i = 0; i < 60; i++) made.set.fill(made.set.addRow(ROW_PAGES));
  made.reaper.add(made.set);
  return made;
}

/** When the gauge was read. */
function readTimes({ machine, clock }: Rig): number[] {
  const times: number[] = [];
  const read = machine.read.bind(machine);
  machine.read = () => {
    times.push(clock.monotonicMs());
    return read();
  };
  return times;
}

function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((at, i) => at - times[i]!);
}

test('three rounds a second while nothing presses, 20 to 50 while it does', async () => {
  const machine = filled();
  const times = readTimes(machine);
  await machine.run(10_000);
  assert.ok(times.length >= 28 && times.length <= 31, `${times.length} in 10 s`);
  assert.equal(machine.reaper.stats().rounds, times.length);
  times.length = 0;
  // Pinned, so that pressure stays.
  for (let row = 0; row < 60; row++) machine.set.chunkOf(row).temperature[row] = TEMPERATURE.pinned;
  const extra = machine.set.addRow(ROW_PAGES, TEMPERATURE.hot);
  machine.set.fill(extra);
  machine.leaveFree(14);
  await machine.run(5000, () => machine.set.access(extra, 0));
  const slow = gaps(times.slice(2));
  assert.ok(
    slow.every((ms) => ms > 45 && ms < 60),
    String(slow),
  );
  machine.leaveFree(2);
  times.length = 0;
  await machine.run(2000, () => machine.set.access(extra, 0));
  const fast = gaps(times.slice(3));
  assert.ok(
    fast.every((ms) => ms >= 20 && ms < 30),
    String(fast),
  );
});

test('the faster memory goes, the sooner is the next round', async () => {
  const { set, reaper, run, used } = rig();
  for (let i = 0; i < 200; i++) set.addRow(ROW_PAGES);
  reaper.add(set);
  await run(1000);
  // 200 MiB a second: a round each third of a second would come 67 MiB late.
  let next = 0;
  let most = 0;
  await run(900, () => {
    set.fill(next++);
    most = Math.max(most, used());
  });
  assert.ok(set.evictedRows().length > 50);
  assert.ok(most < 0.97, `${most} of the limit was used`);
});

test('a round a second where nothing could be evicted, none without rows, nothing without sets', async () => {
  const made = filled();
  const times = readTimes(made);
  made.reaper.configure({ memoryPercent: 100 });
  await made.run(10_000);
  assert.ok(times.length >= 9 && times.length <= 12, `${times.length} in 10 s`);
  made.reaper.configure({ budgetBytes: 1000 * MIB });
  times.length = 0;
  await made.run(10_000);
  assert.ok(times.length >= 28, 'a budget may be passed');

  for (let row = 0; row < 60; row++) made.set.chunkOf(row).flags[row] = 0;
  await made.run(1000);
  times.length = 0;
  const { rounds } = made.reaper.stats();
  await made.run(10_000);
  assert.equal(made.reaper.stats().rounds, rounds);
  assert.deepEqual(times, []);
  // Rows are noticed by themselves, and at once when something is read.
  made.set.chunkOf(0).flags[0] = IN_USE;
  await made.run(1100);
  assert.ok(times.length > 0);
  made.set.chunkOf(0).flags[0] = 0;
  await made.run(2000);
  made.set.chunkOf(0).flags[0] = IN_USE;
  times.length = 0;
  made.reaper.delayMs();
  await made.run(5);
  assert.equal(times.length, 1);

  await made.reaper.remove(made.set);
  times.length = 0;
  await made.run(10_000);
  assert.deepEqual(times, []);
});

test('files of the gauge are let go of when there is nothing to watch', async () => {
  const made = filled();
  let releases = 0;
  Object.assign(made.machine, { release: async () => void (releases += 1) });
  await made.run(1000);
  assert.equal(releases, 0);
  for (let row = 0; row < 60; row++) made.set.chunkOf(row).flags[row] = 0;
  await made.run(5000);
  assert.equal(releases, 1, 'once');
  await made.reaper.remove(made.set);
  assert.ok(releases >= 1);
});

test('turned off it does nothing; turned on again it goes on', async () => {
  const { set, reaper, run, leaveFree, machine } = filled({ variable: 'off' });
  assert.equal(reaper.settings.enabled, false);
  leaveFree(0);
  await run(20_000, () => {
    assert.equal(reaper.delayMs(), 0);
    assert.equal(reaper.readAheadPages(100, 'cold'), 100);
  });
  const names = new Set(set.calls.map(({ name }) => name));
  assert.ok(!names.has('evict') && !names.has('zap'));
  assert.equal(machine.reads, 0, 'not even asked');
  assert.equal(reaper.stats().pressure, 0);
  reaper.configure({ enabled: true });
  await run(2000);
  assert.ok(set.evictedRows().length >= 10);
  const evicted = set.evictedRows().length;
  reaper.configure({ enabled: false });
  assert.equal(reaper.stats().pressure, 0, 'at once');
  leaveFree(0);
  await run(5000);
  assert.equal(set.evictedRows().length, evicted);
});

test('settings can be changed at any time, and hold at once', async () => {
  const { set, reaper, run } = filled();
  await run(5000);
  assert.deepEqual(reaper.settings, {
    enabled: true,
    memoryPercent: 85,
    ttlMs: 10_000,
    budgetBytes: undefined,
    highWatermarkFactor: 1.03,
  });
  assert.deepEqual(set.evictedRows(), []);
  reaper.configure({ memoryPercent: 50 });
  assert.equal(reaper.settings.memoryPercent, 50);
  await run(3000);
  assert.equal(set.evictedRows().length, 12, '60 MiB, of which 51.5 leave enough free');
  assert.equal(reaper.stats().limit, 'group');
  reaper.configure({ budgetBytes: 30 * MIB });
  await run(3000);
  const held = set.cachedPages() / ROW_PAGES;
  assert.ok(held <= 29 && held >= 27, `${held} MiB are held`);
  assert.throws(() => reaper.configure({ memoryPercent: 3 }), RangeError);
  assert.equal(reaper.settings.memoryPercent, 50);
  assert.throws(() => Object.assign(reaper.settings, { ttlMs: 1 }), TypeError);
});

test('what the variable says wrong is told when something is mapped, not before', () => {
  const clock = new SimClock();
  const set = new FakeSet(clock);
  const reaper = new Reaper({ clock, gauge: new FakeMachine(set), variable: 'memoryPercent=3' });
  assert.equal(reaper.settings.enabled, true);
  assert.equal(reaper.stats().rounds, 0);
  const fault = { name: 'RangeError', message: /MPOOL_REAPER.*memoryPercent/ };
  assert.throws(() => reaper.add(set), fault);
  assert.throws(() => reaper.add(set), fault, 'each time');
});

test('a set that is removed in mid-round is left alone from then on, and waited for', async () => {
  for (const name of ['count', 'evict', 'zap', 'touched'] as const) {
    const { set, sets, reaper, run, leaveFree } = filled({ sets: 2 });
    const other = sets[1]!;
    for (let i = 0; i < 20; i++) other.fill(other.addRow(ROW_PAGES));
    for (let row = 0; row < 60; row++) if (row % 2 === 0) set.flag(row, SHOWN);
    let removal: Promise<void> | undefined;
    let busy = 0;
    let busyAtRemoval = -1;
    const work = set[name].bind(set) as (rows: readonly number[]) => Promise<never>;
    Object.assign(set, {
      [name]: async (rows: readonly number[]) => {
        busy += 1;
        removal ??= reaper.remove(set).then(() => {
          busyAtRemoval = busy;
          // Else they would be others' page cache, and as good as free.
          for (let row = 0; row < 60; row++) set.drop(row);
        });
        const result = await work(rows);
        busy -= 1;
        return result;
      },
    });
    reaper.add(other);
    leaveFree(14);
    // oxlint-disable-next-line no-await-in-loop -- one case after another
    await run(20_000, () => leaveFree(8));
    assert.ok(removal !== undefined, `${name} was called`);
    assert.equal(busyAtRemoval, 0, `${name} was over when remove() resolved`);
    const calls = set.calls.length;
    leaveFree(1);
    // oxlint-disable-next-line no-await-in-loop -- as above
    await run(5000);
    assert.equal(set.calls.length, calls);
    assert.ok(other.evictedRows().length > 0, 'the other set is still looked after');
    // oxlint-disable-next-line no-await-in-loop -- as above
    await reaper.remove(set);
  }
});

test('a set that fails, and a gauge that fails, cost only themselves a rest', async () => {
  const made = filled({ sets: 2 });
  const { set, sets, reaper, run, leaveFree, machine } = made;
  const other = sets[1]!;
  for (let i = 0; i < 20; i++) other.fill(other.addRow(ROW_PAGES));
  reaper.add(other);
  await run(2000);
  const count = set.count.bind(set);
  set.broken = true;
  let thrown = 0;
  set.count = (rows) => {
    // One that does not even give a promise.
    if (thrown++ === 0) throw new Error('closed');
    return count(rows);
  };
  for (let row = 0; row < 60; row++) set.flag(row, STALE);
  leaveFree(10);
  await run(10_000);
  assert.equal(thrown, set.failures + 1);
  assert.ok(thrown >= 5 && thrown <= 11, `${thrown} attempts in 10 s`);
  assert.ok(other.evictedRows().length >= 5, 'the other one gives what it has');
  machine.broken = true;
  leaveFree(2);
  const { length } = other.evictedRows();
  await run(5000);
  assert.equal(reaper.stats().pressure, 0, 'nothing is known');
  assert.equal(other.evictedRows().length, length);
  machine.broken = false;
  set.broken = false;
  await run(2000);
  leaveFree(2);
  await run(5000);
  assert.ok(set.evictedRows().length > 0);
});

test('events tell of pressure and evictions; what a listener throws stops nothing', async (t: TestContext) => {
  const warnings: Error[] = [];
  t.mock.method(process, 'emitWarning', (warning: Error) => void warnings.push(warning));
  const { set, reaper, run, leaveFree, machine } = filled();
  const pressures: number[] = [];
  const evictions: Eviction[] = [];
  const onPressure = (stats: ReaperStats): void => void pressures.push(stats.pressure);
  const onEvict = (eviction: Eviction): void => {
    evictions.push(eviction);
    throw new Error('mine');
  };
  reaper.on('pressure', onPressure).on('evict', onEvict);
  await run(3000);
  assert.deepEqual(pressures, []);
  leaveFree(12);
  await run(10_000);
  assert.ok(pressures[0]! > 0);
  assert.equal(pressures.at(-1), 0, 'it ended');
  for (const [i, pressure] of pressures.entries()) {
    const before = pressures[i - 1] ?? 0;
    const told = (before === 0) !== (pressure === 0);
    assert.ok(told || pressure >= 2 * before || pressure <= before / 2, String(pressures));
  }
  const total = evictions.reduce((sum, { pageCount }) => sum + pageCount, 0);
  assert.equal(total, reaper.stats().evictedPages);
  assert.equal(total, set.evictedRows().length * ROW_PAGES);
  assert.equal(warnings.length, evictions.length);
  assert.equal(warnings[0]!.message, 'mine');
  reaper.off('evict', onEvict).off('pressure', onPressure);
  machine.otherBytes = 60 * MIB;
  await run(5000);
  assert.equal(warnings.length, evictions.length);
});

test('reads are held up when nearly nothing is left, by the law in the mean; read-ahead is cut', async () => {
  const { set, reaper, run, leaveFree } = rig();
  // Nothing that could be evicted.
  for (let i = 0; i < 50; i++) set.fill(set.addRow(ROW_PAGES, TEMPERATURE.pinned));
  reaper.add(set);
  const mean = (): number => {
    let sum = 0;
    for (let i = 0; i < 20_000; i++) sum += reaper.delayMs();
    return sum / 20_000;
  };
  await run(1000);
  assert.equal(mean(), 0);
  assert.equal(reaper.readAheadPages(64, 'cold'), 64);
  leaveFree(12);
  await run(1000);
  assert.ok(reaper.stats().pressure > 0.15 && reaper.stats().pressure < 0.3);
  assert.equal(reaper.readAheadPages(64, 'cold'), 8);
  assert.equal(reaper.readAheadPages(64, 'warm'), 64);
  leaveFree(8);
  await run(1000);
  assert.ok(reaper.stats().pressure > 0.3333);
  assert.equal(mean(), 0, 'microseconds are nothing that a timer could wait');
  assert.equal(reaper.readAheadPages(64, 'warm'), 8);
  assert.equal(reaper.readAheadPages(5, 'warm'), 5);
  assert.equal(reaper.readAheadPages(64, 'hot'), 64);
  assert.equal(reaper.stats().shortenedReadAheads, 2);
  leaveFree(0.9);
  await run(1000);
  const pressure = Math.round(reaper.stats().pressure * 10_000);
  const leastMs = (500_000 / (10_001 - pressure) - 49) / 1000;
  assert.ok(leastMs > 0.5 && leastMs < 1, `${leastMs}`);
  assert.ok(Math.abs(mean() - 1.5 * leastMs) < 0.05, 'between once and twice as much');
  leaveFree(0);
  await run(1000);
  const delays = Array.from({ length: 1000 }, () => reaper.delayMs());
  assert.ok(delays.every((ms) => ms >= 3 && ms <= 6));
  const { delayedReads, delayedMs } = reaper.stats();
  assert.ok(delayedReads >= 1000 && delayedMs >= 3000);
});

test('100,000 rows are looked at in slices, with turns for others in between', async () => {
  const clock = new SimClock({ autoAdvance: false });
  const set = new FakeSet(clock);
  const machine = new FakeMachine(set);
  machine.limitBytes = 4096 * MIB;
  for (let i = 0; i < 100_000; i++) set.addRow(8);
  for (let row = 0; row < 100_000; row += 10) set.fill(row);
  machine.otherBytes = machine.limitBytes - machine.cachedBytes - 80 * MIB;
  const reaper = new Reaper({ clock, gauge: machine, variable: '' });
  // Rows are reached by their chunk: in each turn of the event loop the chunks reached are counted.
  const reached = new Set<string | symbol>();
  let most = 0;
  const chunks = new Proxy(set.chunks, {
    get(target, key): unknown {
      if (typeof key === 'string' && /^\d+$/.test(key)) reached.add(key);
      most = Math.max(most, reached.size);
      return Reflect.get(target, key);
    },
  });
  Object.assign(set, { chunks });
  reaper.add(set);
  let over = false;
  const turn = (): void => {
    reached.clear();
    if (!over) setImmediate(turn);
  };
  turn();
  await clock.advance(8000);
  over = true;
  assert.ok(reaper.stats().rounds > 10);
  assert.equal(reaper.stats().objectCount, 100_000);
  assert.ok(reaper.stats().evictedObjects > 1000);
  // A pass, the count and the watching may each have a slice in one turn; victims lie anywhere.
  const sliceChunks = 8192 / CHUNK_ROWS + 1;
  assert.ok(most >= sliceChunks, 'the count works');
  assert.ok(most <= 3 * sliceChunks + 4, `${most} chunks in a turn`);
  for (const { rows } of set.calls) assert.ok(rows.length <= 256);
});
