// Goal: simulated time runs events in due order, alone, and never by itself for ever.
// Method: scripts of timers and work, and the order in which they were seen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimClock } from '../../src/testing/index.ts';

function sleep(clock: SimClock, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.after(delayMs, resolve));
}

test('events run in due order, ties in scheduling order, and time is theirs', async () => {
  const clock = new SimClock({ wallMs: 5000 });
  const seen: [string, number][] = [];
  for (const [name, delayMs] of [
    ['c', 30],
    ['a', 10],
    ['b', 10],
    ['d', 3_600_000],
  ] as const) {
    clock.after(delayMs, () => seen.push([name, clock.monotonicMs()]));
  }
  const before = Date.now();
  await sleep(clock, 3_600_001);
  assert.deepEqual(seen, [
    ['a', 10],
    ['b', 10],
    ['c', 30],
    ['d', 3_600_000],
  ]);
  assert.equal(clock.wallMs(), 5000 + 3_600_001);
  assert.ok(Date.now() - before < 10_000, 'an hour passes at once');
});

test('promise reactions to one event run before the next event', async () => {
  const clock = new SimClock();
  const seen: string[] = [];
  clock.after(1, () => {
    void Promise.resolve()
      .then(() => {})
      .then(() => seen.push('reaction'));
  });
  clock.after(1, () => seen.push('second'));
  await sleep(clock, 2);
  assert.deepEqual(seen, ['reaction', 'second']);
});

test('a cancelled timer does not run', async () => {
  const clock = new SimClock();
  let ran = false;
  const timer = clock.after(1, () => (ran = true));
  timer.cancel();
  timer.cancel();
  await sleep(clock, 5);
  assert.equal(ran, false);
});

test('without autoAdvance timers wait for advance()', async () => {
  const clock = new SimClock({ autoAdvance: false });
  const seen: number[] = [];
  clock.after(10, () => {
    seen.push(10);
    clock.after(5, () => seen.push(15));
  });
  clock.after(20, () => seen.push(20));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(seen, []);
  await clock.advance(9);
  assert.deepEqual(seen, []);
  await clock.advance(7);
  assert.deepEqual(seen, [10, 15]);
  assert.equal(clock.monotonicMs(), 16);
});

test('a periodic timer stands still after a while, and goes on with work', async () => {
  const clock = new SimClock();
  let ticks = 0;
  const tick = (): void => {
    ticks++;
    clock.after(1000, tick);
  };
  tick();
  let before = -1;
  while (ticks !== before) {
    before = ticks;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(ticks > 100 && ticks < 100_000);
  await clock.advance(5500);
  assert.ok(ticks >= before + 5);
});

test('timers that lead only to chores stand still as well', async () => {
  const clock = new SimClock();
  let rounds = 0;
  const round = (): void => {
    rounds++;
    clock.schedule(1, () => clock.after(1000, round), 'chore');
  };
  round();
  let before = -1;
  while (rounds !== before) {
    before = rounds;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(rounds > 100 && rounds < 100_000);
  await clock.advance(5500);
  assert.ok(rounds >= before + 5);
});

test('a timer may be told to keep the simulation going', async () => {
  const clock = new SimClock({ autoAdvance: false });
  await new Promise<void>((resolve) => void clock.after(1000, resolve, true));
  assert.equal(clock.monotonicMs(), 1000);
});

test('the wall clock may jump; monotonic time does not', () => {
  const clock = new SimClock({ wallMs: 1_000_000 });
  clock.jumpWall(-999_000);
  assert.equal(clock.wallMs(), 1000);
  assert.equal(clock.monotonicMs(), 0);
});
