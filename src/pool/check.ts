import { systemClock, type Clock } from '../base/clock.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, pagesOf } from '../base/units.ts';
import type { Device } from '../device/device.ts';
import type { LogMark, Loss } from '../format/log-mark.ts';
import {
  halvesOfId,
  mdcLogIds,
  printIdHalves,
  slotOfLow,
  uniquifierOfHalves,
} from '../format/object-id.ts';
import { ROLE_LOG_A, ROLE_LOG_B, ROLE_PLAIN, type ObjectRecord } from '../format/records.ts';
import type { Superblock } from '../format/superblock.ts';
import { MblockCheck } from './check-data.ts';
import { Findings, type CheckLocation, type CheckReport } from './check-findings.ts';
import { LogEnds } from './check-ends.ts';
import {
  checkLog,
  checkLogPair,
  placeOf,
  type CheckedDevice,
  type LogChecks,
} from './check-logs.ts';
import {
  checkRoles,
  ExtentCheck,
  isMblock,
  isOnCapacity,
  PoolRecordsCheck,
  SlotCheck,
} from './check-records.ts';
import { checkCapacitySuperblocks, checkStagingSuperblocks } from './check-superblocks.ts';
import type { LogPlace } from './log-scan.ts';

export type { CheckReport } from './check-findings.ts';

/** Devices of a pool, opened for reading at least; the caller closes them. */
export interface PoolDevices {
  capacity: Device;
  staging?: Device | undefined;
}

export interface CheckOptions {
  /** Of the report's duration; the machine's by default. */
  clock?: Clock | undefined;
  /** Also every page of every mblock against its checksum. */
  data?: boolean | undefined;
  /** With `data` in bytes of mblocks, else in objects. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const MBLOCKS_IN_FLIGHT = 4;

/**
 * Verifies a pool on media from the superblocks down, read-only, and goes on after damage. Built on
 * the format and the readers of logs and superblocks alone: it shares nothing with activation, so
 * that it can catch its mistakes. Memory grows with the number of objects.
 * @throws ERR_MPOOL_ABORTED; what is wrong with the pool is in the report
 */
export async function checkPool(
  devices: PoolDevices,
  options: CheckOptions = {},
): Promise<CheckReport> {
  const clock = options.clock ?? systemClock;
  const startMs = clock.monotonicMs();
  const findings = new Findings();
  const superblock = await checkCapacitySuperblocks(devices.capacity, findings);
  if (superblock !== undefined) {
    const capacity = { device: devices.capacity, descriptor: superblock.capacity };
    const staging = await stagingOf(devices, superblock, findings);
    await new PoolCheck(superblock, capacity, staging, findings, options).run();
  }
  return findings.report(clock.monotonicMs() - startMs);
}

async function stagingOf(
  { capacity, staging }: PoolDevices,
  superblock: Superblock,
  findings: Findings,
): Promise<CheckedDevice | undefined> {
  const descriptor = superblock.staging;
  if (staging === undefined) {
    if (descriptor !== undefined) {
      const at = { device: superblock.stagingPath || capacity.path, offsetBytes: 0 };
      findings.add('warning', 'device', at, 'the staging device is missing: not verified');
    }
    return undefined;
  }
  const belongs = await checkStagingSuperblocks(staging, superblock, findings);
  return belongs && descriptor !== undefined ? { device: staging, descriptor } : undefined;
}

class PoolCheck {
  readonly #superblock: Superblock;
  readonly #capacity: CheckedDevice;
  readonly #staging: CheckedDevice | undefined;
  readonly #findings: Findings;
  readonly #options: CheckOptions;
  readonly #logs: LogChecks;
  readonly #extents: ExtentCheck;
  readonly #ends: LogEnds;
  readonly #slots = new Map<number, SlotCheck>();
  #done = 0;
  #total = 0;

  constructor(
    superblock: Superblock,
    capacity: CheckedDevice,
    staging: CheckedDevice | undefined,
    findings: Findings,
    options: CheckOptions,
  ) {
    this.#superblock = superblock;
    this.#capacity = capacity;
    this.#staging = staging;
    this.#findings = findings;
    this.#options = options;
    this.#logs = {
      findings,
      poolUuid: superblock.poolUuid,
      signal: options.signal,
      markOf: (place) => this.#markOf(place),
      onEnd: (place, header, end, name) => this.#ends.add(place, header, end, name),
    };
    this.#ends = new LogEnds(findings);
    this.#extents = new ExtentCheck(findings);
  }

  async run(): Promise<void> {
    const { mdc0 } = this.#superblock;
    const records = new PoolRecordsCheck(this.#findings);
    const places = this.#mdcPlaces(0, mdc0.logA, mdc0.logB);
    await checkLogPair(this.#logs, places, 'MDC 0', (place) => records.visitor(place));
    const mdc0At = this.#locate(this.#capacity, mdc0.logA.pageAddress);
    if (records.properties === undefined) {
      this.#findings.add('error', 'record', mdc0At, 'the properties of the pool are missing');
    }
    if (records.mdcs.size === 0) {
      this.#findings.add('error', 'record', mdc0At, 'the MDC of the objects is missing');
    }
    for (const { slot, logA, logB } of records.mdcs.values()) {
      // oxlint-disable-next-line no-await-in-loop -- one log at a time bounds memory
      await this.#mdc(slot, this.#mdcPlaces(slot, logA, logB));
    }
    const objects = [...this.#slots.values()].flatMap((slot) => [...slot.objects.values()]);
    this.#ownExtents(objects);
    const locate = (object: ObjectRecord): CheckLocation => this.#locateObject(object);
    checkRoles(this.#slots, records.properties, this.#findings, locate, mdc0At);
    this.#total = objects.reduce((sum, object) => sum + this.#weightOf(object), 0);
    await this.#userLogs();
    this.#ends.finish();
    await this.#mblocks(objects.filter((object) => isMblock(object)));
  }

  #mdcPlaces(slot: number, logA: LogPlace['extent'], logB: LogPlace['extent']) {
    const ids = mdcLogIds(slot);
    const place = (extent: LogPlace['extent'], id: bigint, letter: string): LogPlace => {
      this.#extents.add(this.#capacity, { ...extent, name: `log ${letter} of MDC ${slot}` }, LOG);
      return placeOf(this.#capacity, extent, this.#superblock, halvesOfId(id));
    };
    return [place(logA, ids.logA, 'A'), place(logB, ids.logB, 'B')] as const;
  }

  async #mdc(slot: number, places: readonly [LogPlace, LogPlace]): Promise<void> {
    const name = `MDC ${slot}`;
    if (!places.every((place) => this.#isOnDevice(place))) return;
    const check = new SlotCheck(slot, this.#findings);
    await checkLogPair(this.#logs, places, name, (place) => check.visitor(place));
    check.finish(this.#locate(this.#capacity, places[0].extent.pageAddress));
    this.#slots.set(slot, check);
  }

  #markOf({ objectId: { low, high } }: LogPlace): LogMark | undefined {
    return this.#slots.get(slotOfLow(low))?.marks.get(uniquifierOfHalves(low, high));
  }

  #lossOf({ idLow, idHigh }: ObjectRecord): Loss | undefined {
    return this.#slots.get(slotOfLow(idLow))?.losses.get(uniquifierOfHalves(idLow, idHigh));
  }

  /** What the pool remembers of a loss. @param isWhole nothing of it is missing now */
  #remembered(object: ObjectRecord, loss: Loss | undefined, isWhole: boolean): void {
    if (loss === undefined) return;
    const since = dateOf(loss.sinceMs);
    const range = `bytes ${loss.fromBytes} to ${loss.toBytes}`;
    const what = `${range}, which were acknowledged, were found lost at ${since}`;
    const at = this.#locateObject(object);
    const structure = isMblock(object) ? 'mblock' : 'log';
    if (!isWhole) this.#findings.add('note', structure, at, what, object);
    else {
      const message = `${what}; they are there now, and repair forgets the loss`;
      this.#findings.add('warning', structure, at, message, object);
    }
  }

  #ownExtents(objects: readonly ObjectRecord[]): void {
    for (const object of objects) {
      const on = this.#deviceOf(object);
      if (on !== undefined) this.#extents.add(on, object, isMblock(object) ? MBLOCK : LOG);
      else if (this.#superblock.staging === undefined) {
        const at = this.#locateObject(object);
        this.#findings.add('error', 'object', at, 'the pool has no staging class', object);
      }
    }
    this.#extents.finish();
  }

  async #userLogs(): Promise<void> {
    for (const { objects } of this.#slots.values()) {
      for (const [uniquifier, object] of objects) {
        if (isMblock(object)) continue;
        const before = this.#findings.errorOrWarningCount;
        // oxlint-disable-next-line no-await-in-loop -- one log at a time bounds memory
        await this.#userLog(object, objects.get(uniquifier + 1));
        const isWhole = this.#findings.errorOrWarningCount === before;
        if (object.role === ROLE_LOG_B || this.#deviceOf(object) === undefined) continue;
        const other = object.role === ROLE_LOG_A ? objects.get(uniquifier + 1) : undefined;
        const loss = this.#lossOf(object) ?? (other && this.#lossOf(other));
        this.#remembered(object, loss, isWhole);
      }
    }
  }

  /** A log of its own, or with its log B when it is log A of an MDC. */
  async #userLog(object: ObjectRecord, follower: ObjectRecord | undefined): Promise<void> {
    this.#throwIfAborted();
    this.#findings.counts.mlogs += 1;
    this.#progress(this.#weightOf(object));
    const place = this.#placeOfLog(object);
    if (place === undefined || object.role === ROLE_LOG_B) return;
    const name = `log ${printIdHalves(object.idLow, object.idHigh)}`;
    if (object.role === ROLE_PLAIN) return checkLog(this.#logs, place, name);
    const other =
      object.role === ROLE_LOG_A && follower?.role === ROLE_LOG_B
        ? this.#placeOfLog(follower)
        : undefined;
    if (other !== undefined) await checkLogPair(this.#logs, [place, other], `the MDC of ${name}`);
  }

  async #mblocks(mblocks: readonly ObjectRecord[]): Promise<void> {
    let next = 0;
    const work = async (): Promise<void> => {
      const buffers = new Map<CheckedDevice, Uint8Array>();
      try {
        while (next < mblocks.length) {
          this.#throwIfAborted();
          const object = mblocks[next++]!;
          const on = this.#deviceOf(object);
          if (on !== undefined && this.#isOnDevice({ device: on.device, extent: object })) {
            const buffer = buffers.get(on) ?? MblockCheck.allocate(on);
            buffers.set(on, buffer);
            // oxlint-disable-next-line no-await-in-loop -- one of a few workers
            await this.#mblock(on, object, buffer);
          }
          this.#progress(this.#weightOf(object));
        }
      } finally {
        for (const [on, buffer] of buffers) on.device.release(buffer);
      }
    };
    const results = await Promise.allSettled(Array.from({ length: MBLOCKS_IN_FLIGHT }, work));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #mblock(on: CheckedDevice, object: ObjectRecord, buffer: Uint8Array): Promise<void> {
    const loss = this.#lossOf(object);
    const withData = this.#options.data === true;
    if (loss === undefined) {
      return new MblockCheck(on, object, this.#findings, buffer).run(withData);
    }
    const part = new Findings();
    await new MblockCheck(on, object, part, buffer).run(true);
    this.#remembered(object, loss, part.errorOrWarningCount === 0);
    this.#findings.absorb(part);
  }

  #placeOfLog(object: ObjectRecord): LogPlace | undefined {
    const on = this.#deviceOf(object);
    if (on === undefined) return undefined;
    const id = { low: object.idLow, high: object.idHigh };
    const { pageAddress, pageCount } = object;
    const place = placeOf(on, { pageAddress, pageCount }, this.#superblock, id);
    return this.#isOnDevice(place) ? place : undefined;
  }

  /** Reading what lies beyond the device would fail for a reason that is reported already. */
  #isOnDevice({ device, extent }: Pick<LogPlace, 'device' | 'extent'>): boolean {
    return (extent.pageAddress + extent.pageCount) * PAGE_BYTES <= device.sizeBytes;
  }

  #deviceOf(object: ObjectRecord): CheckedDevice | undefined {
    return isOnCapacity(object) ? this.#capacity : this.#staging;
  }

  #locateObject(object: ObjectRecord): CheckLocation {
    const on = this.#deviceOf(object);
    if (on !== undefined) return this.#locate(on, object.pageAddress);
    const device = this.#superblock.stagingPath || 'staging';
    return { device, offsetBytes: object.pageAddress * PAGE_BYTES };
  }

  #locate(on: CheckedDevice, pageAddress: number): CheckLocation {
    return { device: on.device.path, offsetBytes: pageAddress * PAGE_BYTES };
  }

  #weightOf(object: ObjectRecord): number {
    return this.#options.data === true ? pagesOf(object.lengthBytes) * PAGE_BYTES : 1;
  }

  #progress(weight: number): void {
    this.#done += weight;
    this.#options.onProgress?.(this.#done, this.#total);
  }

  #throwIfAborted(): void {
    if (this.#options.signal?.aborted === true) throw new MpoolError('ERR_MPOOL_ABORTED');
  }
}

function dateOf(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}

const LOG = { whole: false } as const;
const MBLOCK = { whole: true } as const;
