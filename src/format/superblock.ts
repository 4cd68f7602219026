/**
 * Superblock, one page of 4096 bytes. Bytes 0 … 65 are as libblkid's mpool prober checks them.
 *
 *     0    8  magic, ASCII 'mpoolDev'
 *     8   32  pool name, 1–31 of A-Z a-z 0-9 . _ -, not starting with '-', zeros
 *    40   16  pool UUID
 *    56    2  version: 2
 *    58    4  generation, from 1
 *    62    4  CRC of bytes 0 … 61
 *    66    2  zero
 *    68    4  CRC of the whole page with this field as zero
 *    72    8  own offset in bytes on its device: a misdirected write is no superblock
 *    80    4  own copy number 0 … 3
 *    84    4  compatible features
 *    88    4  read-only-compatible features
 *    92    4  incompatible features
 *    96    8  time of creation, milliseconds since 1970
 *   104   16  UUID of the device that this copy is on
 *   120    8  zero
 *   128   64  descriptor of the capacity device
 *   192   64  descriptor of the staging device; all zero when there is none
 *   256   16  extent of MDC 0, log A
 *   272   16  extent of MDC 0, log B
 *   288  224  zero
 *   512 1024  path the capacity device was last seen at: length u16, UTF-8, zeros (a hint)
 *  1536 1024  path of the staging device, likewise
 *  2560 1536  zero
 */
import { assert } from '../base/assert.ts';
import { equalBytes, viewOf } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { PAGE_BYTES } from '../base/units.ts';
import {
  decodeDescriptor,
  DESCRIPTOR_BYTES,
  encodeDescriptor,
  extentProblem,
  type DeviceDescriptor,
} from './device-descriptor.ts';
import { decodeExtent, encodeExtent, extentsOverlap, type Extent } from './extent.ts';
import {
  type FeatureWords,
  hasUnknownFeatures,
  permittedAccess,
  unknownFeaturesText,
} from './features.ts';
import { getU64, setU64, zeroBetween } from './u64.ts';

export const FORMAT_VERSION = 2;
export const SUPERBLOCK_COPY_COUNT = 4;
export const SUPERBLOCK_GENERATION_MAX = 2 ** 32 - 1;
const POOL_NAME_PATTERN = /^[A-Za-z0-9._][A-Za-z0-9._-]{0,30}$/;

const MAGIC = new TextEncoder().encode('mpoolDev');
const PATH_FIELD_BYTES = 1024;
const CAPACITY_PATH_OFFSET = 512;
const STAGING_PATH_OFFSET = CAPACITY_PATH_OFFSET + PATH_FIELD_BYTES;
const ZERO_CRC = new Uint8Array(4);
/** Bytes [from, to) that are zero, unless a feature unknown here uses them. */
const RESERVED: readonly (readonly [from: number, to: number])[] = [
  [66, 68],
  [120, 128],
  [288, CAPACITY_PATH_OFFSET],
  [STAGING_PATH_OFFSET + PATH_FIELD_BYTES, PAGE_BYTES],
];

/** Everything but the position of the copy. */
export interface Superblock {
  name: string;
  poolUuid: Uint8Array;
  /** Rises with every update. */
  generation: number;
  features: FeatureWords;
  createdMs: number;
  /** Of the device that this superblock is for: the capacity or the staging descriptor's. */
  deviceUuid: Uint8Array;
  capacity: DeviceDescriptor;
  staging?: DeviceDescriptor | undefined;
  /** On the capacity device. */
  mdc0: { logA: Extent; logB: Extent };
  /** Where the devices were last seen; '' for unknown. */
  capacityPath: string;
  stagingPath: string;
  /** A page with what features unknown here keep in the reserved bytes: it goes along with every update. */
  unknown?: Uint8Array | undefined;
}

/**
 * blank: the page is all zeros. magic: it is something else. checksum: it was a superblock, or is a
 * torn one. version: whole, but of a format or with features unknown here. position: written for
 * another place. content: checksums right, values impossible.
 */
export type SuperblockProblem = 'blank' | 'magic' | 'checksum' | 'version' | 'position' | 'content';

export type SuperblockDecoded =
  | { ok: true; superblock: Superblock; copy: number }
  | {
      ok: false;
      problem: SuperblockProblem;
      detail: string;
      /** What bytes 0 … 61 say, when their CRC is right: all formats share them. */
      identity?: { name: string; poolUuid: Uint8Array; version: number; generation: number };
    };

/** Where copy 0 … 3 lies on a device whose part of the pool has that size. */
export function superblockOffsetBytes(copy: number, sizeBytes: number): number {
  const offsets = [0, 16 * PAGE_BYTES, sizeBytes - 16 * PAGE_BYTES, sizeBytes - PAGE_BYTES];
  const offset = offsets[copy];
  assert(offset !== undefined, 'there are four copies');
  return offset;
}

/** The descriptor of the device that the superblock is for. */
export function ownDescriptor(superblock: Superblock): DeviceDescriptor {
  const { capacity, staging, deviceUuid } = superblock;
  if (equalBytes(capacity.uuid, deviceUuid)) return capacity;
  assert(staging !== undefined && equalBytes(staging.uuid, deviceUuid), 'whose superblock?');
  return staging;
}

/** The page of copy 0 … 3, for its place on `superblock.deviceUuid`'s device. */
export function encodeSuperblock(superblock: Superblock, copy: number): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  const view = viewOf(page);
  const { generation, features, unknown } = superblock;
  for (const [from, to] of RESERVED) {
    if (unknown !== undefined) page.set(unknown.subarray(from, to), from);
  }
  assert(POOL_NAME_PATTERN.test(superblock.name), 'a pool has a name');
  assert(superblock.poolUuid.length === 16, 'a UUID has 16 bytes');
  const isGeneration = generation >= 1 && generation <= SUPERBLOCK_GENERATION_MAX;
  assert(isGeneration, 'generations are 1 … 2^32 - 1');
  page.set(MAGIC, 0);
  page.set(new TextEncoder().encode(superblock.name), 8);
  page.set(superblock.poolUuid, 40);
  view.setUint16(56, FORMAT_VERSION, true);
  view.setUint32(58, generation, true);
  view.setUint32(62, crc32c(page.subarray(0, 62)), true);
  setU64(view, 72, superblockOffsetBytes(copy, ownDescriptor(superblock).sizeBytes));
  view.setUint32(80, copy, true);
  view.setUint32(84, features.compatible, true);
  view.setUint32(88, features.readOnlyCompatible, true);
  view.setUint32(92, features.incompatible, true);
  setU64(view, 96, superblock.createdMs);
  page.set(superblock.deviceUuid, 104);
  encodeDescriptor(page, view, 128, superblock.capacity);
  if (superblock.staging !== undefined) encodeDescriptor(page, view, 192, superblock.staging);
  encodeExtent(view, 256, superblock.mdc0.logA);
  encodeExtent(view, 272, superblock.mdc0.logB);
  encodePath(page, view, CAPACITY_PATH_OFFSET, superblock.capacityPath);
  encodePath(page, view, STAGING_PATH_OFFSET, superblock.stagingPath);
  view.setUint32(68, crc32c(page), true);
  return page;
}

/**
 * @param page 4096 bytes as read from `offsetBytes` of a device
 * Never throws, whatever the bytes.
 */
export function decodeSuperblock(page: Uint8Array, offsetBytes: number): SuperblockDecoded {
  assert(page.length === PAGE_BYTES, 'a superblock is one page');
  const view = viewOf(page);
  if (!equalBytes(page.subarray(0, 8), MAGIC)) {
    return zeroBetween(page, 0, PAGE_BYTES)
      ? refuse('blank', 'all zeros')
      : refuse('magic', 'not a superblock');
  }
  if (view.getUint32(62, true) !== crc32c(page.subarray(0, 62))) {
    return refuse('checksum', 'the checksum of bytes 0 to 61 is wrong');
  }
  const identity = {
    name: decodeName(page),
    poolUuid: page.slice(40, 56),
    version: view.getUint16(56, true),
    generation: view.getUint32(58, true),
  };
  if (identity.version !== FORMAT_VERSION) {
    return refuse('version', versionText(identity.version), identity);
  }
  if (view.getUint32(68, true) !== pageCrc(page)) {
    return refuse('checksum', 'the checksum of the page is wrong', identity);
  }
  const features = {
    compatible: view.getUint32(84, true),
    readOnlyCompatible: view.getUint32(88, true),
    incompatible: view.getUint32(92, true),
  };
  if (permittedAccess(features) === 'none') {
    return refuse('version', unknownFeaturesText(features), identity);
  }
  if (getU64(view, 72) !== offsetBytes) {
    return refuse('position', `written for offset ${getU64(view, 72)}`, identity);
  }
  const copy = view.getUint32(80, true);
  const content = decodeContent(page, view, identity, features);
  if (typeof content === 'string') return refuse('content', content, identity);
  if (
    copy >= SUPERBLOCK_COPY_COUNT ||
    superblockOffsetBytes(copy, ownDescriptor(content).sizeBytes) !== offsetBytes
  ) {
    return refuse('position', `written as copy ${copy}`, identity);
  }
  return { ok: true, superblock: content, copy };
}

type Identity = NonNullable<Extract<SuperblockDecoded, { ok: false }>['identity']>;

function refuse(
  problem: SuperblockProblem,
  detail: string,
  identity?: Identity,
): SuperblockDecoded {
  return { ok: false, problem, detail, ...(identity === undefined ? {} : { identity }) };
}

/** Of a format that is not this one: whose it is, and what to do. */
function versionText(version: number): string {
  if (version < FORMAT_VERSION) {
    return `format ${version} is the kernel driver's: only that reads it, it cannot be converted`;
  }
  return `format ${version} is of a newer version of mpool: use that`;
}

function pageCrc(page: Uint8Array): number {
  return crc32c(page.subarray(72), crc32c(ZERO_CRC, crc32c(page.subarray(0, 68))));
}

/** The superblock, or what is impossible about it. */
function decodeContent(
  page: Uint8Array,
  view: DataView,
  identity: Identity,
  features: FeatureWords,
): Superblock | string {
  const { name, poolUuid, generation } = identity;
  if (!POOL_NAME_PATTERN.test(name)) return 'the name is impossible';
  if (!zeroBetween(page, 8 + name.length, 40)) return 'bytes after the name are not zero';
  if (zeroBetween(poolUuid, 0, 16)) return 'no pool UUID';
  if (generation < 1) return 'generation 0';
  const isNewer = hasUnknownFeatures(features);
  if (!isNewer && !reservedIsZero(page)) return 'reserved bytes are not zero';
  const createdMs = getU64(view, 96);
  if (!Number.isSafeInteger(createdMs)) return 'the time of creation is impossible';
  const devices = decodeDevices(page, view);
  if (typeof devices === 'string') return devices;
  const { capacity, staging } = devices;
  const deviceUuid = page.slice(104, 120);
  const own = [capacity, staging].find((d) => d !== undefined && equalBytes(d.uuid, deviceUuid));
  if (own === undefined) return 'it names a device UUID that is none of its devices';
  const mdc0 = decodeMdc0(view, capacity);
  if (typeof mdc0 === 'string') return mdc0;
  const capacityPath = decodePath(page, view, CAPACITY_PATH_OFFSET);
  const stagingPath = decodePath(page, view, STAGING_PATH_OFFSET);
  if (capacityPath === undefined || stagingPath === undefined) return 'a path is impossible';
  return {
    name,
    poolUuid,
    generation,
    features,
    createdMs,
    deviceUuid,
    capacity,
    ...(staging === undefined ? {} : { staging }),
    mdc0,
    capacityPath,
    stagingPath,
    ...(isNewer ? { unknown: page.slice() } : {}),
  };
}

function reservedIsZero(page: Uint8Array): boolean {
  return RESERVED.every(([from, to]) => zeroBetween(page, from, to));
}

function decodeDevices(
  page: Uint8Array,
  view: DataView,
): { capacity: DeviceDescriptor; staging?: DeviceDescriptor } | string {
  const capacity = decodeDescriptor(page, view, 128);
  if (typeof capacity === 'string') return `capacity device: ${capacity}`;
  if (capacity.mediaClass !== 'capacity') return 'the capacity device is of another class';
  if (zeroBetween(page, 192, 192 + DESCRIPTOR_BYTES)) return { capacity };
  const staging = decodeDescriptor(page, view, 192);
  if (typeof staging === 'string') return `staging device: ${staging}`;
  if (staging.mediaClass !== 'staging') return 'the staging device is of another class';
  if (equalBytes(staging.uuid, capacity.uuid)) return 'both devices have one UUID';
  return { capacity, staging };
}

function decodeMdc0(
  view: DataView,
  capacity: DeviceDescriptor,
): { logA: Extent; logB: Extent } | string {
  const logA = decodeExtent(view, 256);
  const logB = decodeExtent(view, 272);
  if (logA === undefined || logB === undefined) return 'MDC 0 has an impossible extent';
  for (const extent of [logA, logB]) {
    const problem = extentProblem(capacity, extent);
    if (problem !== undefined) return `MDC 0: ${problem}`;
    if (extent.pageCount < 2) return 'MDC 0: a log has at least two pages';
  }
  return extentsOverlap(logA, logB) ? 'the logs of MDC 0 overlap' : { logA, logB };
}

function decodeName(page: Uint8Array): string {
  const field = page.subarray(8, 40);
  const end = field.indexOf(0);
  return String.fromCharCode(...field.subarray(0, end < 0 ? field.length : end));
}

/** A path too long for its field is left out: it is only a hint. */
function encodePath(page: Uint8Array, view: DataView, offset: number, path: string): void {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > PATH_FIELD_BYTES - 2) return;
  view.setUint16(offset, bytes.length, true);
  page.set(bytes, offset + 2);
}

function decodePath(page: Uint8Array, view: DataView, offset: number): string | undefined {
  const length = view.getUint16(offset, true);
  const start = offset + 2;
  if (length > PATH_FIELD_BYTES - 2) return undefined;
  if (!zeroBetween(page, start + length, offset + PATH_FIELD_BYTES)) return undefined;
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(page.subarray(start, start + length));
}
