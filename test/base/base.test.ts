// Goal: the smallest parts are right: units, bytes, UUIDs, random numbers, bounded work, clocks.
// Method: known values, limits, and laws on seeded random input.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equalBytes, formatUuid, isZero, parseUuid, viewOf } from '../../src/base/bytes.ts';
import { systemClock } from '../../src/base/clock.ts';
import { InFlight } from '../../src/base/in-flight.ts';
import { below, chance, randomUuid, SeededPrng, systemPrng } from '../../src/base/prng.ts';
import { isPowerOfTwo, pagesOf, roundDown, roundUp } from '../../src/base/units.ts';

test('rounding, pages and powers of two, beyond 32 bits too', () => {
  for (const [value, up, down] of [
    [0, 0, 0],
    [1, 4096, 0],
    [4096, 4096, 4096],
    [2 ** 40 + 1, 2 ** 40 + 4096, 2 ** 40],
  ] as const) {
    assert.equal(roundUp(value, 4096), up);
    assert.equal(roundDown(value, 4096), down);
    assert.equal(pagesOf(value), up / 4096);
  }
  for (const value of [1, 2, 4096, 2 ** 31, 2 ** 40, 2 ** 52])
    assert.ok(isPowerOfTwo(value), `${value}`);
  for (const value of [0, -1, -2, 3, 0.5, NaN, Infinity, 2 ** 53, 2 ** 40 + 1, '4', null]) {
    assert.ok(!isPowerOfTwo(value as number), `${value}`);
  }
});

test('UUIDs print and parse in byte order', () => {
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => i * 17);
  const text = '00112233-4455-6677-8899-aabbccddeeff';
  assert.equal(formatUuid(bytes), text);
  assert.deepEqual(parseUuid(text), bytes);
  assert.deepEqual(parseUuid(text.toUpperCase()), bytes);
  for (const wrong of [
    '',
    text.slice(1),
    `${text}0`,
    text.replaceAll('-', ''),
    ` ${text}`,
    text.replace('0', 'g'),
  ]) {
    assert.equal(parseUuid(wrong), undefined, wrong);
  }
  const prng = new SeededPrng(1);
  for (let i = 0; i < 100; i++) {
    const uuid = randomUuid(prng);
    assert.match(
      formatUuid(uuid),
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    assert.deepEqual(parseUuid(formatUuid(uuid)), uuid);
  }
});

test('bytes: equality, zeros, views into the middle of a buffer', () => {
  assert.ok(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  assert.ok(!equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1)));
  assert.ok(!equalBytes(Uint8Array.of(1), Uint8Array.of(2)));
  assert.ok(isZero(new Uint8Array(5)) && isZero(new Uint8Array(0)) && !isZero(Uint8Array.of(0, 1)));
  const view = viewOf(Uint8Array.of(9, 9, 1, 2, 9).subarray(2, 4));
  assert.deepEqual([view.byteLength, view.getUint16(0, true)], [2, 0x201]);
});

test('a seed gives the same numbers, seeds differ, and they are even enough', () => {
  const first = (seed: number): number[] => {
    const prng = new SeededPrng(seed);
    return Array.from({ length: 8 }, () => prng.u32());
  };
  assert.deepEqual(first(7), first(7));
  const seen = new Set(Array.from({ length: 1000 }, (_, seed) => first(seed)[0]));
  assert.ok(seen.size >= 999);
  const prng = new SeededPrng(3);
  const counts = Array(10).fill(0) as number[];
  let yes = 0;
  for (let i = 0; i < 20_000; i++) {
    counts[below(prng, 10)]!++;
    if (chance(prng, 0.25)) yes++;
  }
  assert.ok(
    counts.every((count) => count > 1800 && count < 2200),
    String(counts),
  );
  assert.ok(yes > 4700 && yes < 5300);
  assert.ok(!chance(prng, 0) && chance(prng, 1));
  const real = systemPrng.u32();
  assert.ok(Number.isInteger(real) && real >= 0 && real < 2 ** 32);
});

test('InFlight bounds what is under way and keeps the first error', async () => {
  const inFlight = new InFlight<Error>(3);
  let [running, most, done] = [0, 0, 0];
  const prng = new SeededPrng(4);
  for (let i = 0; i < 50; i++) {
    await inFlight.take();
    most = Math.max(most, ++running);
    const turns = below(prng, 5);
    const finish = (left: number): void => {
      if (left > 0) return void setImmediate(finish, left - 1);
      running--;
      done++;
      inFlight.settle(i === 20 || i === 30 ? new Error(`operation ${i}`) : null);
    };
    setImmediate(finish, turns);
  }
  await assert.rejects(inFlight.drained(), /operation (20|30)/);
  assert.deepEqual([most, done, running], [3, 50, 0]);
  await new InFlight(1).drained();
});

test('the system clock does not go back, and its timers can be cancelled', async () => {
  const before = systemClock.monotonicMs();
  assert.ok(systemClock.wallMs() > Date.UTC(2024, 0, 1));
  let fired = '';
  const cancelled = systemClock.after(1, () => (fired += 'cancelled'));
  cancelled.cancel();
  const keepAlive = setTimeout(() => {}, 1000);
  await new Promise<void>(
    (resolve) => void systemClock.after(5, () => ((fired += 'fired'), resolve())),
  );
  clearTimeout(keepAlive);
  assert.equal(fired, 'fired');
  assert.ok(systemClock.monotonicMs() >= before);
});
