/**
 * mblock: ceil(length / 4096) data pages, the last one padded with zeros; then, unless there is at
 * most one data page, the checksum table: one u32 CRC of each data page, padded with zeros to whole
 * pages.
 *
 * Digest = CRC of (object id u64 ‖ length u64 ‖ the CRCs as u32s). It is in the object's record,
 * and covers the CRC of a single page too, which is stored nowhere else.
 */
import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { PAGE_BYTES, pagesOf } from '../base/units.ts';
import { setU64 } from './u64.ts';

export const SUM_BYTES = 4;
const SUMS_PER_PAGE = PAGE_BYTES / SUM_BYTES;

/** The largest n with n + tablePagesOf(n) ≤ extentPages. */
export function dataCapacityPages(extentPages: number): number {
  return extentPages - Math.ceil(extentPages / (SUMS_PER_PAGE + 1));
}

/** Pages that the table of so many data pages takes when it is stored. */
export function tablePagesOf(dataPages: number): number {
  return dataPages <= 1 ? 0 : Math.ceil(dataPages / SUMS_PER_PAGE);
}

/** The CRCs as they lie on media: 4 bytes each, without padding. */
export function encodeSums(sums: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(sums.length * SUM_BYTES);
  const view = viewOf(bytes);
  for (let i = 0; i < sums.length; i++) view.setUint32(i * SUM_BYTES, sums[i]!, true);
  return bytes;
}

/** The first `count` CRCs of a table as read from media. */
export function decodeSums(table: Uint8Array, count: number): Uint32Array {
  assert(table.length >= count * SUM_BYTES, 'the table is whole');
  const sums = new Uint32Array(count);
  const view = viewOf(table);
  for (let i = 0; i < count; i++) sums[i] = view.getUint32(i * SUM_BYTES, true);
  return sums;
}

/** The digest that the object's record holds. @param sums of encodeSums(), one per data page */
export function mblockDigest(
  idLow: number,
  idHigh: number,
  lengthBytes: number,
  sums: Uint8Array,
): number {
  assert(sums.length === pagesOf(lengthBytes) * SUM_BYTES, 'one checksum for each data page');
  const head = new Uint8Array(16);
  const view = viewOf(head);
  view.setUint32(0, idLow, true);
  view.setUint32(4, idHigh, true);
  setU64(view, 8, lengthBytes);
  return crc32c(sums, crc32c(head));
}
