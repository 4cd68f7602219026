// Goal: the same seed gives the same run, to the last byte of every operation (I17).
// Method: pool lifetimes with crashes and faults, twice, and the hashes of their traces.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { livePool } from './lifetime.ts';
import { SEED } from './sweep.ts';

const LIFETIMES = 10;

test('same seed, same trace', async () => {
  const hashes = new Set<number>();
  for (let seed = SEED; seed < SEED + LIFETIMES; seed++) {
    const options = { epochs: 3, faults: seed % 2 === 0 };
    const first = await livePool(seed, options);
    const second = await livePool(seed, options);
    assert.deepEqual(second, first, `SEED=${seed} gives the same run twice`);
    hashes.add(first.traceHash);
  }
  assert.equal(hashes.size, LIFETIMES, 'other seeds give other runs');
});

test('more pool lifetimes, each from its own seed', async (t) => {
  let actions = 0;
  for (let seed = SEED * 1000; seed < SEED * 1000 + LIFETIMES; seed++) {
    actions += (await livePool(seed, { epochs: 4, faults: true })).actions;
  }
  t.diagnostic(`${actions} actions; more with npm run sim`);
  assert.ok(actions > 100, 'there was work');
});

// Found by a long run: a flush failed, the pool was closed and opened again, the next flush succeeded without the
// frames of the first, later frames called them durable, and a power cut took them.
test('what a failed flush left behind is written again before later frames vouch for it', async () => {
  await livePool(5494, { epochs: 6, faults: true });
});
