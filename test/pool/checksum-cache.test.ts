// Goal: the cache stays within its bound, keeps what is used, and forgets what it is told to.
// Method: by hand, then random use against a plain map.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { ChecksumCache, ENTRY_BYTES } from '../../src/pool/checksum-cache.ts';

test('what was used lately gets a second chance', () => {
  const cache = new ChecksumCache(4 * (40 + ENTRY_BYTES));
  for (let i = 0; i < 4; i++) cache.set(i, new Uint32Array(10).fill(i));
  assert.equal(cache.bytes, 4 * (40 + ENTRY_BYTES));
  assert.equal(cache.get(0)![0], 0);
  cache.set(4, new Uint32Array(10));
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((i) => cache.get(i) !== undefined),
    [true, false, true, true, true],
  );
  cache.delete(0);
  cache.delete(99);
  assert.equal(cache.bytes, 3 * (40 + ENTRY_BYTES));
});

test('the newest stays even when it alone is too large: a read under way needs it', () => {
  const cache = new ChecksumCache(0);
  cache.set(1, new Uint32Array(1000));
  assert.equal(cache.get(1)!.length, 1000);
  cache.set(2, new Uint32Array(1));
  assert.equal(cache.get(1), undefined);
  assert.equal(cache.get(2)!.length, 1);
  cache.set(2, new Uint32Array(3));
  assert.equal(cache.bytes, 12 + ENTRY_BYTES, 'replaced, not added');
});

test('random use keeps the bound, and never gives the wrong one', () => {
  const prng = new SeededPrng(21);
  const cache = new ChecksumCache(12_000);
  const truth = new Map<number, number>();
  for (let step = 0; step < 20_000; step++) {
    const index = below(prng, 60);
    const action = below(prng, 4);
    if (action === 0) {
      truth.set(index, step);
      cache.set(index, new Uint32Array(1 + below(prng, 100)).fill(step));
    } else if (action === 1 && below(prng, 5) === 0) {
      truth.delete(index);
      cache.delete(index);
    } else {
      const found = cache.get(index);
      if (found !== undefined) assert.equal(found[0], truth.get(index));
    }
    assert.ok(cache.bytes <= 12_000);
  }
});
