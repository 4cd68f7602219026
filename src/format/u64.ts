/**
 * 64-bit integers on media, little-endian, as JavaScript numbers. Offsets, generations, sequences
 * and uniquifiers stay below 2^53 in every image this program writes; anything above decodes to
 * Infinity, which fails every range check and `Number.isSafeInteger`.
 */
import { assert } from '../base/assert.ts';

const HIGH = 2 ** 32;

/** @returns the value, or Infinity above 2^53 - 1. */
export function getU64(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  if (high > 0x1fffff) return Number.POSITIVE_INFINITY;
  return high * HIGH + view.getUint32(offset, true);
}

export function setU64(view: DataView, offset: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a u64 on media is a safe integer here');
  view.setUint32(offset, value % HIGH, true);
  view.setUint32(offset + 4, Math.floor(value / HIGH), true);
}

/** True when bytes start … end - 1 are all zero. */
export function zeroBetween(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i] !== 0) return false;
  return true;
}
