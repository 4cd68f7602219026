// Goal: slots are handed out once and in turn, the daemon sees what is in them and nothing outside them, and
//   nobody who waits is forgotten.
// Method: a seeded crowd of takers against a model; requests that name what is no slot.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { ClientSlots, SharedMemory } from '../../src/daemon/shared-slots.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);
const SIZES = { slotBytes: 4096, slotCount: 16 };

test('a crowd shares the slots: first come, first served, never two at one', async () => {
  console.log(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  const memory = new SharedMemory(SIZES);
  const slots = new ClientSlots(memory.fd, SIZES);
  const owner = new Map<number, number>();
  const order: number[] = [];
  const work = Array.from({ length: 500 }, async (_, i) => {
    const taken = await slots.take(1 + below(prng, SIZES.slotCount));
    order.push(i);
    for (const slot of taken) {
      assert.ok(!owner.has(slot), `slot ${slot} has two owners`);
      owner.set(slot, i);
      slots.bytes(slot).fill(i);
    }
    await new Promise((resolve) => setImmediate(resolve));
    const views = memory.views(taken.map((slot) => ({ slot, lengthBytes: SIZES.slotBytes })));
    for (const view of views) assert.ok(view.every((byte) => byte === i % 256));
    for (const slot of taken) owner.delete(slot);
    slots.release(taken);
  });
  await Promise.all(work);
  assert.deepEqual(
    order,
    Array.from({ length: 500 }, (_, i) => i),
  );
  assert.equal(slots.freeCount, SIZES.slotCount);
  slots.close();
  memory.close();
});

test('a request reaches nothing but slots', () => {
  const memory = new SharedMemory(SIZES);
  const fine = { slot: 15, lengthBytes: 4096 };
  assert.equal(memory.views([fine, fine, { slot: 0, lengthBytes: 0 }])[1]!.length, 4096);
  const wrong: unknown[] = [
    undefined,
    'x',
    { length: 1, 0: fine },
    [null],
    [{}],
    [{ slot: 16, lengthBytes: 1 }],
    [{ slot: -1, lengthBytes: 1 }],
    [{ slot: 0.5, lengthBytes: 1 }],
    [{ slot: '0', lengthBytes: 1 }],
    [{ slot: 0, lengthBytes: 4097 }],
    [{ slot: 0, lengthBytes: -1 }],
    [{ slot: 15, lengthBytes: 2 ** 32 }],
    [{ slot: 0, lengthBytes: Number.NaN }],
    Array.from({ length: 17 }, () => fine),
  ];
  for (const slots of wrong) {
    assert.throws(() => memory.views(slots), { code: 'ERR_MPOOL_PROTOCOL' });
  }
  memory.close();
  memory.close();
  assert.throws(() => memory.views([fine]), { code: 'ERR_MPOOL_CONNECTION_LOST' });
});

test('when it is closed, who waits is told, views are empty, late releases do no harm', async () => {
  const before = readdirSync('/proc/self/fd').length;
  const memory = new SharedMemory(SIZES);
  const slots = new ClientSlots(memory.fd, SIZES);
  const taken = await slots.take(16);
  const view = slots.bytes(taken[0]!);
  const waiting = slots.take(1);
  await assert.rejects(slots.take(17), RangeError);
  await assert.rejects(slots.take(0), RangeError);
  slots.close();
  slots.close();
  await assert.rejects(waiting, { code: 'ERR_MPOOL_CONNECTION_LOST' });
  await assert.rejects(slots.take(1), { code: 'ERR_MPOOL_CONNECTION_LOST' });
  assert.equal(view.length, 0);
  assert.equal(slots.bytes(taken[1]!).length, 0);
  slots.release(taken);
  assert.throws(() => slots.release(taken), /a slot is released once/);
  memory.close();
  assert.equal(readdirSync('/proc/self/fd').length, before);
});
