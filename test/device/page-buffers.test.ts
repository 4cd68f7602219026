// Goal: I/O memory is aligned, reused, bounded and safe against misuse.
// Method: random allocation against a model; detaching; watching what stays mapped.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { PageBuffers } from '../../src/device/page-buffers.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);

test('buffers handed out never overlap and are aligned', () => {
  console.log(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  const buffers = new PageBuffers();
  const live: [Uint8Array, number][] = [];
  for (let i = 0; i < 4000; i++) {
    if (live.length > 0 && below(prng, 100) < 48) {
      const [view, mark] = live.splice(below(prng, live.length), 1)[0]!;
      assert.ok(view.length === 0 || (view[0] === mark && view.at(-1) === mark), 'overwritten');
      buffers.release(view);
      continue;
    }
    const exponent = below(prng, i % 50 === 0 ? 22 : 15);
    const view = buffers.allocate(below(prng, 2 ** exponent + 1));
    assert.equal(view.byteOffset % 4096, 0);
    assert.equal(buffers.addressOf(view)! % 4096, 0);
    const mark = i & 0xff;
    if (view.length > 0) view[0] = view[view.length - 1] = mark;
    live.push([view, mark]);
  }
  for (const [view] of live) buffers.release(view);
  const { mappedBytes, freeSlabBytes } = buffers.stats();
  assert.equal(mappedBytes, freeSlabBytes, 'all is free again');
  assert.ok(mappedBytes <= 128 * MIB, 'and what is kept is bounded');
  buffers.trim(0);
  assert.deepEqual(buffers.stats(), { mappedBytes: 0, freeSlabBytes: 0 });
});

test('the same memory comes back, as the same view', () => {
  const buffers = new PageBuffers();
  for (const lengthBytes of [4 * KIB, 64 * KIB, 256 * KIB, MIB, 32 * MIB, 64 * MIB]) {
    const first = buffers.allocate(lengthBytes);
    assert.equal(first.length, lengthBytes);
    buffers.release(first);
    assert.equal(buffers.allocate(lengthBytes), first);
    buffers.release(first);
  }
  buffers.trim(0);
});

test('free memory over the bound goes at once', () => {
  const buffers = new PageBuffers();
  const views = Array.from({ length: 5 }, () => buffers.allocate(64 * MIB));
  assert.equal(buffers.stats().mappedBytes, 5 * 64 * MIB);
  for (const view of views) buffers.release(view);
  assert.equal(buffers.stats().mappedBytes, 128 * MIB);
  assert.equal(views.filter((view) => view.length === 0).length, 3, 'views of it are empty');
  buffers.trim(0);
});

test('misuse is found out', () => {
  const buffers = new PageBuffers();
  const view = buffers.allocate(5000);
  assert.throws(() => buffers.release(new Uint8Array(4096)), { code: 'ERR_MPOOL_INVALID_ARG' });
  assert.equal(buffers.addressOf(new Uint8Array(4096)), undefined);
  buffers.release(view);
  assert.throws(() => buffers.release(view), { name: 'InvariantError' });
  for (const length of [-1, 1.5, Number.NaN, 2 ** 60]) {
    assert.throws(() => buffers.allocate(length), { code: 'ERR_MPOOL_INVALID_ARG' });
  }
  buffers.trim(0);
});

test('a clone copies, and even a detached slab is not used again', () => {
  const buffers = new PageBuffers();
  const view = buffers.allocate(4096);
  view.fill(9);
  try {
    structuredClone(view, { transfer: [view.buffer as ArrayBuffer] });
  } catch (error) {
    assert.equal((error as Error).name, 'DataCloneError');
  }
  assert.equal(view.length, 4096, 'the slab is not transferable');
  assert.equal(structuredClone(view)[4095], 9);
  const transfer = (view.buffer as { transfer?: () => ArrayBuffer }).transfer;
  if (transfer !== undefined) {
    const taken = transfer.call(view.buffer);
    const next = buffers.allocate(4096);
    assert.equal(next.length, 4096);
    new Uint8Array(taken).fill(1);
    next.fill(2);
    assert.equal(new Uint8Array(taken)[0], 1);
    buffers.release(next);
  }
  buffers.release(view);
  buffers.trim(0);
  assert.equal(buffers.stats().mappedBytes, 0);
});

test('memory that is out is never unmapped, however long it is', () => {
  const buffers = new PageBuffers();
  const out = buffers.allocate(4 * KIB);
  const back = buffers.allocate(256 * KIB);
  const both = buffers.stats().mappedBytes;
  buffers.release(back);
  buffers.trim(0);
  assert.ok(buffers.stats().mappedBytes < both, 'what is free is unmapped');
  assert.ok(buffers.stats().mappedBytes > 0, 'what is out is not');
  out.fill(7);
  assert.equal(out[4095], 7);
  buffers.release(out);
  buffers.trim(0);
  assert.equal(buffers.stats().mappedBytes, 0);
});
