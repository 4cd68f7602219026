/**
 * Records of the MDCs. Byte 0 is the type, byte 1 the version (1).
 *
 * 1 Properties of the pool (128 bytes, MDC 0; the last one counts)
 *     2  2  zero
 *     4  4  uid
 *     8  4  gid
 *    12  4  mode (permission bits)
 *    16 16  utype, a UUID of the user's choosing
 *    32 64  label, ≤ 63 bytes, padded with zeros
 *    96  1  spare percent of capacity
 *    97  1  spare percent of staging
 *    98  2  read-ahead pages
 *   100  4  largest mapped region, log2 of bytes
 *   104  8  root MDC: object id of log A
 *   112  8  root MDC: object id of log B
 *   120  8  zero
 *
 * 2 MDC (40 bytes, MDC 0)
 *     2  2  slot
 *     4  4  zero
 *     8 16  extent of log A
 *    24 16  extent of log B
 *
 * 3 Object (40 bytes, MDC 1 … 255): it exists from now on
 *     2  1  media class: 0 staging, 1 capacity
 *     3  1  role: 0 plain; 1 log A, 2 log B of a user's MDC
 *     4  4  digest (mblock), else 0
 *     8  8  object id
 *    16  8  page address
 *    24  4  page count of the extent
 *    28  4  length in bytes of what was written (mblock), else 0
 *    32  8  zero
 *
 * 4 Deletion (16 bytes, MDC 1 … 255)
 *     2  6  zero
 *     8  8  object id
 *
 * 5 Id checkpoint (16 bytes, MDC 1 … 255)
 *     2  6  zero
 *     8  8  uniquifier: all below it may have been used for this slot
 *
 * 6 Log mark, 7 Loss (40 bytes, MDC 1 … 255): see log-mark.ts
 *
 * One record of a log of MDC 1 … 255 holds one or more of these, one after the other, which count
 * all or not at all: see recordBytesOf().
 *
 * Objects, deletions and checkpoints are read without allocating: a million of them are decoded
 * when a pool is activated.
 */
import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { dataCapacityPages } from './checksum-table.ts';
import {
  decodeExtent,
  encodeExtent,
  EXTENT_BYTES,
  extentsOverlap,
  PAGE_ADDRESS_MAX,
  type Extent,
} from './extent.ts';
import {
  idFromHalves,
  halvesOfId,
  OBJECT_TYPE_MBLOCK,
  OBJECT_TYPE_MLOG,
  SLOT_MAX,
  isMlogId,
  slotOfId,
  slotOfLow,
  typeOfLow,
  uniquifierOfHalves,
  uniquifierOfId,
  type MlogId,
} from './object-id.ts';
import { getU64, setU64, zeroBetween } from './u64.ts';
import { CLASS_CAPACITY, CLASS_STAGING, type ClassCode } from './device-descriptor.ts';

export const RECORD_POOL = 1;
export const RECORD_MDC = 2;
export const RECORD_OBJECT = 3;
export const RECORD_DELETION = 4;
export const RECORD_ID_CHECKPOINT = 5;
export const RECORD_LOG_MARK = 6;
export const RECORD_LOSS = 7;

export const POOL_RECORD_BYTES = 128;
export const MDC_RECORD_BYTES = 40;
export const OBJECT_RECORD_BYTES = 40;
export const DELETION_RECORD_BYTES = 16;
const ID_CHECKPOINT_RECORD_BYTES = 16;
export const LOG_MARK_RECORD_BYTES = 40;
export const LOSS_RECORD_BYTES = 40;

export const ROLE_PLAIN = 0;
export const ROLE_LOG_A = 1;
export const ROLE_LOG_B = 2;
type RoleCode = typeof ROLE_PLAIN | typeof ROLE_LOG_A | typeof ROLE_LOG_B;

const RECORD_BYTES: readonly number[] = [
  0,
  POOL_RECORD_BYTES,
  MDC_RECORD_BYTES,
  OBJECT_RECORD_BYTES,
  DELETION_RECORD_BYTES,
  ID_CHECKPOINT_RECORD_BYTES,
  LOG_MARK_RECORD_BYTES,
  LOSS_RECORD_BYTES,
];
export const RECORD_VERSION = 1;
const UNIQUIFIER_LIMIT = 2 ** 52;
const LABEL_OFFSET = 32;
const LABEL_BYTES = 64;

/** Properties of the pool, as in MDC 0. */
export interface PoolProperties {
  uid: number;
  gid: number;
  /** At most 0o777. */
  mode: number;
  /** 16 bytes. */
  utype: Uint8Array;
  /** At most 63 of [A-Za-z0-9._-]. */
  label: string;
  sparePercentCapacity: number;
  sparePercentStaging: number;
  readAheadPages: number;
  mappedRegionLog2: number;
  rootMdc: { logA: MlogId; logB: MlogId };
}

/** One of the MDCs 1 … 255; its logs are on the capacity device. */
export interface MdcRecord {
  slot: number;
  logA: Extent;
  logB: Extent;
}

/** Filled by readObjectRecord(); ids are halves, see object-id.ts. */
export interface ObjectRecord {
  mediaClass: ClassCode;
  role: RoleCode;
  digest: number;
  idLow: number;
  idHigh: number;
  pageAddress: number;
  pageCount: number;
  lengthBytes: number;
}

/** The type of the record at `start`, or 0 when it has no known type and version. */
export function recordType(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 2 || bytes[start + 1] !== RECORD_VERSION) return 0;
  const type = bytes[start]!;
  return type <= RECORD_LOSS ? type : 0;
}

/**
 * A record whose checksums are right and whose type or version is not known here was written by a newer
 * version: nothing of its log may be believed, or written.
 * @returns what it is, or undefined when it is not so
 */
export function newerRecord(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (end - start < 2) return undefined;
  const [type, version] = [bytes[start]!, bytes[start + 1]!];
  const isNewer =
    type >= 1 &&
    version >= RECORD_VERSION &&
    (type >= RECORD_BYTES.length || version > RECORD_VERSION);
  return isNewer ? `a record of type ${type}, version ${version}, of a newer version` : undefined;
}

/** Length of a record of that type, all of which are of a fixed length; 0 for no type. */
export function recordBytesOf(type: number): number {
  return RECORD_BYTES[type] ?? 0;
}

export function encodePoolRecord(properties: PoolProperties): Uint8Array {
  const { bytes, view } = begin(RECORD_POOL, POOL_RECORD_BYTES);
  const problem = poolProblem(properties);
  assert(problem === undefined, `properties of the pool: ${problem}`);
  view.setUint32(4, properties.uid, true);
  view.setUint32(8, properties.gid, true);
  view.setUint32(12, properties.mode, true);
  bytes.set(properties.utype, 16);
  bytes.set(new TextEncoder().encode(properties.label), LABEL_OFFSET);
  view.setUint8(96, properties.sparePercentCapacity);
  view.setUint8(97, properties.sparePercentStaging);
  view.setUint16(98, properties.readAheadPages, true);
  view.setUint32(100, properties.mappedRegionLog2, true);
  setId(view, 104, properties.rootMdc.logA);
  setId(view, 112, properties.rootMdc.logB);
  return bytes;
}

/** @returns the properties, or what is wrong with the record */
export function decodePoolRecord(
  bytes: Uint8Array,
  start: number,
  end: number,
): PoolProperties | string {
  const record = bytes.subarray(start, end);
  const problem = headProblem(record, RECORD_POOL, POOL_RECORD_BYTES);
  if (problem !== undefined) return problem;
  if (!zeroBetween(record, 2, 4) || !zeroBetween(record, 120, 128)) return NOT_ZERO;
  const view = viewOf(record);
  const field = record.subarray(LABEL_OFFSET, LABEL_OFFSET + LABEL_BYTES);
  const labelEnd = field.indexOf(0);
  if (labelEnd < 0 || !zeroBetween(field, labelEnd, LABEL_BYTES)) return 'the label is not padded';
  const properties: PoolProperties = {
    uid: view.getUint32(4, true),
    gid: view.getUint32(8, true),
    mode: view.getUint32(12, true),
    utype: record.slice(16, 32),
    label: String.fromCharCode(...field.subarray(0, labelEnd)),
    sparePercentCapacity: view.getUint8(96),
    sparePercentStaging: view.getUint8(97),
    readAheadPages: view.getUint16(98, true),
    mappedRegionLog2: view.getUint32(100, true),
    rootMdc: { logA: getId(view, 104), logB: getId(view, 112) },
  };
  return poolProblem(properties) ?? properties;
}

export function encodeMdcRecord(record: MdcRecord): Uint8Array {
  const { bytes, view } = begin(RECORD_MDC, MDC_RECORD_BYTES);
  assert(record.slot >= 1 && record.slot <= SLOT_MAX, 'MDCs 1 … 255 are recorded');
  view.setUint16(2, record.slot, true);
  encodeExtent(view, 8, record.logA);
  encodeExtent(view, 8 + EXTENT_BYTES, record.logB);
  return bytes;
}

/** @returns the MDC, or what is wrong with the record */
export function decodeMdcRecord(bytes: Uint8Array, start: number, end: number): MdcRecord | string {
  const record = bytes.subarray(start, end);
  const problem = headProblem(record, RECORD_MDC, MDC_RECORD_BYTES);
  if (problem !== undefined) return problem;
  const view = viewOf(record);
  const slot = view.getUint16(2, true);
  const logA = decodeExtent(view, 8);
  const logB = decodeExtent(view, 8 + EXTENT_BYTES);
  if (slot < 1 || slot > SLOT_MAX) return `MDC ${slot}`;
  if (view.getUint32(4, true) !== 0) return NOT_ZERO;
  if (logA === undefined || logB === undefined) return 'an extent is impossible';
  if (logA.pageCount < 2 || logB.pageCount < 2) return 'a log has at least two pages';
  return extentsOverlap(logA, logB) ? 'its logs overlap' : { slot, logA, logB };
}

export function encodeObjectRecord(record: ObjectRecord): Uint8Array {
  const bytes = new Uint8Array(OBJECT_RECORD_BYTES);
  writeObjectRecord(viewOf(bytes), 0, record);
  return bytes;
}

/** Writes the 40 bytes of an object's record at `offset`. */
export function writeObjectRecord(view: DataView, offset: number, record: ObjectRecord): void {
  const problem = objectProblem(record);
  assert(problem === undefined, `object record: ${problem}`);
  view.setUint8(offset, RECORD_OBJECT);
  view.setUint8(offset + 1, RECORD_VERSION);
  view.setUint8(offset + 2, record.mediaClass);
  view.setUint8(offset + 3, record.role);
  view.setUint32(offset + 4, record.digest, true);
  view.setUint32(offset + 8, record.idLow, true);
  view.setUint32(offset + 12, record.idHigh, true);
  setU64(view, offset + 16, record.pageAddress);
  view.setUint32(offset + 24, record.pageCount, true);
  view.setUint32(offset + 28, record.lengthBytes, true);
  setU64(view, offset + 32, 0);
}

/** A record to hand to readObjectRecord() again and again. */
export function blankObjectRecord(): ObjectRecord {
  return {
    mediaClass: CLASS_CAPACITY,
    role: ROLE_PLAIN,
    digest: 0,
    idLow: 0,
    idHigh: 0,
    pageAddress: 0,
    pageCount: 0,
    lengthBytes: 0,
  };
}

/**
 * Fills `into` from a record of recordType() RECORD_OBJECT, without allocating.
 * @returns what is wrong with it, or undefined
 */
export function readObjectRecord(
  view: DataView,
  start: number,
  end: number,
  into: ObjectRecord,
): string | undefined {
  if (end - start !== OBJECT_RECORD_BYTES) return WRONG_LENGTH;
  into.mediaClass = view.getUint8(start + 2) as ClassCode;
  into.role = view.getUint8(start + 3) as RoleCode;
  into.digest = view.getUint32(start + 4, true);
  into.idLow = view.getUint32(start + 8, true);
  into.idHigh = view.getUint32(start + 12, true);
  into.pageAddress = getU64(view, start + 16);
  into.pageCount = view.getUint32(start + 24, true);
  into.lengthBytes = view.getUint32(start + 28, true);
  if (view.getUint32(start + 32, true) !== 0 || view.getUint32(start + 36, true) !== 0) {
    return NOT_ZERO;
  }
  return objectProblem(into);
}

export function encodeDeletionRecord(idLowHalf: number, idHighHalf: number): Uint8Array {
  const { bytes, view } = begin(RECORD_DELETION, DELETION_RECORD_BYTES);
  assert(idIsRecordable(idLowHalf, idHighHalf), 'only objects are deleted');
  view.setUint32(8, idLowHalf, true);
  view.setUint32(12, idHighHalf, true);
  return bytes;
}

/**
 * What is wrong with a record of type RECORD_DELETION, or undefined. Its id is at 8: see idLowAt().
 */
export function deletionProblem(view: DataView, start: number, end: number): string | undefined {
  const problem = shortRecordProblem(view, start, end);
  if (problem !== undefined) return problem;
  return idIsRecordable(idLowAt(view, start), idHighAt(view, start)) ? undefined : BAD_ID;
}

/** Low half of the id in an object's or a deletion's record at `start`. */
export function idLowAt(view: DataView, start: number): number {
  return view.getUint32(start + 8, true);
}

/** High half of the id in an object's or a deletion's record at `start`. */
export function idHighAt(view: DataView, start: number): number {
  return view.getUint32(start + 12, true);
}

export function encodeIdCheckpoint(uniquifier: number): Uint8Array {
  const { bytes, view } = begin(RECORD_ID_CHECKPOINT, ID_CHECKPOINT_RECORD_BYTES);
  assert(uniquifier <= UNIQUIFIER_LIMIT, 'a uniquifier has 52 bits');
  setU64(view, 8, uniquifier);
  return bytes;
}

/** What is wrong with a record of type RECORD_ID_CHECKPOINT, or undefined. */
export function checkpointProblem(view: DataView, start: number, end: number): string | undefined {
  const problem = shortRecordProblem(view, start, end);
  if (problem !== undefined) return problem;
  return checkpointAt(view, start) <= UNIQUIFIER_LIMIT ? undefined : 'the uniquifier is too large';
}

/** The uniquifier of the id checkpoint at `start`: all below it may have been used. */
export function checkpointAt(view: DataView, start: number): number {
  return getU64(view, start + 8);
}

const NOT_ZERO = 'reserved bytes are not zero';
const WRONG_LENGTH = 'the length is wrong for its type';
const BAD_ID = 'an impossible object id';

function begin(type: number, lengthBytes: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(lengthBytes);
  bytes[0] = type;
  bytes[1] = RECORD_VERSION;
  return { bytes, view: viewOf(bytes) };
}

function headProblem(record: Uint8Array, type: number, lengthBytes: number): string | undefined {
  if (record.length !== lengthBytes) return WRONG_LENGTH;
  return record[0] === type && record[1] === RECORD_VERSION ? undefined : 'another type or version';
}

function shortRecordProblem(view: DataView, start: number, end: number): string | undefined {
  if (end - start !== DELETION_RECORD_BYTES) return WRONG_LENGTH;
  const zero = view.getUint16(start + 2, true) === 0 && view.getUint32(start + 4, true) === 0;
  return zero ? undefined : NOT_ZERO;
}

function setId(view: DataView, offset: number, id: bigint): void {
  const { low, high } = halvesOfId(id);
  view.setUint32(offset, low, true);
  view.setUint32(offset + 4, high, true);
}

function getId(view: DataView, offset: number): MlogId {
  return idFromHalves(view.getUint32(offset, true), view.getUint32(offset + 4, true)) as MlogId;
}

function idIsRecordable(low: number, high: number): boolean {
  const type = typeOfLow(low);
  if (type !== OBJECT_TYPE_MBLOCK && type !== OBJECT_TYPE_MLOG) return false;
  return slotOfLow(low) >= 1 && uniquifierOfHalves(low, high) >= 1;
}

/** What is impossible about an object whatever its pool. */
function objectProblem(record: ObjectRecord): string | undefined {
  const { mediaClass, role, idLow, idHigh, pageAddress, pageCount, lengthBytes } = record;
  if (mediaClass !== CLASS_CAPACITY && mediaClass !== CLASS_STAGING) return 'no such media class';
  if (!idIsRecordable(idLow, idHigh)) return BAD_ID;
  if (pageCount < 1 || !(pageAddress + pageCount <= PAGE_ADDRESS_MAX)) {
    return 'the extent is impossible';
  }
  if (typeOfLow(idLow) === OBJECT_TYPE_MBLOCK) {
    if (role !== ROLE_PLAIN) return 'an mblock has no role';
    const fits = lengthBytes <= dataCapacityPages(pageCount) * PAGE_BYTES;
    return fits ? undefined : 'it is longer than its extent can hold';
  }
  if (role > ROLE_LOG_B) return 'no such role';
  if (pageCount < 2) return 'a log has at least two pages';
  return lengthBytes === 0 && record.digest === 0 ? undefined : 'a log has no length and no digest';
}

function poolProblem(properties: PoolProperties): string | undefined {
  const { mode, utype, label, rootMdc } = properties;
  if (properties.uid > 0xffffffff || properties.gid > 0xffffffff) return 'no such uid or gid';
  if (mode > 0o777) return 'the mode has more than permission bits';
  if (utype.length !== 16) return 'a utype has 16 bytes';
  if (!/^[A-Za-z0-9._-]{0,63}$/.test(label)) return 'the label is impossible';
  const spare = Math.max(properties.sparePercentCapacity, properties.sparePercentStaging);
  if (spare > 100) return 'a spare part above 100 percent';
  if (properties.readAheadPages > 32) return 'more than 32 pages of read-ahead';
  const { mappedRegionLog2 } = properties;
  if (mappedRegionLog2 < 27 || mappedRegionLog2 > 32) return 'a mapped region is 2^27 … 2^32';
  if (!isMlogId(rootMdc.logA) || !isMlogId(rootMdc.logB)) return 'the root MDC has impossible ids';
  const paired =
    slotOfId(rootMdc.logA) === slotOfId(rootMdc.logB) &&
    uniquifierOfId(rootMdc.logA) + 1 === uniquifierOfId(rootMdc.logB);
  return paired ? undefined : 'the logs of the root MDC are no pair';
}
