import { equalBytes } from '../base/bytes.ts';
import { MpoolError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import { type Device, flushAsync } from '../device/device.ts';
import type { EngineChoice } from '../device/host.ts';
import { type DeviceDescriptor, extentProblem } from '../format/device-descriptor.ts';
import type { Extent } from '../format/extent.ts';
import { hasWitnesses, permittedAccess, unknownFeaturesText } from '../format/features.ts';
import { halvesOfId, mdcLogIds } from '../format/object-id.ts';
import type { Superblock } from '../format/superblock.ts';
import { Catalog, OBJECT_SLOT } from './catalog.ts';
import type { Environment } from './environment.ts';
import { SLOW_DEVICE_MS_DEFAULT } from './device-health.ts';
import { findStaging } from './find-pools.ts';
import { logPlace } from './log-place.ts';
import type { LogPlace } from './frame-cursor.ts';
import { Media } from './media.ts';
import { PoolRecords } from './pool-records.ts';
import { Store } from './store.ts';
import { readSuperblocks, repairSuperblocks } from './superblocks.ts';
import { VERIFY_BYTES_DEFAULT, verifyNewest } from './verify-newest.ts';
import { Witnesses } from './witnesses.ts';

export interface ActivateOptions {
  capacityPath: string;
  /** Where to look for the staging device, best first. */
  stagingPaths: readonly string[];
  readOnly: boolean;
  /** Come up without the staging device, read-only. */
  force: boolean;
  engine: EngineChoice | undefined;
  discard: boolean;
  checksumCacheBytes: number | undefined;
  /** Of data of the newest mblocks, after an unclean stop. */
  verifyBytes?: number | undefined;
  slowDeviceMs?: number | undefined;
}

const CHECKSUM_CACHE_BYTES_DEFAULT = 64 * MIB;

/**
 * Opens a pool from its devices. Costs time proportional to its objects, not its size; read-only, it writes
 * nothing; otherwise it first finishes what a crash interrupted, so that doing it again finds the same.
 * @throws ERR_MPOOL_BUSY, ERR_MPOOL_NOT_FOUND, ERR_MPOOL_VERSION, ERR_MPOOL_DEVICE_CHANGED,
 *   ERR_MPOOL_NO_DEVICE, ERR_MPOOL_CORRUPT, ERR_MPOOL_IO
 */
export async function activate(environment: Environment, options: ActivateOptions): Promise<Store> {
  const devices: Device[] = [];
  try {
    return await activateDevices(environment, options, devices);
  } catch (error) {
    await Promise.all(devices.map((device) => device.close().catch(() => {})));
    throw error;
  }
}

async function activateDevices(
  environment: Environment,
  options: ActivateOptions,
  devices: Device[],
): Promise<Store> {
  const { host, prng, clock } = environment;
  const access = options.readOnly ? 'read' : 'write';
  const { engine, readOnly } = options;
  const capacityDevice = await host.openDevice(options.capacityPath, { access, engine });
  devices.push(capacityDevice);
  const superblock = await superblockOf(capacityDevice);
  refuseAccess(superblock, readOnly, options.capacityPath);
  if (!equalBytes(superblock.deviceUuid, superblock.capacity.uuid)) {
    throw new MpoolError(
      'ERR_MPOOL_NOT_FOUND',
      `${options.capacityPath} is the staging device of pool ${superblock.name}: name its capacity device`,
    );
  }
  refuseChangedDevice(capacityDevice, superblock.capacity);
  const stagingDevice = await openStaging(environment, options, superblock);
  if (stagingDevice !== undefined) devices.push(stagingDevice);
  if (!readOnly) {
    await repairSuperblocks(capacityDevice, superblock);
    if (stagingDevice !== undefined) {
      const own = { ...superblock, deviceUuid: superblock.staging!.uuid };
      await repairSuperblocks(stagingDevice, own);
    }
    // What a killed process left in volatile caches is about to be believed: make it durable first.
    await Promise.all(devices.map((device) => flushAsync(device)));
  }
  const discard = options.discard && !readOnly ? { clock } : null;
  const capacity = new Media(superblock.capacity, capacityDevice, 0, discard);
  const staging = stagingDevice && new Media(superblock.staging!, stagingDevice, 0, discard);
  const witnesses = hasWitnesses(superblock.features) ? new Witnesses() : undefined;
  const zero = mdc0Places(superblock, capacityDevice, witnesses);
  const { gate } = capacity;
  const poolRecords = await PoolRecords.open(zero, gate, prng, readOnly, witnesses?.mdc0);
  const mdc = poolRecords.mdcs.find(({ slot }) => slot === OBJECT_SLOT);
  if (mdc === undefined || poolRecords.mdcs.length !== 1) {
    const slots = poolRecords.mdcs.map(({ slot }) => slot).join(', ');
    throw new MpoolError('ERR_MPOOL_VERSION', `objects are in MDCs ${slots || '(none)'}, not in 1`);
  }
  for (const extent of [mdc.logA, mdc.logB]) {
    const problem = extentProblem(superblock.capacity, extent);
    if (problem !== undefined) throw new MpoolError('ERR_MPOOL_CORRUPT', `MDC 1: ${problem}`);
  }
  const places = Catalog.places(capacity, superblock.poolUuid, mdc, witnesses);
  const catalog = await Catalog.open(places, capacity, prng, readOnly, poolRecords, witnesses);
  const store = await Store.start({
    environment,
    superblock,
    capacity,
    staging,
    poolRecords,
    catalog,
    witnesses,
    readOnly,
    discard: options.discard,
    engine,
    slowDeviceMs: options.slowDeviceMs ?? SLOW_DEVICE_MS_DEFAULT,
    checksumCacheBytes: options.checksumCacheBytes ?? CHECKSUM_CACHE_BYTES_DEFAULT,
  });
  const { sparePercentCapacity, sparePercentStaging } = poolRecords.properties;
  capacity.space.setSparePercent(sparePercentCapacity);
  staging?.space.setSparePercent(sparePercentStaging);
  await verifyNewest(store, options.verifyBytes ?? VERIFY_BYTES_DEFAULT);
  return store;
}

export function mdc0Places(
  superblock: Superblock,
  device: Device,
  witnesses: Witnesses | undefined,
): [LogPlace, LogPlace] {
  const ids = mdcLogIds(0);
  const { poolUuid, mdc0, capacity } = superblock;
  const place = (extent: Extent, id: bigint): LogPlace =>
    logPlace(device, extent, poolUuid, halvesOfId(id), capacity.sectorBytes, witnesses?.mdc1);
  return [place(mdc0.logA, ids.logA), place(mdc0.logB, ids.logB)];
}

async function superblockOf(device: Device): Promise<Superblock> {
  const { newest, problem, detail } = await readSuperblocks(device);
  if (newest !== undefined && problem === undefined) return newest;
  const { path } = device;
  switch (problem) {
    case 'version':
      throw new MpoolError('ERR_MPOOL_VERSION', `${path}: ${detail}`, { path });
    case 'size':
      throw new MpoolError('ERR_MPOOL_DEVICE_CHANGED', `${path}: ${detail}`, { path });
    case 'damaged':
      throw new MpoolError('ERR_MPOOL_CORRUPT', `${path}: no superblock is whole: ${detail}`, {
        path,
      });
    default:
      throw new MpoolError('ERR_MPOOL_NOT_FOUND', `${path} holds no pool`, { path });
  }
}

function refuseAccess(superblock: Superblock, readOnly: boolean, path: string): void {
  const permitted = permittedAccess(superblock.features);
  if (permitted === 'read-write' || (permitted === 'read-only' && readOnly)) return;
  const why = unknownFeaturesText(superblock.features);
  const instead = permitted === 'read-only' ? ', or open it read-only' : '';
  throw new MpoolError('ERR_MPOOL_VERSION', `${path}: ${why}${instead}`, { path });
}

function refuseChangedDevice(device: Device, recorded: DeviceDescriptor): void {
  const { path } = device;
  if (device.sizeBytes < recorded.sizeBytes) {
    const detail = `${path} has ${device.sizeBytes} bytes, had ${recorded.sizeBytes}`;
    throw new MpoolError('ERR_MPOOL_DEVICE_CHANGED', detail, { path });
  }
  // Logs are written in the sectors of the device that the pool was made on.
  if (recorded.sectorBytes % device.sectorBytes !== 0) {
    const detail = `${path} has sectors of ${device.sectorBytes} bytes, had ${recorded.sectorBytes}`;
    throw new MpoolError('ERR_MPOOL_DEVICE_CHANGED', detail, { path });
  }
}

async function openStaging(
  environment: Environment,
  options: ActivateOptions,
  superblock: Superblock,
): Promise<Device | undefined> {
  const wanted = superblock.staging;
  if (wanted === undefined) return undefined;
  const access = options.readOnly ? 'read' : 'write';
  const paths = new Set([...options.stagingPaths, superblock.stagingPath]);
  paths.delete(options.capacityPath);
  const path = await findStaging(environment.host, superblock, paths);
  if (path !== undefined) {
    const device = await environment.host.openDevice(path, { access, engine: options.engine });
    try {
      refuseChangedDevice(device, wanted);
      return device;
    } catch (error) {
      await device.close();
      throw error;
    }
  }
  if (options.force && options.readOnly) return undefined;
  throw new MpoolError(
    'ERR_MPOOL_NO_DEVICE',
    `the staging device of pool ${superblock.name} is not at ${[...paths].join(', ')}: name a place ` +
      'to look in ($MPOOL_PATH), or open read-only and forced without it',
  );
}
