/**
 * Object id, 8 bytes:
 *
 *   bits 12 … 63  uniquifier, 52 bits
 *   bits  8 … 11  type: 1 mblock, 2 mlog
 *   bits  0 …  7  slot: the MDC that records the object; 0 for the logs of the MDCs themselves
 *
 * Inside the store an id is two unsigned 32-bit halves, `low` and `high`: a million bigints would
 * be a million heap objects. Bigints exist only at the public door.
 */
import { assert } from '../base/assert.ts';

declare const brand: unique symbol;
/** 64-bit object ids, never reused, not even after a crash. */
export type MblockId = bigint & { readonly [brand]: 'mblock' };
export type MlogId = bigint & { readonly [brand]: 'mlog' };
export type ObjectId = MblockId | MlogId;

export const OBJECT_TYPE_MBLOCK = 1;
export const OBJECT_TYPE_MLOG = 2;
export type ObjectType = typeof OBJECT_TYPE_MBLOCK | typeof OBJECT_TYPE_MLOG;

export const SLOT_MAX = 255;
export const UNIQUIFIER_MAX = 2 ** 52 - 1;

/** An id as two unsigned 32-bit halves. */
export interface IdHalves {
  low: number;
  high: number;
}

export function makeObjectId(
  uniquifier: number,
  type: typeof OBJECT_TYPE_MBLOCK,
  slot: number,
): MblockId;
export function makeObjectId(
  uniquifier: number,
  type: typeof OBJECT_TYPE_MLOG,
  slot: number,
): MlogId;
export function makeObjectId(uniquifier: number, type: ObjectType, slot: number): ObjectId;
export function makeObjectId(uniquifier: number, type: ObjectType, slot: number): ObjectId {
  return idFromHalves(idLow(uniquifier, type, slot), idHigh(uniquifier));
}

/** The low half of the id of these parts. */
export function idLow(uniquifier: number, type: ObjectType, slot: number): number {
  assert(slot >= 0 && slot <= SLOT_MAX, 'a slot is 0 … 255');
  assert(uniquifier >= 0 && uniquifier <= UNIQUIFIER_MAX, 'a uniquifier has 52 bits');
  return (uniquifier % 2 ** 20) * 2 ** 12 + type * 2 ** 8 + slot;
}

export function idHigh(uniquifier: number): number {
  return Math.floor(uniquifier / 2 ** 20);
}

export function idFromHalves(low: number, high: number): ObjectId {
  return ((BigInt(high) << 32n) | BigInt(low)) as ObjectId;
}

/** @param id any bigint of 64 bits */
export function halvesOfId(id: bigint): IdHalves {
  scratch[0] = id;
  return { low: scratchHalves[LOW_HALF]!, high: scratchHalves[1 - LOW_HALF]! };
}

/** Bigints are taken apart in memory: shifting and masking them costs a heap object a step. */
const scratch = new BigUint64Array(1);
const scratchHalves = new Uint32Array(scratch.buffer);
/** Which u32 of a u64 in this machine's byte order is the low one. */
const LOW_HALF = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1;

export function uniquifierOfHalves(low: number, high: number): number {
  return high * 2 ** 20 + (low >>> 12);
}

/** 1 mblock, 2 mlog; of hostile bytes anything in 0 … 15. */
export function typeOfLow(low: number): number {
  return (low >>> 8) & 0xf;
}

export function slotOfLow(low: number): number {
  return low & 0xff;
}

export function uniquifierOfId(id: bigint): number {
  return Number((id >> 12n) & 0xfffffffffffffn);
}

export function slotOfId(id: bigint): number {
  return Number(id & 0xffn);
}

export function typeOfId(id: bigint): number {
  return Number((id >> 8n) & 0xfn);
}

/** True for a 64-bit id of an mblock that an MDC can record. */
export function isMblockId(id: unknown): id is MblockId {
  return isUserId(id, OBJECT_TYPE_MBLOCK);
}

/** True for a 64-bit id of an mlog that an MDC can record; the logs of the MDCs are not users'. */
export function isMlogId(id: unknown): id is MlogId {
  return isUserId(id, OBJECT_TYPE_MLOG);
}

function isUserId(id: unknown, type: ObjectType): boolean {
  if (typeof id !== 'bigint') return false;
  const { low, high } = halvesOfId(id);
  // What has more than 64 bits, or is negative, comes back as another.
  if (scratch[0] !== id) return false;
  return typeOfLow(low) === type && slotOfLow(low) > 0 && uniquifierOfHalves(low, high) > 0;
}

/** '0x1201' … as the command line prints it. */
export function printObjectId(id: bigint): string {
  return `0x${id.toString(16)}`;
}

export function printIdHalves(low: number, high: number): string {
  return printObjectId(idFromHalves(low, high));
}

/** The id of a user's mblock or mlog, or undefined when the text is none. */
export function parseObjectId(text: string): ObjectId | undefined {
  if (!/^0x[0-9a-f]{1,16}$/i.test(text)) return undefined;
  const id = BigInt(text);
  return isMblockId(id) || isMlogId(id) ? id : undefined;
}

/** Ids of the two logs of MDC `slot`: they have slot 0 themselves. */
export function mdcLogIds(slot: number): { logA: MlogId; logB: MlogId } {
  assert(Number.isInteger(slot) && slot >= 0 && slot <= SLOT_MAX, 'an MDC is 0 … 255');
  return {
    logA: makeObjectId(2 * slot, OBJECT_TYPE_MLOG, 0),
    logB: makeObjectId(2 * slot + 1, OBJECT_TYPE_MLOG, 0),
  };
}
