import { equalBytes } from '../base/bytes.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { flushAsync, type Device } from '../device/device.ts';
import type { Host } from '../device/host.ts';
import { OverlayHost } from '../device/overlay-host.ts';
import { type DeviceDescriptor, extentProblem } from '../format/device-descriptor.ts';
import { permittedAccess, unknownFeaturesText } from '../format/features.ts';
import type { Loss } from '../format/log-mark.ts';
import { halvesOfId, idFromHalves, type MlogId, uniquifierOfHalves } from '../format/object-id.ts';
import { type ObjectRecord, ROLE_LOG_A, ROLE_LOG_B, ROLE_PLAIN } from '../format/records.ts';
import type { Superblock } from '../format/superblock.ts';
import { checkPool, type CheckOptions } from './check.ts';
import { MblockCheck } from './check-data.ts';
import { Findings, type CheckReport } from './check-findings.ts';
import { placeOf, type CheckedDevice } from './check-logs.ts';
import { isMblock, isOnCapacity } from './check-records.ts';
import type { Environment } from './environment.ts';
import { findStaging, locatePool, type SearchPlaces } from './find-pools.ts';
import type { LogPlace } from './log-scan.ts';
import type { MarkOf } from './log-evidence.ts';
import { mdcOf } from './mdcs.ts';
import type { AcceptedEnds } from './repair-accept.ts';
import { UserLogRepair } from './repair-logs.ts';
import { repairChecksumTable } from './repair-mblock.ts';
import { MetadataRepair, type RepairedMetadata } from './repair-metadata.ts';
import { type RepairOptions, type RepairReport, RepairSteps, stepAt } from './repair-report.ts';
import { findLostStaging } from './repair-staging.ts';
import {
  lostSuperblock,
  repairDeviceSuperblocks,
  restoreSuperblocks,
} from './repair-superblocks.ts';
import { peekSuperblock, readSuperblocks } from './superblocks.ts';

export type { RepairOptions, RepairReport, RepairStep } from './repair-report.ts';

/**
 * Restores of a pool what something else on media still tells, and leaves what nothing does. The pool
 * must not
 * be open anywhere. A pool that check calls clean is not written to.
 *
 * Each step leaves the pool as whole as it was, or more so, wherever a crash cuts it: it writes where nothing
 * that counts is, then one write makes that count; or it writes once more what is there already.
 * @throws ERR_MPOOL_BUSY, ERR_MPOOL_NOT_FOUND, ERR_MPOOL_VERSION, ERR_MPOOL_IO
 */
export async function repairPoolAt(
  environment: Environment,
  target: string,
  where: SearchPlaces,
  options: RepairOptions,
): Promise<RepairReport> {
  const dryRun = options.dryRun === true;
  const refuse = (path: string): Promise<void> =>
    Promise.reject(new MpoolError('ERR_MPOOL_PERMISSION', path));
  const host = dryRun ? new OverlayHost(environment.host, refuse) : environment.host;
  const own = { ...environment, host };
  const paths = await locatePool(host, target, where);
  const devices: Device[] = [await host.openDevice(paths.capacityPath, { access: 'write' })];
  try {
    const { newest, problem } = await readSuperblocks(devices[0]!);
    const lost =
      problem === 'damaged' ? await findLostSuperblock(host, devices[0]!, where) : undefined;
    const known = newest ?? lost;
    const stagingPath =
      known && (await findStaging(host, known, [...paths.stagingPaths, known.stagingPath]));
    if (stagingPath !== undefined) {
      devices.push(await host.openDevice(stagingPath, { access: 'write' }));
    }
    return await new Repair(own, devices[0]!, devices[1], lost, options, async (found) => {
      const places = await findLostStaging(host, found.superblock, found.objects.values(), {
        where,
        besides: devices[0]!.path,
      });
      if (places.length !== 1) return places;
      const device = await host.openDevice(places[0]!, { access: 'write' });
      devices.push(device);
      return device;
    }).run();
  } finally {
    for (const device of devices) await device.close();
  }
}

/** Looks for a staging device of the pool whose capacity device has no whole superblock. */
async function findLostSuperblock(
  host: Host,
  capacity: Device,
  where: SearchPlaces,
): Promise<Superblock | undefined> {
  for (const path of await host.candidates(where.places, where.blockDevices)) {
    const found = await peekSuperblock(host, path).catch(() => undefined);
    if (found?.newest === undefined || found.problem !== undefined) continue;
    const superblock = await lostSuperblock(capacity, found.newest);
    if (superblock !== undefined) return superblock;
  }
  return undefined;
}

/** The staging device that has no superblock, claimed; or where copies of it are. */
type FindStaging = (metadata: RepairedMetadata) => Promise<Device | string[]>;

class Repair {
  readonly #findStaging: FindStaging;
  readonly #environment: Environment;
  readonly #capacity: Device;
  #staging: Device | undefined;
  /** What the superblock of the capacity device was, when only the staging device has it. */
  readonly #lost: Superblock | undefined;
  readonly #options: RepairOptions;
  readonly #steps: RepairSteps;

  constructor(
    environment: Environment,
    capacity: Device,
    staging: Device | undefined,
    lost: Superblock | undefined,
    options: RepairOptions,
    lostStaging: FindStaging,
  ) {
    this.#findStaging = lostStaging;
    this.#lost = lost;
    this.#environment = environment;
    this.#capacity = capacity;
    this.#staging = staging;
    this.#options = options;
    this.#steps = new RepairSteps(options);
  }

  async run(): Promise<RepairReport> {
    const { clock } = this.#environment;
    const startMs = clock.monotonicMs();
    const before = await this.#check();
    if (!before.clean) await this.#repair();
    const { done, withheld } = this.#steps;
    const after = done.length === 0 ? before : await this.#check();
    return {
      dryRun: this.#options.dryRun === true,
      steps: done,
      withheld,
      left: after.findings.filter(({ severity }) => severity !== 'note'),
      before: before.severityCounts,
      after: after.severityCounts,
      durationMs: clock.monotonicMs() - startMs,
      clean: after.clean && withheld.length === 0,
    };
  }

  #check(): Promise<CheckReport> {
    const { data, signal, onProgress } = this.#options;
    const { clock } = this.#environment;
    const options: CheckOptions = { clock, data, signal, onProgress };
    return checkPool({ capacity: this.#capacity, staging: this.#staging }, options);
  }

  async #repair(): Promise<void> {
    if (this.#lost !== undefined) {
      this.#refuseForeign(this.#lost);
      await restoreSuperblocks(this.#steps, this.#capacity, this.#lost);
    }
    const { newest, problem } = await readSuperblocks(this.#capacity);
    if (newest === undefined || problem !== undefined) return;
    this.#refuseForeign(newest);
    // What a killed process left in volatile caches is about to be believed: make it durable first.
    for (const device of this.#devices) await flushAsync(device);
    await repairDeviceSuperblocks(this.#steps, this.#capacity, newest);
    if (this.#staging !== undefined && newest.staging !== undefined) {
      const own = { ...newest, deviceUuid: newest.staging.uuid };
      await repairDeviceSuperblocks(this.#steps, this.#staging, own);
    }
    const devices = { capacity: this.#capacity, staging: this.#staging };
    const { prng } = this.#environment;
    const metadata = await new MetadataRepair(newest, devices, prng, this.#steps).run();
    if (metadata === undefined) return;
    if (this.#staging === undefined) await this.#lostStaging(metadata);
    await this.#objects(metadata);
  }

  /** A staging device of which no superblock is whole gets that of the capacity device, if it is the one. */
  async #lostStaging(metadata: RepairedMetadata): Promise<void> {
    const { superblock } = metadata;
    if (superblock.staging === undefined) return;
    const found = await this.#findStaging(metadata);
    if (!Array.isArray(found)) {
      this.#staging = found;
      const own = { ...superblock, deviceUuid: superblock.staging.uuid };
      this.#refuseForeign(superblock);
      await repairDeviceSuperblocks(this.#steps, found, own);
    } else if (found.length > 1) {
      const location = { device: found[0]!, offsetBytes: 0 };
      const message = 'the superblocks of the staging device, as the capacity device has them';
      const losses = [`what is on the others: ${found.join(', ')} hold the same objects`];
      this.#steps.withhold(stepAt('superblock', location, message, { losses }));
    }
  }

  /**
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_VERSION, ERR_MPOOL_DEVICE_CHANGED for what must not be
   * written to
   */
  #refuseForeign(superblock: Superblock): void {
    const { path } = this.#capacity;
    if (!equalBytes(superblock.deviceUuid, superblock.capacity.uuid)) {
      throw new MpoolError('ERR_MPOOL_NOT_FOUND', `${path} is the staging device of a pool`);
    }
    if (permittedAccess(superblock.features) !== 'read-write') {
      const why = unknownFeaturesText(superblock.features);
      throw new MpoolError('ERR_MPOOL_VERSION', `${path}: ${why}`, { path });
    }
    for (const device of this.#devices) {
      const recorded = device === this.#capacity ? superblock.capacity : superblock.staging!;
      if (recorded.sectorBytes % device.sectorBytes === 0) continue;
      const detail = `${device.path} has sectors of ${device.sectorBytes} bytes`;
      throw new MpoolError('ERR_MPOOL_DEVICE_CHANGED', detail, { path: device.path });
    }
  }

  async #objects(repaired: RepairedMetadata): Promise<void> {
    const { superblock, objects, metadata, marks, losses, accepted } = repaired;
    const sound = soundObjects(superblock, objects, metadata);
    const markOf: MarkOf = ({ objectId: { low, high } }) =>
      marks.get(uniquifierOfHalves(low, high));
    const logs = new UserLogRepair(this.#steps, this.#environment.prng, markOf, accepted);
    const buffers = new Map<Device, Uint8Array>();
    try {
      for (const object of sound.values()) {
        const on = this.#deviceOf(superblock, object);
        if (on === undefined) continue;
        // Of an MDC the loss may be that of log B.
        const uniquifier = uniquifierOfHalves(object.idLow, object.idHigh);
        const isA = object.role === ROLE_LOG_A;
        const loss = losses.get(uniquifier) ?? (isA ? losses.get(uniquifier + 1) : undefined);
        const whole = isMblock(object)
          ? await this.#mblock(on, object, buffers, loss !== undefined)
          : await this.#log(superblock, object, sound, logs);
        if (loss !== undefined && whole) await this.#forget(on, object, loss, accepted);
      }
    } finally {
      await accepted?.close();
      for (const [device, buffer] of buffers) device.release(buffer);
    }
  }

  /** The pool remembers a loss that is over. */
  async #forget(
    on: CheckedDevice,
    object: ObjectRecord,
    loss: Loss,
    accepted: AcceptedEnds | undefined,
  ): Promise<void> {
    const at = { device: on.device.path, offsetBytes: object.pageAddress * PAGE_BYTES };
    const message = `the loss of bytes ${loss.fromBytes} to ${loss.toBytes} is forgotten: it is over`;
    const step = stepAt(isMblock(object) ? 'mblock' : 'log', at, message, { id: object });
    if (accepted === undefined) return this.#steps.withhold(step);
    await this.#steps.take(step, () => accepted.tell([], [loss]));
  }

  /** @returns whether it is all there; of its data only when that is asked for */
  async #mblock(
    on: CheckedDevice,
    object: ObjectRecord,
    buffers: Map<Device, Uint8Array>,
    withData: boolean,
  ): Promise<boolean> {
    const buffer = buffers.get(on.device) ?? MblockCheck.allocate(on);
    buffers.set(on.device, buffer);
    const findings = new Findings();
    await new MblockCheck(on, object, findings, buffer).run(withData);
    if (findings.errorOrWarningCount === 0) return true;
    await repairChecksumTable(this.#steps, on, object);
    return false;
  }

  async #log(
    superblock: Superblock,
    object: ObjectRecord,
    sound: ReadonlyMap<bigint, ObjectRecord>,
    logs: UserLogRepair,
  ): Promise<boolean> {
    if (object.role === ROLE_PLAIN) return logs.log(this.#placeOf(superblock, object));
    if (object.role !== ROLE_LOG_A) return false;
    const id = idFromHalves(object.idLow, object.idHigh) as MlogId;
    const other = sound.get(mdcOf(id).logB);
    if (other?.role !== ROLE_LOG_B || other.mediaClass !== object.mediaClass) return false;
    return logs.pair([this.#placeOf(superblock, object), this.#placeOf(superblock, other)]);
  }

  #placeOf(superblock: Superblock, object: ObjectRecord): LogPlace {
    const on = this.#deviceOf(superblock, object)!;
    const { pageAddress, pageCount, idLow, idHigh } = object;
    const id = halvesOfId(idFromHalves(idLow, idHigh));
    return placeOf(on, { pageAddress, pageCount }, superblock, id);
  }

  #deviceOf(superblock: Superblock, object: ObjectRecord): CheckedDevice | undefined {
    if (isOnCapacity(object)) return { device: this.#capacity, descriptor: superblock.capacity };
    const { staging } = superblock;
    if (this.#staging === undefined || staging === undefined) return undefined;
    return { device: this.#staging, descriptor: staging };
  }

  get #devices(): Device[] {
    return this.#staging === undefined ? [this.#capacity] : [this.#capacity, this.#staging];
  }
}

/** Objects, by id, whose space is their own: only there may anything be written for them. */
function soundObjects(
  superblock: Superblock,
  objects: RepairedMetadata['objects'],
  metadata: RepairedMetadata['metadata'],
): Map<bigint, ObjectRecord> {
  interface Owned {
    pageAddress: number;
    pageCount: number;
    id?: bigint;
  }
  const all: Record<'capacity' | 'staging', Owned[]> = { capacity: [...metadata], staging: [] };
  const sound = new Map<bigint, ObjectRecord>();
  for (const object of objects.values()) {
    const id = idFromHalves(object.idLow, object.idHigh);
    const mediaClass = isOnCapacity(object) ? 'capacity' : 'staging';
    const descriptor: DeviceDescriptor | undefined = superblock[mediaClass];
    const { pageAddress, pageCount } = object;
    all[mediaClass].push({ pageAddress, pageCount, id });
    const whole = isMblock(object);
    if (descriptor !== undefined && extentProblem(descriptor, object, { whole }) === undefined) {
      sound.set(id, object);
    }
  }
  for (const owned of Object.values(all)) {
    owned.sort((a, b) => a.pageAddress - b.pageAddress);
    let last: Owned | undefined;
    for (const each of owned) {
      const lastEnd = last === undefined ? 0 : last.pageAddress + last.pageCount;
      if (each.pageAddress < lastEnd) {
        if (last?.id !== undefined) sound.delete(last.id);
        if (each.id !== undefined) sound.delete(each.id);
      }
      if (each.pageAddress + each.pageCount > lastEnd) last = each;
    }
  }
  return sound;
}
