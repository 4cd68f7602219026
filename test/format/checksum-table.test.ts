// Goal: the digest covers identity, length and every page; the capacity arithmetic is the largest
// fit.
// Method: a vector computed apart from this code, exhaustive arithmetic, every bit flip.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  dataCapacityPages,
  decodeSums,
  encodeSums,
  mblockDigest,
  tablePagesOf,
} from '../../src/format/checksum-table.ts';
import { eachBitFlip } from './samples.ts';

const SUMS = Uint32Array.of(1, 0xffffffff, 0x12345678);

test('the digest is as computed from the document by another program', () => {
  assert.equal(mblockDigest(0x12345107, 0xabcde, 3 * 4096, encodeSums(SUMS)), 0xdd08c5ba);
});

test('tables survive the round trip, padding is ignored', () => {
  const table = new Uint8Array(4096).fill(9);
  table.set(encodeSums(SUMS));
  assert.deepEqual(decodeSums(table, 3), SUMS);
});

test('the capacity is the largest n with n + ceil(4n / 4096) pages', () => {
  const fits = (n: number, pages: number): boolean => n + Math.ceil((4 * n) / 4096) <= pages;
  for (let pages = 1; pages <= 16384; pages++) {
    const capacity = dataCapacityPages(pages);
    assert.ok(fits(capacity, pages) && !fits(capacity + 1, pages), `${pages} pages`);
  }
  assert.equal(dataCapacityPages(8192), 8184);
});

test('a table takes no pages for one data page, and just enough for more', () => {
  assert.deepEqual([0, 1, 2, 1024, 1025, 8184].map(tablePagesOf), [0, 0, 1, 1, 2, 8]);
});

test('every single-bit flip of the table changes the digest; so do id and length', () => {
  const bytes = encodeSums(SUMS);
  const right = mblockDigest(1, 2, 3 * 4096, bytes);
  for (const { byte, bit } of eachBitFlip(bytes)) {
    assert.notEqual(mblockDigest(1, 2, 3 * 4096, bytes), right, `byte ${byte} bit ${bit}`);
  }
  assert.notEqual(mblockDigest(3, 2, 3 * 4096, bytes), right);
  assert.notEqual(mblockDigest(1, 3, 3 * 4096, bytes), right);
  assert.notEqual(mblockDigest(1, 2, 3 * 4096 - 1, bytes), right);
});
