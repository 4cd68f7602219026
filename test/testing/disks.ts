import { writeAsync } from '../../src/device/device.ts';
import type { Device, Durability } from '../../src/device/device.ts';
import { SimHost } from '../../src/testing/index.ts';
import type { SimHostOptions } from '../../src/testing/index.ts';

export const DISK = '/dev/sim';
export const DISK_BYTES = 1024 * 1024;

export function hostWithDisk(options: SimHostOptions = {}): SimHost {
  const host = new SimHost(options);
  host.addDisk(DISK, { sizeBytes: DISK_BYTES });
  return host;
}

export function openDisk(host: SimHost): Promise<Device> {
  return host.openDevice(DISK, { access: 'write' });
}

/** Memory of the device, filled with one value. */
export function filled(device: Device, lengthBytes: number, value: number): Uint8Array {
  return device.allocate(lengthBytes).fill(value);
}

export async function writeValue(
  device: Device,
  offsetBytes: number,
  lengthBytes: number,
  value: number,
  durability: Durability = 'volatile',
): Promise<void> {
  const buffer = filled(device, lengthBytes, value);
  try {
    await writeAsync(device, offsetBytes, buffer, durability);
  } finally {
    device.release(buffer);
  }
}

/** First byte of each 512-byte sector. */
export function sectors(host: SimHost, offsetBytes: number, count: number): number[] {
  const bytes = host.disk(DISK).bytes(offsetBytes, count * 512);
  return Array.from({ length: count }, (_, i) => bytes[i * 512]!);
}
