import type { Device } from '../device/device.ts';
import type { Host } from '../device/host.ts';
import { checkPool, type CheckOptions, type CheckReport } from './check.ts';
import { type DumpEntry, dumpPool } from './dump.ts';
import { findStaging, locatePool, type SearchPlaces } from './find-pools.ts';
import { readSuperblocks } from './superblocks.ts';

export type CheckPoolOptions = CheckOptions;

/** Claims a pool's devices for reading, whatever state they are in, and verifies them. */
export async function checkPoolAt(
  host: Host,
  target: string,
  where: SearchPlaces,
  options: CheckPoolOptions,
): Promise<CheckReport> {
  const devices = await openDevices(host, target, where);
  try {
    return await checkPool(devices, options);
  } finally {
    await closeAll(devices);
  }
}

/** As checkPoolAt(), but tells what is there instead of judging it. */
export async function* dumpPoolAt(
  host: Host,
  target: string,
  where: SearchPlaces,
): AsyncIterable<DumpEntry> {
  const devices = await openDevices(host, target, where);
  try {
    yield* dumpPool(devices);
  } finally {
    await closeAll(devices);
  }
}

interface Devices {
  capacity: Device;
  staging?: Device;
}

/** The staging device only if it can be found: what is missing is a finding, not a refusal. */
async function openDevices(host: Host, target: string, where: SearchPlaces): Promise<Devices> {
  const paths = await locatePool(host, target, where);
  const capacity = await host.openDevice(paths.capacityPath, { access: 'read' });
  try {
    const { newest } = await readSuperblocks(capacity);
    if (newest === undefined) return { capacity };
    const path = await findStaging(host, newest, [...paths.stagingPaths, newest.stagingPath]);
    if (path !== undefined) {
      return { capacity, staging: await host.openDevice(path, { access: 'read' }) };
    }
    return { capacity };
  } catch (error) {
    await capacity.close();
    throw error;
  }
}

async function closeAll(devices: Devices): Promise<void> {
  await devices.capacity.close();
  await devices.staging?.close();
}
