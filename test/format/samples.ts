// Values that the format tests share: a superblock of a pool with two devices, and bit flips.
import type { DeviceDescriptor } from '../../src/format/device-descriptor.ts';
import { zoneCountOf } from '../../src/format/device-descriptor.ts';
import { NO_FEATURES } from '../../src/format/features.ts';
import type { Superblock } from '../../src/format/superblock.ts';

export const POOL_UUID = Uint8Array.from({ length: 16 }, (_, i) => 0x10 + i);
export const CAPACITY_UUID = Uint8Array.from({ length: 16 }, (_, i) => 0x20 + i);
export const STAGING_UUID = Uint8Array.from({ length: 16 }, (_, i) => 0x30 + i);

export function descriptor(changes: Partial<DeviceDescriptor> = {}): DeviceDescriptor {
  const base: DeviceDescriptor = {
    uuid: CAPACITY_UUID,
    mediaClass: 'capacity',
    kind: 'file',
    sectorBytes: 512,
    zonePages: 256,
    sizeBytes: 64 * 2 ** 20,
    zoneCount: 0,
    ...changes,
  };
  return { ...base, zoneCount: changes.zoneCount ?? zoneCountOf(base.sizeBytes, base.zonePages) };
}

export function superblock(changes: Partial<Superblock> = {}): Superblock {
  return {
    name: 'pool-1',
    poolUuid: POOL_UUID,
    generation: 7,
    features: NO_FEATURES,
    createdMs: 1_700_000_000_123,
    deviceUuid: CAPACITY_UUID,
    capacity: descriptor(),
    staging: descriptor({
      uuid: STAGING_UUID,
      mediaClass: 'staging',
      kind: 'block',
      zonePages: 512,
    }),
    mdc0: {
      logA: { pageAddress: 32, pageCount: 16 },
      logB: { pageAddress: 48, pageCount: 16 },
    },
    capacityPath: '/var/lib/mpool/köln.img',
    stagingPath: '/dev/nvme0n1',
    ...changes,
  };
}

/**
 * Each copy of `bytes` with one bit changed, in place: the same array every time, set right after.
 */
export function* eachBitFlip(bytes: Uint8Array, fromByte = 0, toByte = bytes.length) {
  for (let byte = fromByte; byte < toByte; byte++) {
    for (let bit = 0; bit < 8; bit++) {
      bytes[byte] = bytes[byte]! ^ (1 << bit);
      yield { byte, bit };
      bytes[byte] = bytes[byte]! ^ (1 << bit);
    }
  }
}

export function fromHex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/[^0-9a-f]/g, ''), 'hex'));
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
