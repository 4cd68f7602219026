/**
 * Extent, 16 bytes:
 *
 *   0  8  page address: its byte offset is 4096 times that
 *   8  4  page count
 *  12  4  zero
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { getU64, setU64 } from './u64.ts';

export const EXTENT_BYTES = 16;
/** Byte offsets of everything below it are safe integers: 8 PiB. */
export const PAGE_ADDRESS_MAX = 2 ** 53 / PAGE_BYTES - 1;

/** A run of pages on one device. */
export interface Extent {
  pageAddress: number;
  pageCount: number;
}

export function encodeExtent(view: DataView, offset: number, extent: Extent): void {
  assert(extentIsSane(extent), 'an extent lies below 8 PiB and has pages');
  setU64(view, offset, extent.pageAddress);
  view.setUint32(offset + 8, extent.pageCount, true);
  view.setUint32(offset + 12, 0, true);
}

/** @returns undefined when it is none: no pages, beyond 8 PiB, or the zeros are not zero */
export function decodeExtent(view: DataView, offset: number): Extent | undefined {
  const extent = {
    pageAddress: getU64(view, offset),
    pageCount: view.getUint32(offset + 8, true),
  };
  return extentIsSane(extent) && view.getUint32(offset + 12, true) === 0 ? extent : undefined;
}

/** True when its pages can be addressed at all; whether a device has them is another question. */
export function extentIsSane({ pageAddress, pageCount }: Extent): boolean {
  return (
    Number.isSafeInteger(pageAddress) &&
    pageAddress >= 0 &&
    Number.isInteger(pageCount) &&
    pageCount >= 1 &&
    pageCount <= 0xffffffff &&
    pageAddress + pageCount <= PAGE_ADDRESS_MAX
  );
}

export function extentsOverlap(a: Extent, b: Extent): boolean {
  return a.pageAddress < b.pageAddress + b.pageCount && b.pageAddress < a.pageAddress + a.pageCount;
}
