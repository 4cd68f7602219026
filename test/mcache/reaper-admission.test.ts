// Goal: between two rounds no more is read than there is room for, and nobody waits for ever.
// Method: the pure bookkeeping, driven by hand and by random reads against a count of what came (seed printed).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { Admission } from '../../src/mcache/reaper-admission.ts';

const PAGE = 4096;

test('half of the room is admitted, less what is on its way; the rest waits in order', () => {
  const admission = new Admission();
  const went: number[] = [];
  const ask = (pages: number, name: number): boolean =>
    admission.admit(pages, () => went.push(name));
  assert.ok(ask(1e6, 0), 'before the first round everything goes');
  admission.arrived(1e6);
  admission.renew(200 * PAGE, 10);
  assert.ok(ask(100, 1));
  assert.ok(!ask(20, 2) && !ask(1, 3), 'what would fit does not overtake');
  assert.ok(admission.waiting);
  admission.renew(200 * PAGE, 0);
  assert.deepEqual(went, [0, 1, 2], 'one at least, although 100 are still on their way');
  admission.arrived(100);
  admission.arrived(20);
  admission.renew(200 * PAGE, 0);
  assert.deepEqual(went, [0, 1, 2, 3]);
  assert.ok(!admission.waiting);
  admission.renew(undefined, 0);
  assert.ok(ask(1e9, 4), 'without a limit');
});

test('wishes get what is left, but always a little', () => {
  const admission = new Admission();
  assert.equal(admission.allow(1000, 8), 1000);
  admission.renew(100 * PAGE, 0);
  assert.equal(admission.allow(40, 8), 40);
  assert.equal(admission.allow(40, 8), 10);
  assert.equal(admission.allow(40, 8), 8);
  assert.equal(admission.allow(3, 8), 3);
});

test('what is read passes the limit by no more than who must not wait for ever, and all are admitted', () => {
  const seed = Date.now() % 1e9;
  const prng = new SeededPrng(seed);
  const limitPages = 1000;
  const admission = new Admission();
  let used = 0;
  let asked = 0;
  let admitted = 0;
  let coming: number[] = [];
  let over = 0;
  admission.renew(limitPages * PAGE, 0);
  for (let round = 0; round < 2000; round++) {
    for (let i = below(prng, 6); i > 0; i--) {
      const pages = 1 + below(prng, 64);
      asked += 1;
      admission.admit(pages, () => {
        admitted += 1;
        coming.push(pages);
      });
    }
    // Some of what was admitted comes, late and in any order.
    coming = coming.filter((pages) => {
      if (below(prng, 3) === 0) return true;
      used += pages;
      admission.arrived(pages);
      return false;
    });
    // One a round goes on whatever there is, and may still be on its way when the next one does.
    assert.ok(used <= limitPages + 4 * 64, `seed ${seed}, round ${round}: ${used}`);
    over += Number(used > limitPages);
    const evicted = used > 800 ? used - 700 : 0;
    const headroom = limitPages - used;
    used -= evicted;
    admission.renew(headroom * PAGE, evicted);
  }
  assert.ok(over < 20, `seed ${seed}: over the limit in ${over} of 2000 rounds`);
  for (let i = 0; admission.waiting; i++) {
    assert.ok(i < asked, `seed ${seed}: all are admitted in the end`);
    for (const pages of coming.splice(0)) admission.arrived(pages);
    admission.renew(limitPages * PAGE, 0);
  }
  assert.equal(admitted, asked);
});
