/**
 * Device descriptor, 64 bytes within the superblock:
 *
 *   0  16  device UUID
 *  16   1  media class: 0 staging, 1 capacity
 *  17   1  kind: 1 file, 2 block device
 *  18   1  sectorShift: 9 or 12
 *  19   1  zero
 *  20   4  zonePages: 256 … 16384, a power of two
 *  24   8  sizeBytes, a multiple of 4096
 *  32   4  zoneCount = floor(sizeBytes / zone size)
 *  36  28  zero
 */
import { assert } from '../base/assert.ts';
import { isPowerOfTwo, PAGE_BYTES } from '../base/units.ts';
import { extentIsSane, type Extent } from './extent.ts';
import { getU64, setU64, zeroBetween } from './u64.ts';

export const DESCRIPTOR_BYTES = 64;
const ZONE_PAGES_MIN = 256;
const ZONE_PAGES_MAX = 16384;
/** 256 TiB of the smallest zones: a reader must be able to hold a map of them. */
export const ZONE_COUNT_MAX = 2 ** 28;
/** Pages at the head and at the tail of a device that belong to the superblocks. */
export const HEAD_RESERVED_PAGES = 32;
export const TAIL_RESERVED_PAGES = 16;

/** Media classes as media say them. */
export const CLASS_STAGING = 0;
export const CLASS_CAPACITY = 1;
export type ClassCode = typeof CLASS_STAGING | typeof CLASS_CAPACITY;

export interface DeviceDescriptor {
  /** 16 bytes. */
  uuid: Uint8Array;
  mediaClass: 'staging' | 'capacity';
  kind: 'file' | 'block';
  /** 512 or 4096. */
  sectorBytes: number;
  zonePages: number;
  sizeBytes: number;
  zoneCount: number;
}

/** How many whole zones a device of that size has. */
export function zoneCountOf(sizeBytes: number, zonePages: number): number {
  return Math.floor(sizeBytes / (zonePages * PAGE_BYTES));
}

export function encodeDescriptor(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  descriptor: DeviceDescriptor,
): void {
  const problem = descriptorProblem(descriptor);
  assert(problem === undefined, `device descriptor: ${problem}`);
  bytes.set(descriptor.uuid, offset);
  view.setUint8(offset + 16, descriptor.mediaClass === 'capacity' ? CLASS_CAPACITY : CLASS_STAGING);
  view.setUint8(offset + 17, descriptor.kind === 'file' ? 1 : 2);
  view.setUint8(offset + 18, descriptor.sectorBytes === 512 ? 9 : 12);
  view.setUint32(offset + 20, descriptor.zonePages, true);
  setU64(view, offset + 24, descriptor.sizeBytes);
  view.setUint32(offset + 32, descriptor.zoneCount, true);
}

/** @returns the descriptor, or what is wrong with it. */
export function decodeDescriptor(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
): DeviceDescriptor | string {
  const classCode = view.getUint8(offset + 16);
  const kindCode = view.getUint8(offset + 17);
  const sectorShift = view.getUint8(offset + 18);
  if (classCode > CLASS_CAPACITY) return `media class ${classCode}`;
  if (kindCode !== 1 && kindCode !== 2) return `device kind ${kindCode}`;
  if (sectorShift !== 9 && sectorShift !== 12) return `sector shift ${sectorShift}`;
  if (bytes[offset + 19] !== 0 || !zeroBetween(bytes, offset + 36, offset + DESCRIPTOR_BYTES)) {
    return 'reserved bytes are not zero';
  }
  const descriptor: DeviceDescriptor = {
    uuid: bytes.slice(offset, offset + 16),
    mediaClass: classCode === CLASS_CAPACITY ? 'capacity' : 'staging',
    kind: kindCode === 1 ? 'file' : 'block',
    sectorBytes: 1 << sectorShift,
    zonePages: view.getUint32(offset + 20, true),
    sizeBytes: getU64(view, offset + 24),
    zoneCount: view.getUint32(offset + 32, true),
  };
  return descriptorProblem(descriptor) ?? descriptor;
}

/** What is wrong with the values, or undefined. */
function descriptorProblem(descriptor: DeviceDescriptor): string | undefined {
  const { uuid, sectorBytes, zonePages, sizeBytes, zoneCount } = descriptor;
  if (uuid.length !== 16 || zeroBetween(uuid, 0, 16)) return 'no device UUID';
  if (sectorBytes !== 512 && sectorBytes !== PAGE_BYTES) return `sectors of ${sectorBytes} bytes`;
  if (!isPowerOfTwo(zonePages) || zonePages < ZONE_PAGES_MIN || zonePages > ZONE_PAGES_MAX) {
    return `zones of ${zonePages} pages`;
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % PAGE_BYTES !== 0) {
    return `a size of ${sizeBytes} bytes`;
  }
  if (
    zoneCount < 1 ||
    zoneCount > ZONE_COUNT_MAX ||
    zoneCount !== zoneCountOf(sizeBytes, zonePages)
  ) {
    return `${zoneCount} zones in ${sizeBytes} bytes`;
  }
  return undefined;
}

/**
 * What is wrong with where an extent lies on a device: outside the zones, on the superblocks'
 * pages, or (with `whole`) not one zone of its own. Undefined when nothing is.
 */
export function extentProblem(
  descriptor: DeviceDescriptor,
  extent: Extent,
  options: { whole?: boolean | undefined } = {},
): string | undefined {
  const { zonePages, zoneCount, sizeBytes } = descriptor;
  const { pageAddress, pageCount } = extent;
  const text = `extent of ${pageCount} pages at page ${pageAddress}`;
  if (!extentIsSane(extent)) return `${text} is impossible`;
  const end = pageAddress + pageCount;
  if (end > zoneCount * zonePages) return `${text} lies beyond the zones`;
  if (pageAddress < HEAD_RESERVED_PAGES || end > sizeBytes / PAGE_BYTES - TAIL_RESERVED_PAGES) {
    return `${text} lies on pages of the superblocks`;
  }
  const inZone = pageAddress % zonePages;
  if (options.whole === true) {
    return inZone === 0 && pageCount === zonePages ? undefined : `${text} is not one zone`;
  }
  if (pageCount >= zonePages) {
    return inZone === 0 && pageCount % zonePages === 0 ? undefined : `${text} is not whole zones`;
  }
  return inZone + pageCount <= zonePages ? undefined : `${text} crosses a zone's border`;
}
