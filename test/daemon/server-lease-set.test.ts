// Goal: a session's set of leases counts right, however full it gets and in whatever order leases come and go.
// Method: seeded random operations against a Map; indices that collide, that follow each other, and few of them
//   many times.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { LeaseSet } from '../../src/daemon/server/lease-set.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);

for (const [what, indexOf] of [
  ['few objects', (n: number) => n % 12],
  ['objects in a row', (n: number) => n % 3000],
  ['objects far apart', (n: number) => (n % 700) * 65_536],
] as const) {
  test(`leases of ${what} are counted as a Map counts them`, () => {
    console.log(`SEED=${SEED}`);
    const prng = new SeededPrng(SEED);
    const set = new LeaseSet();
    const model = new Map<number, { count: number; mapped: number }>();
    for (let step = 0; step < 60_000; step++) {
      const index = indexOf(below(prng, 2 ** 30));
      const mapped = below(prng, 2) === 0;
      const held = model.get(index);
      const mayRemove = held !== undefined && (mapped ? held.mapped > 0 : held.count > held.mapped);
      // Grows for a while, then shrinks, and again.
      const grows = below(prng, 100) < (Math.floor(step / 10_000) % 2 === 0 ? 70 : 30);
      if (grows || !mayRemove) {
        assert.equal(set.add(index, mapped), held === undefined);
        const { count = 0, mapped: of = 0 } = held ?? {};
        model.set(index, { count: count + 1, mapped: of + (mapped ? 1 : 0) });
      } else {
        assert.equal(set.remove(index, mapped), held.count === 1);
        if (held.count === 1) model.delete(index);
        else model.set(index, { count: held.count - 1, mapped: held.mapped - (mapped ? 1 : 0) });
      }
      assert.equal(set.size, model.size);
      if (step % 997 !== 0) continue;
      for (const [each, counts] of model) assert.deepEqual(set.countsOf(each), counts);
      assert.deepEqual(new Set(set.indices()), new Set(model.keys()));
      const mappedCount = [...model.values()].filter((each) => each.mapped > 0).length;
      assert.equal(set.mappedSize, mappedCount);
    }
    assert.equal(set.has(2 ** 31 + 7), false);
    assert.equal(set.isMapped(2 ** 31 + 7), false);
  });
}
