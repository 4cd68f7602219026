// Goal: the faults that are sown to try the tests follow the source. Method: each must still find its place, once,
// and the tests that are to catch it must exist; `npm run mutants` is what sows them.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { MUTANTS } from './index.ts';
import { staleMutants } from './stale.ts';

test('every fault can still be sown', () => {
  assert.ok(MUTANTS.length >= 200);
  assert.deepEqual(staleMutants(join(import.meta.dirname, '../../..')), []);
});
