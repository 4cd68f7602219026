// Goal: the law of pressure is the original's, to the last digit, and what was added to it does what it is for.
// Method: tables worked out by hand from the original's formulas; small machines of round numbers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GIB, MIB, PAGE_BYTES } from '../../src/base/units.ts';
import type { MemoryLevel, MemorySample } from '../../src/device/memory-gauge.ts';
import { delayMicros, isDuress, judge } from '../../src/mcache/reaper-pressure.ts';
import type { Holding, LimitName } from '../../src/mcache/reaper-pressure.ts';
import { DEFAULT_WISHES, machinePercent } from '../../src/mcache/reaper-settings.ts';
import type { Wishes } from '../../src/mcache/reaper-settings.ts';

function level(totalBytes: number, freeBytes: number, cacheBytes: number): MemoryLevel {
  return { totalBytes, freeBytes, cacheBytes, otherBytes: totalBytes - freeBytes - cacheBytes };
}

/** A machine where so much is free, and all page cache is ours. */
function machineOf(heldPages: number, freePages: number): [MemorySample, Holding] {
  const held = heldPages * PAGE_BYTES;
  const machine = level(64 * GIB, freePages * PAGE_BYTES, held);
  return [{ machine }, { evictableBytes: held, pinnedBytes: 0 }];
}

const PLENTY = level(1024 * GIB, 1000 * GIB, 0);

/** A container with so much of MiB. */
function containerOf(mib: {
  limit: number;
  heap: number;
  held: number;
  foreign?: number;
  pinned?: number;
}): [MemorySample, Holding] {
  const cache = mib.held + (mib.foreign ?? 0) + (mib.pinned ?? 0);
  const free = Math.max(0, mib.limit - mib.heap - cache);
  return [
    {
      machine: PLENTY,
      group: { ...level(mib.limit * MIB, free * MIB, cache * MIB), path: '/', version: 2 },
    },
    { evictableBytes: mib.held * MIB, pinnedBytes: (mib.pinned ?? 0) * MIB },
  ];
}

function wishes(changes: Partial<Wishes> = {}): Wishes {
  return { ...DEFAULT_WISHES, ...changes };
}

const PRESSED = new Set<LimitName>(['machine', 'group', 'budget']);

test('the machine, by the original’s table: free share, pressure, time-to-live, delay', () => {
  // [percent, T, F, pressing before, free share, pressure, ttl of 10 s in ms, delay in µs]
  // At 85 %: low = 1500, high = 1500 × 1.03 = 1545. At 40 %: 6000, 6180. At 5 %: 9500, 9785 → 9700.
  const table: [number, number, number, boolean, number, number, number, number][] = [
    [85, 8000, 2000, false, 2000, 0, 10_000, 0],
    [85, 8000, 2000, true, 2000, 0, 10_000, 0],
    [85, 8455, 1545, true, 1545, 0, 10_000, 0],
    // Between the watermarks it goes on, but does not begin.
    [85, 8500, 1500, false, 1500, 0, 10_000, 0],
    [85, 8500, 1500, true, 1500, 292, 10_000, 0],
    [85, 8501, 1499, false, 1499, 298, 10_000, 0],
    [85, 8600, 1400, false, 1400, 939, 2.5e9 / 939 ** 2, 0],
    [85, 9000, 1000, false, 1000, 3528, 2.5e9 / 3528 ** 2, 500_000 / 6473 - 49],
    [85, 9900, 100, false, 100, 9353, 2.5e9 / 9353 ** 2, 500_000 / 648 - 49],
    [85, 10_000, 0, false, 0, 10_000, 25, 3000],
    [40, 4000, 6000, false, 6000, 0, 10_000, 0],
    [40, 4000, 6000, true, 6000, 292, 10_000, 0],
    [40, 7000, 3000, false, 3000, 5146, 2.5e9 / 5146 ** 2, 500_000 / 4855 - 49],
    [5, 300, 9700, true, 9700, 0, 10_000, 0],
    [5, 501, 9499, false, 9499, 208, 10_000, 0],
    // Divisions cut off what is left: 10000 - 3333.
    [40, 1, 2, false, 6667, 0, 10_000, 0],
    [100, 10_000, 0, true, 10_000, 0, 10_000, 0],
  ];
  for (const [percent, held, free, before, freeShare, pressure, ttlMs, delay] of table) {
    const [sample, holding] = machineOf(held, free);
    const asked = wishes({ memoryPercent: percent });
    const result = judge(sample, holding, asked, before ? PRESSED : undefined);
    const row = `${percent} % T=${held} F=${free} ${before ? 'pressing' : ''}`;
    assert.equal(result.freeShare, freeShare, row);
    assert.equal(result.pressure, pressure, row);
    assert.ok(Math.abs(result.ttlMs - ttlMs) < 1e-9 * ttlMs, row);
    assert.ok(Math.abs(delayMicros(pressure) - delay) < 1e-9, row);
    assert.deepEqual([...result.pressing], pressure > 0 ? ['machine'] : [], row);
  }
});

test('delays begin at a third of the way, and end at 3 ms', () => {
  assert.equal(delayMicros(3332), 0);
  assert.ok(Math.abs(delayMicros(3333) - (500_000 / 6668 - 49)) < 1e-9);
  assert.ok(delayMicros(9837) < 3000);
  assert.equal(delayMicros(9838), 3000);
});

test('read-ahead is cut by the original’s rule of pressure and temperature', () => {
  const table: [number, boolean, boolean][] = [
    [0, false, false],
    [1499, false, false],
    [1500, true, false],
    [3000, true, false],
    [3001, true, true],
    [10_000, true, true],
  ];
  for (const [pressure, cold, warm] of table) {
    assert.equal(isDuress(pressure, 'cold'), cold);
    assert.equal(isDuress(pressure, 'warm'), warm);
    assert.equal(isDuress(pressure, 'hot') || isDuress(pressure, 'pinned'), false);
  }
});

test('what is evicted in a round brings free memory to the high watermark, where it ends', () => {
  const [sample, holding] = machineOf(8600, 1400);
  const { neededBytes } = judge(sample, holding, wishes({ memoryPercent: 85 }));
  assert.equal(neededBytes, 145 * PAGE_BYTES, '1545 of 10,000 pages');
  const [after, held] = machineOf(8600 - 145, 1400 + 145);
  assert.equal(judge(after, held, wishes({ memoryPercent: 85 }), PRESSED).pressure, 0);
});

test('the machine’s percentage falls to its size, the container’s is 85, and a wish holds for both', () => {
  const sizes = [1, 32, 33, 64, 65, 128, 129, 256, 257].map((gib) => machinePercent(gib * GIB));
  assert.deepEqual(sizes, [40, 40, 60, 60, 75, 75, 87, 87, 90]);
  const [idle, held] = containerOf({ limit: 1000, heap: 100, held: 740 });
  assert.equal(judge(idle, held, wishes()).pressure, 0, '840 of 1000 are used');
  const [tight, more] = containerOf({ limit: 1000, heap: 100, held: 760 });
  const judgement = judge(tight, more, wishes());
  assert.deepEqual([judgement.limit, judgement.freeShare], ['group', 1400]);
  assert.equal(judgement.pressure, 939, 'the same law');
  assert.equal(judgement.neededBytes, 14.5 * MIB);
  assert.equal(judge(tight, more, wishes({ memoryPercent: 87 })).pressure, 0);
  assert.ok(judge(idle, held, wishes({ memoryPercent: 80 })).pressure > 0);
  assert.equal(judge(tight, more, wishes({ memoryPercent: 100 })).pressure, 0);
});

test('page cache of others is as good as free, pinned pages are not', () => {
  const [logs, held] = containerOf({ limit: 1000, heap: 100, held: 200, foreign: 700 });
  assert.equal(judge(logs, held, wishes()).freeShare, 7000, 'somebody writes log files');
  const [pinned, holding] = containerOf({ limit: 1000, heap: 100, held: 100, pinned: 700 });
  const judgement = judge(pinned, holding, wishes());
  assert.equal(judgement.freeShare, 1000);
  assert.ok(judgement.pressure > 0 && judgement.neededBytes < 100 * MIB);
  const machine = level(100 * GIB, 10 * GIB, 50 * GIB);
  const ours = { evictableBytes: 20 * GIB, pinnedBytes: 5 * GIB };
  // 10 free and 25 of others; of the 55 with ours.
  assert.equal(judge({ machine }, ours, wishes()).freeShare, 10_000 - Math.floor((20 / 55) * 1e4));
});

test('small containers: beside a heap that takes nearly all, half of what it leaves stays ours', () => {
  // 256 MiB with a heap of 80: 137.6 MiB of cache until 85 % are used.
  const [usual, held] = containerOf({ limit: 256, heap: 80, held: 137 });
  assert.equal(judge(usual, held, wishes()).pressure, 0);
  const [full, fuller] = containerOf({ limit: 256, heap: 80, held: 140 });
  assert.ok(judge(full, fuller, wishes()).pressure > 0);
  // A heap of 226 alone is more than 85 %. Of the 30 MiB left, 15 may be cached.
  const [crowded, little] = containerOf({ limit: 256, heap: 226, held: 14 });
  assert.equal(judge(crowded, little, wishes()).pressure, 0);
  const [beyond, less] = containerOf({ limit: 256, heap: 226, held: 18 });
  const judgement = judge(beyond, less, wishes());
  assert.ok(judgement.pressure > 0 && judgement.neededBytes < 4 * MIB);
  const [over, none] = containerOf({ limit: 256, heap: 260, held: 0 });
  assert.equal(judge(over, none, wishes()).pressure, 0, 'nothing that we could help');
});

test('a budget holds whatever is free, and the tightest of all limits decides', () => {
  const budgetBytes = 1000 * MIB;
  const [sample] = containerOf({ limit: 100_000, heap: 0, held: 951 });
  const at = (held: number, before?: ReadonlySet<LimitName>) =>
    judge(sample, { evictableBytes: held * MIB, pinnedBytes: 0 }, wishes({ budgetBytes }), before);
  assert.equal(at(950).pressure, 0);
  assert.deepEqual([at(951).limit, at(951).pressure > 0], ['budget', true]);
  assert.equal(at(951).neededBytes, Math.floor(2.5 * MIB), 'until 948.5 are held');
  assert.equal(at(1200).pressure, 10_000);
  assert.equal(at(1200).emergency, true);
  assert.equal(at(1200).neededBytes, 251.5 * MIB);
  const ever = judge(
    sample,
    { evictableBytes: budgetBytes, pinnedBytes: 0 },
    {
      ...wishes({ budgetBytes }),
      memoryPercent: 100,
    },
  );
  assert.ok(ever.pressure > 0, 'also when the share of memory is no matter');
  // Both press: the harder one names the limit, the larger need is met.
  const [tight, holding] = containerOf({ limit: 1000, heap: 250, held: 700 });
  const both = judge(tight, holding, wishes({ budgetBytes: 710 * MIB }));
  assert.deepEqual([both.limit, [...both.pressing].toSorted()], ['budget', ['budget', 'group']]);
  assert.ok(Math.abs(both.neededBytes - 104.5 * MIB) < MIB, 'of the group');
  // A limit that has ended does not go on because another presses.
  const [between, more] = containerOf({ limit: 1000, heap: 100, held: 748 });
  assert.equal(judge(between, more, wishes(), new Set(['budget'])).pressure, 0);
  assert.ok(judge(between, more, wishes(), new Set(['group'])).pressure > 0);
});

test('an emergency is less than a quarter of the low watermark', () => {
  const at = (held: number) => judge(...containerOf({ limit: 10_000, heap: 100, held }), wishes());
  assert.equal(at(9524).emergency, false, '376 free');
  assert.equal(at(9526).emergency, true, '374 free');
});

test('stalls press when memory is half gone and a tenth of it is ours', () => {
  const stalled = (held: number, heap: number, stalledShare?: number) => {
    const [sample, holding] = containerOf({ limit: 1000, heap, held });
    return judge({ ...sample, stalledShare }, holding, wishes());
  };
  assert.equal(stalled(300, 300, undefined).pressure, 0);
  assert.equal(stalled(300, 300, 0.1).pressure, 0);
  const pressed = stalled(300, 300, 0.25);
  assert.deepEqual([pressed.pressure, pressed.emergency], [2500, false]);
  assert.equal(pressed.neededBytes, (300 * MIB) / 400);
  assert.ok(Math.abs(pressed.ttlMs - 400) < 1e-9);
  assert.equal(stalled(99, 700, 0.5).pressure, 0, 'not our doing');
  assert.equal(stalled(300, 199, 0.5).pressure, 0, 'there is enough: another’s limit it must be');
  assert.ok(stalled(700, 280, 0.2).pressure > 9000 - 1500, 'what counting says is not lessened');
});

test('shares stay in bounds for any numbers', () => {
  for (const limit of [0.001, 1, 3, 1e7]) {
    for (const heap of [0, 1, 2, 1e8]) {
      for (const held of [0, 1, 1e8]) {
        const [sample, holding] = containerOf({ limit, heap, held });
        const result = judge(sample, holding, wishes({ budgetBytes: MIB }), PRESSED);
        assert.ok(result.pressure >= 0 && result.pressure <= 10_000, JSON.stringify(result));
        assert.ok(result.freeShare >= 0 && result.freeShare <= 10_000);
        assert.ok(result.ttlMs >= 25 && result.ttlMs <= 10_000);
        assert.ok(result.neededBytes >= 0 && result.neededBytes <= held * MIB);
      }
    }
  }
});
