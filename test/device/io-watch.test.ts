// Goal: an operation is called slow when it has been under way for longer than it may, not before, whatever else
// begins and ends meanwhile; and watching costs a timer only while something is in flight.
// Method: random operations on a simulated clock, against a list that is looked through at every moment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../src/base/clock.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { IoWatch, type WatchedIo } from '../../src/device/io-watch.ts';

const SEED = Number(process.env['SEED'] ?? 11);
const SLOW_MS = 4000;

test(`what is slow is told, once, and that it is over, SEED=${SEED}`, () => {
  const prng = new SeededPrng(SEED);
  let nowMs = 0;
  let timers: { atMs: number; callback: () => void }[] = [];
  const clock: Clock = {
    wallMs: () => nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, callback) {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.push(timer);
      return { cancel: () => (timers = timers.filter((each) => each !== timer)) };
    },
  };
  let told: string[] = [];
  const watch = new IoWatch(clock, SLOW_MS, {
    slow: (operation) => told.push(operation),
    answered: () => told.push('answered'),
  });
  const open: { io: WatchedIo; sinceMs: number; name: string }[] = [];
  const known = new Set<string>();
  let slowSeen = 0;
  for (let step = 0; step < 20_000; step++) {
    const isIdlePhase = step % 4000 > 3500;
    if (!isIdlePhase && below(prng, 3) > 0 && open.length < 40) {
      const io = watch.began('read', step, 512);
      open.push({ io, sinceMs: nowMs, name: `byte ${step} ` });
    } else if (open.length > 0) {
      const at = below(prng, 5) === 0 ? below(prng, open.length) : open.length - 1;
      const [{ io, name }] = open.splice(at, 1) as [(typeof open)[0]];
      const wasLast = known.delete(name) && known.size === 0;
      watch.ended(io);
      assert.deepEqual(told, wasLast ? ['answered'] : []);
      told = [];
    }
    nowMs += below(prng, isIdlePhase ? 900 : 90);
    assert.ok(timers.length <= 1, 'one timer, however many operations');
    for (const { callback } of timers.splice(0).filter((timer) => fires(timer))) callback();
    for (const each of told.splice(0)) {
      const slow = open.find(({ name }) => each.includes(name))!;
      assert.ok(nowMs - slow.sinceMs >= SLOW_MS, `${each} after ${nowMs - slow.sinceMs} ms`);
      assert.ok(!known.has(slow.name), 'once');
      known.add(slow.name);
      slowSeen += 1;
    }
    for (const { sinceMs, name } of open) {
      // A quarter for the look it began before, one for the look that is next, and a late timer.
      if (nowMs - sinceMs > 1.5 * SLOW_MS + 1000) assert.ok(known.has(name), `${name} is slow`);
    }
    assert.equal(watch.slowCount, known.size);
  }
  assert.ok(slowSeen > 20, `${slowSeen} were slow`);

  function fires(timer: (typeof timers)[0]): boolean {
    if (timer.atMs <= nowMs) return true;
    timers.push(timer);
    return false;
  }
});
