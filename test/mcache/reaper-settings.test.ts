// Goal: settings are what was asked for, or an error that says what is wrong and where it was said.
// Method: texts and objects, good and bad.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import { DEFAULT_WISHES, wishesOf, withChanges } from '../../src/mcache/reaper-settings.ts';
import type { Changes } from '../../src/mcache/reaper-settings.ts';

test('the variable says off, or any of the settings', () => {
  assert.deepEqual(wishesOf(undefined), DEFAULT_WISHES);
  assert.deepEqual(wishesOf(''), DEFAULT_WISHES);
  assert.deepEqual(wishesOf('off'), { ...DEFAULT_WISHES, enabled: false });
  assert.deepEqual(wishesOf('memoryPercent=85,ttlMs=5000,budget=1g,highWatermarkFactor=1.05'), {
    enabled: true,
    memoryPercent: 85,
    ttlMs: 5000,
    budgetBytes: GIB,
    highWatermarkFactor: 1.05,
  });
  assert.deepEqual(wishesOf(' off , ttlMs = 0.5 '), {
    ...DEFAULT_WISHES,
    enabled: false,
    ttlMs: 0.5,
  });
  const sizes: [string, number][] = [
    ['512m', 512 * MIB],
    ['1.5G', 1.5 * GIB],
    ['2048k', 2048 * KIB],
    ['4194304', 4 * MIB],
    ['3MiB', 3 * MIB],
  ];
  for (const [text, bytes] of sizes) assert.equal(wishesOf(`budget=${text}`).budgetBytes, bytes);
});

test('a variable that makes no sense is an error that names it', () => {
  for (const text of [
    'no',
    'memoryPercent',
    'memoryPercent=',
    'memoryPercent=4.9',
    'memoryPercent=101',
    'memoryPercent=85%',
    'ttlMs=-1',
    'ttlMs=0',
    'ttlMs=0x10',
    'budget=1000k',
    'budget=1t',
    'budget=9007199254740993g',
    'budget=x',
    'highWatermarkFactor=2.1',
    'memoryPercent=50=60',
    'percent=50',
    'off=1',
  ]) {
    assert.throws(
      () => wishesOf(text),
      (error: Error & { code?: string }) =>
        error instanceof RangeError &&
        error.code === 'ERR_MPOOL_INVALID_ARG' &&
        error.message.includes('MPOOL_REAPER') &&
        error.message.length > 'the variable MPOOL_REAPER: '.length,
      text,
    );
  }
});

test('changes are checked as a whole; what is undefined is as by default', () => {
  const before = withChanges(DEFAULT_WISHES, { memoryPercent: 50, budgetBytes: GIB });
  const after = withChanges(before, { memoryPercent: undefined, ttlMs: 7 });
  assert.deepEqual([after.memoryPercent, after.ttlMs, after.budgetBytes], [undefined, 7, GIB]);
  assert.equal(withChanges(before, { budgetBytes: undefined }).budgetBytes, undefined);
  assert.equal(withChanges(before, { enabled: false }).enabled, false);
  const bad: [Record<string, unknown> | null, string][] = [
    [{ memoryPercent: 4 }, 'RangeError'],
    [{ memoryPercent: Number.NaN }, 'RangeError'],
    [{ memoryPercent: '50' }, 'TypeError'],
    [{ ttlMs: 0.09 }, 'RangeError'],
    [{ ttlMs: Number.POSITIVE_INFINITY }, 'RangeError'],
    [{ highWatermarkFactor: 0.99 }, 'RangeError'],
    [{ budgetBytes: MIB - 1 }, 'RangeError'],
    [{ budgetBytes: 10n }, 'TypeError'],
    [{ enabled: 1 }, 'TypeError'],
    [{ toString: 1 }, 'RangeError'],
    [{ percent: 1 }, 'RangeError'],
    [null, 'TypeError'],
  ];
  for (const [changes, name] of bad) {
    const act = () => withChanges(before, changes as Changes);
    assert.throws(act, { name, code: 'ERR_MPOOL_INVALID_ARG' }, String(Object.keys(changes ?? {})));
  }
  assert.deepEqual([before.memoryPercent, before.ttlMs], [50, 10_000], 'nothing was changed');
});
