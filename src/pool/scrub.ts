import { isMpoolError, MpoolError } from '../base/errors.ts';
import type { Device } from '../device/device.ts';
import type { Serial } from '../base/serial.ts';
import { PAGE_BYTES, pagesOf, MIB } from '../base/units.ts';
import { tablePagesOf } from '../format/checksum-table.ts';
import { OBJECT_TYPE_MBLOCK, printObjectId, typeOfId } from '../format/object-id.ts';
import { blankObjectRecord, type ObjectRecord, ROLE_LOG_A, ROLE_LOG_B } from '../format/records.ts';
import type { ScrubOptions, ScrubReport } from './api.ts';
import { MblockCheck } from './check-data.ts';
import { Findings, type CheckLocation } from './check-findings.ts';
import type { CheckedDevice, LogChecks } from './check-logs.ts';
import { checkCapacitySuperblocks, checkStagingSuperblocks } from './check-superblocks.ts';
import type { LogPlace } from './frame-cursor.ts';
import { OpenMdc } from './mdc.ts';
import { mdcOf } from './mdcs.ts';
import type { Log } from './log.ts';
import type { LogPair } from './log-pair.ts';
import { OpenMlog } from './mlog.ts';
import { Pace } from './pace.ts';
import { PacedDevice } from './paced-device.ts';
import { SCRUB_CURSOR } from './parameters.ts';
import { LogScrub } from './scrub-logs.ts';
import type { Store } from './store.ts';
import { placeIn } from './user-log.ts';
import type { MlogId } from '../format/object-id.ts';

const BYTES_PER_SECOND_DEFAULT = 100 * MIB;
/** Some milliseconds of work. */
const OBJECTS_PER_SLICE = 16384;

/**
 * One pass over an active pool that verifies what is on media, while others use it.
 *
 * Invariants
 * 1. An object is referenced while it is read: whoever deletes it meanwhile neither waits nor gives its
 *    space to another before.
 * 2. One read of the pass is in flight, but for the read-ahead of a log; the rate is that of all.
 * 3. Objects are read in the order of their ids, those that were there at the start: it ends however many
 *    come meanwhile, and a cursor needs no more than an id and a page.
 */
export class Scrub {
  readonly #store: Store;
  readonly #administration: Serial;
  readonly #options: ScrubOptions;
  readonly #findings = new Findings();
  readonly #stopping = new AbortController();
  readonly #pace: Pace;
  readonly #logs: LogScrub;
  readonly #devices = new Map<Device, PacedDevice>();
  readonly #fromId: bigint;
  readonly #fromPage: number;
  #cursor: string;
  #doneBytes = 0;
  #totalBytes = 0;
  #ended: Promise<unknown> = Promise.resolve();

  /** @param administration under which superblocks change */
  constructor(store: Store, administration: Serial, options: ScrubOptions) {
    this.#store = store;
    this.#administration = administration;
    this.#options = options;
    const rate = options.bytesPerSecond ?? BYTES_PER_SECOND_DEFAULT;
    this.#pace = new Pace(store.environment.clock, rate, this.#stopping.signal);
    const [, id = '0', page = '0'] = SCRUB_CURSOR.exec(options.from ?? '0x0')!;
    this.#fromId = BigInt(`0x${id}`);
    this.#fromPage = Number(page);
    this.#cursor = options.from ?? '0x0';
    const checks: LogChecks = {
      findings: this.#findings,
      poolUuid: store.superblock.poolUuid,
      signal: this.#stopping.signal,
    };
    this.#logs = new LogScrub(checks, (place) => this.#pacedPlace(place));
  }

  run(): Promise<ScrubReport> {
    const running = this.#run();
    this.#ended = running.catch(() => {});
    return running;
  }

  /** Ends it as soon as the read under way is done. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#ended;
  }

  async #run(): Promise<ScrubReport> {
    const { clock } = this.#store.environment;
    const { signal } = this.#options;
    const startMs = clock.monotonicMs();
    const stop = (): void => this.#stopping.abort();
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted === true) stop();
    let complete = true;
    try {
      await this.#everything();
    } catch (error) {
      if (!isMpoolError(error, 'ERR_MPOOL_ABORTED')) throw error;
      complete = false;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    const report = this.#findings.report(clock.monotonicMs() - startMs);
    return { ...report, complete, ...(complete ? {} : { cursor: this.#cursor }) };
  }

  async #everything(): Promise<void> {
    const store = this.#store;
    await this.#count();
    await this.#pace.take(0);
    await this.#superblocks();
    for (const [log, name] of [
      [store.poolRecords.log, 'MDC 0'],
      [store.catalog.log, 'MDC 1'],
    ] as const) {
      await this.#logs.pair(log.pair.places, name, () => log.pair);
    }
    if (store.superblock.staging !== undefined && store.staging === undefined) {
      const at = { device: store.superblock.stagingPath, offsetBytes: 0 };
      const message = 'the staging device is missing: not verified';
      this.#findings.add('warning', 'device', at, message);
    }
    const buffers = new Map<CheckedDevice['device'], Uint8Array>();
    try {
      for (const batch of store.table.idBatches()) {
        for (const id of batch) {
          if (id < this.#fromId) continue;
          await this.#object(id, buffers);
        }
        await new Promise(setImmediate);
        await this.#pace.take(0);
      }
    } finally {
      for (const [device, buffer] of buffers) device.release(buffer);
    }
  }

  /** What there is to do, without keeping others from running. */
  async #count(): Promise<void> {
    const { table } = this.#store;
    let count = 0;
    for (let index = table.next(-1); index >= 0; index = table.next(index)) {
      if (table.idAt(index) >= this.#fromId) this.#totalBytes += this.#weightAt(index);
      if (++count % OBJECTS_PER_SLICE === 0) await new Promise(setImmediate);
    }
  }

  /** Not while they are changed; and whoever closes the pool, and waits for this to end, may come first. */
  async #superblocks(): Promise<void> {
    const { signal } = this.#stopping;
    let stop = (): void => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(new MpoolError('ERR_MPOOL_ABORTED'));
      signal.addEventListener('abort', stop, { once: true });
    });
    const reading = this.#administration.run(async () => {
      if (signal.aborted) return;
      const { capacity, staging, superblock } = this.#store;
      await checkCapacitySuperblocks(this.#paced(capacity.device), this.#findings);
      if (staging === undefined) return;
      await checkStagingSuperblocks(this.#paced(staging.device), superblock, this.#findings);
    });
    try {
      await Promise.race([reading, stopped]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async #object(id: bigint, buffers: Map<CheckedDevice['device'], Uint8Array>): Promise<void> {
    const { table } = this.#store;
    const index = table.findId(id);
    if (index < 0) return;
    this.#at(printObjectId(id));
    const weight = this.#weightAt(index);
    const before = this.#doneBytes;
    table.ref(index);
    try {
      const on = this.#deviceOf(index);
      if (on === undefined) return;
      const object = this.#recordAt(index);
      if (table.isBad(index)) this.#shared(on, object);
      else if (typeOfId(id) === OBJECT_TYPE_MBLOCK) await this.#mblock(on, object, id, buffers);
      else await this.#log(index, id as MlogId);
      this.#doneBytes = before + weight;
    } finally {
      if (table.unref(index)) this.#store.reclaim(index);
    }
    this.#at(printObjectId(id + 1n));
  }

  async #mblock(
    on: CheckedDevice,
    object: ObjectRecord,
    id: bigint,
    buffers: Map<CheckedDevice['device'], Uint8Array>,
  ): Promise<void> {
    const buffer = buffers.get(on.device) ?? MblockCheck.allocate(on);
    buffers.set(on.device, buffer);
    const fromPage = id === this.#fromId ? this.#fromPage : 0;
    let verified = fromPage;
    const check = new MblockCheck(on, object, this.#findings, buffer, (nextPage) => {
      this.#doneBytes += (nextPage - verified) * PAGE_BYTES;
      verified = nextPage;
      this.#at(`${printObjectId(id)}+${nextPage}`);
    });
    await check.run(true, fromPage);
  }

  async #log(index: number, id: MlogId): Promise<void> {
    const store = this.#store;
    const { table } = store;
    const role = table.role(index);
    this.#findings.counts.mlogs += 1;
    // Log B is read with its log A.
    if (role === ROLE_LOG_B) return;
    const media = store.media(table.mediaClass(index))!;
    const placeAt = (at: number, logId: bigint) => {
      const extent = { pageAddress: table.pageAddress(at), pageCount: table.pageCount(at) };
      return this.#pacedPlace(placeIn(store, media, extent, logId));
    };
    const name = `log ${printObjectId(id)}`;
    if (role !== ROLE_LOG_A) {
      return this.#logs.log(placeAt(index, id), name, () => this.#openLog(id));
    }
    const { logB } = mdcOf(id);
    const other = table.findId(logB);
    if (other < 0 || table.isBad(other)) return;
    table.ref(other);
    try {
      const places = [placeAt(index, id), placeAt(other, logB)] as const;
      await this.#logs.pair(places, `the MDC of ${name}`, () => this.#openPair(id));
    } finally {
      if (table.unref(other)) store.reclaim(other);
    }
  }

  #openLog(id: bigint): Log | undefined {
    for (const held of this.#store.held) {
      if (held instanceof OpenMlog && held.id === id) return held.log;
    }
    return undefined;
  }

  #openPair(logA: bigint): LogPair | undefined {
    for (const held of this.#store.held) {
      if (held instanceof OpenMdc && held.id.logA === logA) return held.pair;
    }
    return undefined;
  }

  #shared(on: CheckedDevice, object: ObjectRecord): void {
    const at: CheckLocation = {
      device: on.device.path,
      offsetBytes: object.pageAddress * PAGE_BYTES,
    };
    const message = 'its extent is where none may be, or shared with another object';
    this.#findings.add('error', 'extent', at, message, object);
  }

  #deviceOf(index: number): CheckedDevice | undefined {
    const media = this.#store.media(this.#store.table.mediaClass(index));
    return media && { device: this.#paced(media.device), descriptor: media.descriptor };
  }

  #paced(device: Device): Device {
    let paced = this.#devices.get(device);
    if (paced === undefined) {
      this.#devices.set(device, (paced = new PacedDevice(device, this.#pace)));
    }
    return paced;
  }

  #pacedPlace(place: LogPlace): LogPlace {
    return { ...place, device: this.#paced(place.device) };
  }

  #recordAt(index: number): ObjectRecord {
    const { table } = this.#store;
    const object = blankObjectRecord();
    object.idLow = table.idLow(index);
    object.idHigh = table.idHigh(index);
    object.pageAddress = table.pageAddress(index);
    object.pageCount = table.pageCount(index);
    object.lengthBytes = table.lengthBytes(index);
    object.digest = table.digest(index);
    return object;
  }

  /** Bytes of an mblock, its table's included. */
  #weightAt(index: number): number {
    const pages = pagesOf(this.#store.table.lengthBytes(index));
    return (pages + tablePagesOf(pages)) * PAGE_BYTES;
  }

  #at(cursor: string): void {
    this.#cursor = cursor;
    const { onProgress } = this.#options;
    onProgress?.({ doneBytes: this.#doneBytes, totalBytes: this.#totalBytes, cursor });
  }
}
