/**
 * Log header, the first page of a log; only its first 512 bytes mean anything, so that one sector
 * write decides.
 *
 *    0    4  magic, ASCII 'mpLH'
 *    4    4  CRC of identity ‖ bytes 8 … 511
 *    8    1  version: 1
 *    9    1  state: 1 current, 2 superseded
 *   10    1  sectorShift
 *   11    5  zero
 *   16    8  generation, from 1
 *   24    4  salt, random for each generation
 *   28    4  zero
 *   32    8  object id of the log
 *   40    8  committedBytes: offset in the extent below which all frames of this generation were
 *            durable when the header was written; 4096 when there were none
 *   48  464  zero
 *
 * A log's identity is the 24 bytes pool UUID ‖ object id. It is part of every checksum of the log,
 * so a log of another pool, or another log of this one, is never taken for it.
 */
import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { IdHalves } from './object-id.ts';
import { getU64, setU64, zeroBetween } from './u64.ts';

export const LOG_HEADER_BYTES = PAGE_BYTES;
/** The part that means something. */
const LOG_HEADER_USED_BYTES = 512;
export const LOG_IDENTITY_BYTES = 24;
export const GENERATION_MAX = 2 ** 52;

/**
 * The one after `generation`, or a later one that is wished for.
 * @throws ERR_MPOOL_NO_SPACE after the last one: what follows could not be told from what was
 */
export function nextLogGeneration(generation: number, atLeast = 0): number {
  const next = Math.max(generation + 1, atLeast);
  if (next <= GENERATION_MAX) return next;
  throw new MpoolError('ERR_MPOOL_NO_SPACE', `generation ${generation} of the log is the last`);
}

const MAGIC = 0x484c706d; // 'mpLH', little-endian
const VERSION = 1;

/** As it lies on media. */
export const LogState = { current: 1, superseded: 2 } as const;
export type LogState = (typeof LogState)[keyof typeof LogState];

export interface LogHeader {
  state: LogState;
  /** 512 or 4096. */
  sectorBytes: number;
  generation: number;
  salt: number;
  objectId: IdHalves;
  committedBytes: number;
}

/** What a header must agree with: the log as its record in the MDC says it. */
export interface LogExpectation {
  /** 24 bytes, of logIdentity(). */
  identity: Uint8Array;
  sectorBytes: number;
  extentBytes: number;
}

type LogHeaderProblem = 'magic' | 'checksum' | 'version' | 'content';

export type LogHeaderDecoded =
  | { ok: true; header: LogHeader }
  | { ok: false; problem: LogHeaderProblem; detail: string };

/** pool UUID ‖ object id, 24 bytes. */
export function logIdentity(poolUuid: Uint8Array, objectId: IdHalves): Uint8Array {
  assert(poolUuid.length === 16, 'a UUID has 16 bytes');
  const identity = new Uint8Array(LOG_IDENTITY_BYTES);
  identity.set(poolUuid);
  viewOf(identity).setUint32(16, objectId.low, true);
  viewOf(identity).setUint32(20, objectId.high, true);
  return identity;
}

/** @returns a whole page; later headers need only its first sector to be written */
export function encodeLogHeader(header: LogHeader, identity: Uint8Array): Uint8Array {
  const page = new Uint8Array(LOG_HEADER_BYTES);
  const view = viewOf(page);
  assert(header.generation >= 1, 'generations begin at 1');
  assert(header.committedBytes >= LOG_HEADER_BYTES, 'frames begin after the header page');
  assert(header.sectorBytes === 512 || header.sectorBytes === 4096, 'sectors of 512 or 4096');
  view.setUint32(0, MAGIC, true);
  view.setUint8(8, VERSION);
  view.setUint8(9, header.state);
  view.setUint8(10, header.sectorBytes === 512 ? 9 : 12);
  setU64(view, 16, header.generation);
  view.setUint32(24, header.salt, true);
  view.setUint32(32, header.objectId.low, true);
  view.setUint32(36, header.objectId.high, true);
  setU64(view, 40, header.committedBytes);
  view.setUint32(4, headerCrc(page, identity), true);
  return page;
}

/** @param bytes at least the first 512 of the log. Never throws, whatever they are. */
export function decodeLogHeader(bytes: Uint8Array, expected: LogExpectation): LogHeaderDecoded {
  assert(bytes.length >= LOG_HEADER_USED_BYTES, 'a log header has 512 bytes');
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== MAGIC) return refuse('magic', 'not a log header');
  if (view.getUint32(4, true) !== headerCrc(bytes, expected.identity)) {
    return refuse('checksum', 'the checksum is wrong, or it is another log’s');
  }
  if (view.getUint8(8) !== VERSION) return refuse('version', `version ${view.getUint8(8)}`);
  const state = view.getUint8(9);
  if (state !== LogState.current && state !== LogState.superseded) {
    return refuse('content', `state ${state}`);
  }
  const zeros =
    zeroBetween(bytes, 11, 16) &&
    zeroBetween(bytes, 28, 32) &&
    zeroBetween(bytes, 48, LOG_HEADER_USED_BYTES);
  if (!zeros) return refuse('content', 'reserved bytes are not zero');
  const header: LogHeader = {
    state,
    sectorBytes: 2 ** view.getUint8(10),
    generation: getU64(view, 16),
    salt: view.getUint32(24, true),
    objectId: { low: view.getUint32(32, true), high: view.getUint32(36, true) },
    committedBytes: getU64(view, 40),
  };
  const detail = contentProblem(header, expected);
  return detail === undefined ? { ok: true, header } : refuse('content', detail);
}

function contentProblem(header: LogHeader, expected: LogExpectation): string | undefined {
  const { sectorBytes, generation, committedBytes } = header;
  if (sectorBytes !== expected.sectorBytes) return `sectors of ${sectorBytes} bytes`;
  if (!(generation >= 1 && generation <= GENERATION_MAX)) return `generation ${generation}`;
  const id = viewOf(expected.identity);
  const { low, high } = header.objectId;
  if (low !== id.getUint32(16, true) || high !== id.getUint32(20, true)) {
    return 'the header of another log';
  }
  const inside = committedBytes >= LOG_HEADER_BYTES && committedBytes <= expected.extentBytes;
  if (!inside || committedBytes % sectorBytes !== 0) return `committed up to ${committedBytes}`;
  return undefined;
}

function headerCrc(bytes: Uint8Array, identity: Uint8Array): number {
  assert(identity.length === LOG_IDENTITY_BYTES, 'an identity has 24 bytes');
  return crc32c(bytes.subarray(8, LOG_HEADER_USED_BYTES), crc32c(identity));
}

function refuse(problem: LogHeaderProblem, detail: string): LogHeaderDecoded {
  return { ok: false, problem, detail };
}
