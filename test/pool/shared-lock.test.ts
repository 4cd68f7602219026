// Goal: many share, one excludes, all in the order they asked.
// Method: a few orders by hand, then random ones against the rule itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { Serial } from '../../src/base/serial.ts';
import { SharedLock } from '../../src/pool/shared-lock.ts';
import { turns } from './pool-host.ts';

test('shared holders together; an exclusive one waits, and those after it wait for it', async () => {
  const lock = new SharedLock();
  const events: string[] = [];
  assert.equal(lock.enterShared(), undefined);
  assert.equal(lock.enterShared(), undefined);
  const exclusive = lock.exclusive(async () => {
    events.push('in');
    await turns(3);
    events.push('out');
    return 5;
  });
  const late = lock.enterShared();
  assert.ok(late instanceof Promise, 'not past the one that waits');
  void late.then(() => events.push('late'));
  lock.leaveShared();
  await turns(2);
  assert.deepEqual(events, []);
  lock.leaveShared();
  assert.equal(await exclusive, 5);
  await late;
  assert.deepEqual(events, ['in', 'out', 'late']);
  lock.leaveShared();
  await assert.rejects(
    lock.exclusive(() => Promise.reject(new Error('mine'))),
    /mine/,
  );
  assert.equal(lock.enterShared(), undefined, 'a failure lets go');
});

test('random holders never break the rule, and all get their turn in order', async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const prng = new SeededPrng(seed);
    const lock = new SharedLock();
    let [shared, exclusive, asked, last] = [0, 0, 0, -1];
    const check = (order: number): void => {
      assert.ok(exclusive <= 1 && (exclusive === 0 || shared === 0), `seed ${seed}`);
      assert.ok(order > last, `seed ${seed}: in order`);
      last = order;
    };
    const jobs = Array.from({ length: 40 }, async () => {
      await turns(below(prng, 10));
      const order = asked++;
      if (below(prng, 3) === 0) {
        await lock.exclusive(async () => {
          exclusive++;
          check(order);
          await turns(below(prng, 3));
          exclusive--;
        });
      } else {
        await lock.enterShared();
        shared++;
        check(order);
        await turns(below(prng, 4));
        shared--;
        lock.leaveShared();
      }
    });
    await Promise.all(jobs);
    assert.equal(asked, 40);
  }
});

test('Serial runs one at a time, in order, whatever fails', async () => {
  const serial = new Serial();
  const log: number[] = [];
  const jobs = [3, 0, 2, 1].map((wait, i) =>
    serial.run(async () => {
      await turns(wait);
      log.push(i);
      if (i === 1) throw new Error('one');
      return i;
    }),
  );
  const results = await Promise.allSettled(jobs);
  assert.deepEqual(log, [0, 1, 2, 3]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
});
