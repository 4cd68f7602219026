import { assert } from '../base/assert.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { randomUuid } from '../base/prng.ts';
import { KIB, MIB, PAGE_BYTES } from '../base/units.ts';
import { writeAsync } from '../device/device.ts';
import { CLASS_CAPACITY } from '../format/device-descriptor.ts';
import type { Extent } from '../format/extent.ts';
import { hasWitnesses, knownFeatures } from '../format/features.ts';
import { halvesOfId, makeObjectId, OBJECT_TYPE_MLOG } from '../format/object-id.ts';
import {
  blankObjectRecord,
  type ObjectRecord,
  type PoolProperties,
  ROLE_LOG_A,
  ROLE_LOG_B,
} from '../format/records.ts';
import type { Superblock } from '../format/superblock.ts';
import { mdc0Places } from './activate.ts';
import type { CreateOptions } from './api.ts';
import { Catalog, OBJECT_SLOT } from './catalog.ts';
import type { Environment } from './environment.ts';
import { LogPair } from './log-pair.ts';
import { logPlace } from './log-place.ts';
import { Media } from './media.ts';
import { checkParameters, checkPoolName, PARAMETER_DEFAULTS, toProperties } from './parameters.ts';
import { PoolRecords } from './pool-records.ts';
import {
  checkDeviceOptions,
  clearDevice,
  disownDevice,
  prepareDevice,
  type PreparedDevice,
  refuseSameDevice,
  tooSmall,
} from './prepare-device.ts';
import { writeSuperblocks } from './superblocks.ts';
import { Witnesses } from './witnesses.ts';

/** Logs are sized by the device: an empty pool takes at most 3 % of 32 MiB or more. */
const MDC0_LOG_BYTES = 64 * KIB;
const OBJECT_LOG = { part: 512, least: 128 * KIB, most: 4 * MIB };
const ROOT_LOG = { part: 256, least: 256 * KIB, most: 8 * MIB };

/**
 * Makes a pool. All that can be refused is refused before the first write; the last write, the capacity
 * device's superblock, is what makes it a pool. On an error files made for it are gone again.
 */
export async function createPool(environment: Environment, options: CreateOptions): Promise<void> {
  checkCreateOptions(options);
  const parameters = parametersOf(options);
  checkParameters(parameters);
  const settings = { force: options.force === true, engine: options.engine };
  const { capacity, staging } = options;
  const prepared: PreparedDevice[] = [];
  const progress = { superblocks: false };
  try {
    prepared.push(await prepareDevice(environment, 'capacity', capacity, settings));
    if (staging !== undefined) {
      await refuseSameDevice(environment.host, capacity.path, staging.path);
      prepared.push(await prepareDevice(environment, 'staging', staging, settings));
    }
    if (options.signal?.aborted === true) throw new MpoolError('ERR_MPOOL_ABORTED', 'create');
    await writePool(environment, options.name, parameters, prepared, progress);
    await Promise.all(prepared.map(({ device }) => device.close()));
  } catch (error) {
    if (progress.superblocks) for (const each of prepared) await disownDevice(each.device);
    await Promise.all(prepared.map((each) => each.undo()));
    throw error;
  }
}

function checkCreateOptions(options: CreateOptions): void {
  if (typeof options !== 'object' || options === null) {
    throw invalidArgument('create() takes { name, capacity, … }', 'type');
  }
  checkPoolName(options.name);
  checkDeviceOptions(options.capacity);
  if (options.staging === undefined) return;
  checkDeviceOptions(options.staging);
  if (options.staging.path !== options.capacity.path) return;
  throw invalidArgument('the staging device must be another than the capacity device');
}

function parametersOf(options: CreateOptions): typeof PARAMETER_DEFAULTS {
  const parameters = { ...PARAMETER_DEFAULTS };
  for (const name of Object.keys(parameters) as (keyof typeof parameters)[]) {
    if (options[name] !== undefined) Object.assign(parameters, { [name]: options[name] });
  }
  const { capacity, staging } = options;
  parameters.sparePercentCapacity = capacity.sparePercent ?? parameters.sparePercentCapacity;
  parameters.sparePercentStaging = staging?.sparePercent ?? parameters.sparePercentStaging;
  return parameters;
}

async function writePool(
  environment: Environment,
  name: string,
  parameters: typeof PARAMETER_DEFAULTS,
  prepared: readonly PreparedDevice[],
  progress: { superblocks: boolean },
): Promise<void> {
  const { prng, clock, host } = environment;
  const [capacity, staging] = prepared as [PreparedDevice, PreparedDevice | undefined];
  const media = new Media(capacity.descriptor, capacity.device, 0, null);
  const extents = reserveLogs(media);
  if (staging !== undefined) refuseTooSmall(new Media(staging.descriptor, staging.device, 0, null));
  const resolved = async (path: string): Promise<string> => (await host.stat(path))?.path ?? path;
  const superblock: Superblock = {
    name,
    poolUuid: randomUuid(prng),
    generation: 1,
    features: knownFeatures(),
    // A clock that is set before 1970 must not keep anybody from making a pool.
    createdMs: Math.max(0, clock.wallMs()),
    deviceUuid: capacity.descriptor.uuid,
    capacity: capacity.descriptor,
    staging: staging?.descriptor,
    mdc0: { logA: extents.mdc0A, logB: extents.mdc0B },
    capacityPath: await resolved(capacity.device.path),
    stagingPath: staging === undefined ? '' : await resolved(staging.device.path),
  };
  for (const each of prepared) await proveWritable(each);
  for (const each of prepared) await clearDevice(each);
  await writeMetadata(environment, superblock, media, extents, parameters);
  await media.gate.flush();
  progress.superblocks = true;
  if (staging !== undefined) {
    const own = { ...superblock, deviceUuid: staging.descriptor.uuid };
    await writeSuperblocks(staging.device, own, { first: true });
  }
  await writeSuperblocks(capacity.device, superblock, { first: true });
}

/** The first sector as it is, written back: a device that refuses writes has lost nothing yet. */
async function proveWritable({ device }: PreparedDevice): Promise<void> {
  const sector = device.allocate(device.sectorBytes);
  try {
    await new Promise<void>((resolve, reject) => {
      device.read(0, sector, (error) => (error === null ? resolve() : reject(error)));
    });
    await writeAsync(device, 0, sector, 'volatile');
  } finally {
    device.release(sector);
  }
}

interface LogExtents {
  mdc0A: Extent;
  mdc0B: Extent;
  objectsA: Extent;
  objectsB: Extent;
  rootA: Extent;
  rootB: Extent;
}

function reserveLogs(media: Media): LogExtents {
  const { sizeBytes } = media.descriptor;
  const take = (bytes: number): Extent => {
    const extent = media.space.allocPages(Math.ceil(bytes / PAGE_BYTES), { spare: true });
    if (extent === undefined) throw tooSmallFor(media);
    return extent;
  };
  const sized = ({ part, least, most }: typeof ROOT_LOG): number =>
    Math.min(most, Math.max(least, sizeBytes / part));
  refuseTooSmall(media);
  const extents = {
    mdc0A: take(MDC0_LOG_BYTES),
    mdc0B: take(MDC0_LOG_BYTES),
    objectsA: take(sized(OBJECT_LOG)),
    objectsB: take(sized(OBJECT_LOG)),
    rootA: take(sized(ROOT_LOG)),
    rootB: take(sized(ROOT_LOG)),
  };
  refuseTooSmall(media);
  return extents;
}

function tooSmallFor({ device, descriptor }: Media): Error {
  return tooSmall(device.path, descriptor.sizeBytes, descriptor.zonePages);
}

/** A class on which not one mblock fits is a mistake. */
function refuseTooSmall(media: Media): void {
  const { space } = media;
  const page = space.allocZone({ spare: true });
  if (page < 0) throw tooSmallFor(media);
  space.free({ pageAddress: page, pageCount: space.zonePages });
}

async function writeMetadata(
  environment: Environment,
  superblock: Superblock,
  media: Media,
  extents: LogExtents,
  parameters: typeof PARAMETER_DEFAULTS,
): Promise<void> {
  const { prng } = environment;
  const { device, gate } = media;
  const rootMdc: PoolProperties['rootMdc'] = {
    logA: makeObjectId(1, OBJECT_TYPE_MLOG, OBJECT_SLOT),
    logB: makeObjectId(2, OBJECT_TYPE_MLOG, OBJECT_SLOT),
  };
  const mdc = { slot: OBJECT_SLOT, logA: extents.objectsA, logB: extents.objectsB };
  const witnesses = hasWitnesses(superblock.features) ? new Witnesses() : undefined;
  const poolRecords = await PoolRecords.create(
    mdc0Places(superblock, device, witnesses),
    gate,
    prng,
    toProperties(parameters, rootMdc),
    mdc,
    witnesses?.mdc0,
  );
  const places = Catalog.places(media, superblock.poolUuid, mdc, witnesses);
  const catalog = await Catalog.create(places, media, prng, poolRecords, witnesses);
  const first = await catalog.newUniquifierPair();
  assert(first === 1, 'the root MDC has the first ids');
  const { poolUuid, capacity } = superblock;
  const rootPlace = (extent: Extent, id: bigint): ReturnType<typeof logPlace> =>
    logPlace(device, extent, poolUuid, halvesOfId(id), capacity.sectorBytes, witnesses?.mdc1);
  await LogPair.create(
    [rootPlace(extents.rootA, rootMdc.logA), rootPlace(extents.rootB, rootMdc.logB)],
    gate,
    prng,
  );
  await gate.flush();
  const record = (id: bigint, extent: Extent, role: ObjectRecord['role']): ObjectRecord => ({
    ...blankObjectRecord(),
    mediaClass: CLASS_CAPACITY,
    role,
    idLow: halvesOfId(id).low,
    idHigh: halvesOfId(id).high,
    ...extent,
  });
  await catalog.commit([
    record(rootMdc.logA, extents.rootA, ROLE_LOG_A),
    record(rootMdc.logB, extents.rootB, ROLE_LOG_B),
  ]);
  await catalog.close();
  await poolRecords.log.close();
}
