import { isMpoolError, MpoolError } from '../base/errors.ts';
import { MIB, PAGE_BYTES, pagesOf } from '../base/units.ts';
import { tablePagesOf } from '../format/checksum-table.ts';
import type { LogMark } from '../format/log-mark.ts';
import { idFromHalves, type MlogId, printObjectId } from '../format/object-id.ts';
import { blankObjectRecord, type ObjectRecord, ROLE_LOG_A, ROLE_LOG_B } from '../format/records.ts';
import type { Recovery } from './api.ts';
import { MblockCheck } from './check-data.ts';
import { Findings } from './check-findings.ts';
import type { CheckedDevice } from './check-logs.ts';
import { lossMessage } from './log-evidence.ts';
import { lookAtLog, type LogLook, type LookDepth } from './log-look.ts';
import type { LogPlace } from './log-scan.ts';
import type { NewLoss } from './lost-writes.ts';
import { mdcOf } from './mdcs.ts';
import type { Store } from './store.ts';
import { placeOfObject } from './user-log.ts';

export const VERIFY_BYTES_DEFAULT = 64 * MIB;
/** Of each, up to 4 MiB are read. */
const LOGS_MAX = 128;
/** A stop that looks clean is believed when so many of the newest logs are as a clean one leaves them. */
const LOGS_PROBED = 17;
const LOGS_IN_FLIGHT = 16;
const MBLOCKS_IN_FLIGHT = 4;

/**
 * After a stop that was not clean: are the newest things there that devices acknowledged? Reads only, but
 * that losses are remembered. What is not looked at here is judged when it is opened or read.
 * @param verifyBytes how much data of the newest mblocks
 * @throws ERR_MPOOL_CORRUPT when MDC 0 or MDC 1 lost something and the pool is to be written to
 */
export async function verifyNewest(store: Store, verifyBytes: number): Promise<void> {
  if (store.witnesses === undefined) return;
  store.recovery = await new NewestCheck(store, verifyBytes).run();
}

class NewestCheck {
  readonly #store: Store;
  readonly #losses: NewLoss[] = [];
  readonly #recovery: Recovery;
  #bytesLeft: number;

  constructor(store: Store, verifyBytes: number) {
    this.#store = store;
    this.#bytesLeft = verifyBytes;
    const found = [store.catalog.log.pair.found, store.poolRecords.log.pair.found];
    this.#recovery = {
      unclean: found.some((end) => end?.closed !== true),
      verifiedObjects: 0,
      verifiedBytes: 0,
      verifiedLogs: 0,
      lostObjects: 0,
    };
  }

  async run(): Promise<Recovery> {
    const recovery = this.#recovery;
    this.#refuseShort(this.#store.lostWrites.between());
    const logs = this.#logs();
    // A device that lost everything since the pool was opened shows the clean stop before that.
    recovery.unclean ||= await this.#lookAt(logs.slice(0, LOGS_PROBED), 'probe');
    if (recovery.unclean) {
      recovery.verifiedLogs = 0;
      this.#losses.length = 0;
      await this.#lookAt(logs, 'whole');
      await this.#mblocks();
    }
    recovery.lostObjects = this.#losses.length;
    await this.#store.lostWrites.tell(this.#losses);
    return recovery;
  }

  #refuseShort(short: { place: LogPlace; message: string } | undefined): void {
    if (short === undefined) return;
    this.#recovery.unclean = true;
    const { path } = short.place.device;
    if (!this.#store.readOnly) throw new MpoolError('ERR_MPOOL_CORRUPT', short.message, { path });
    this.#store.health.note('lost-writes', short.message);
  }

  /**
   * The root MDC, and the newest logs: those that have no mark yet before those whose marks are newest, and
   * of each device in turn, for of a device that went back as a whole only the other one's can tell. Those
   * of an MDC together.
   */
  #logs(): LogPlace[][] {
    const { catalog, poolRecords, table } = this.#store;
    const found = new Map<bigint, LogPlace[]>();
    const add = (id: bigint): void => {
      const places = this.#placesOf(id);
      if (places !== undefined && found.size < LOGS_MAX) found.set(places[0], places[1]);
    };
    add(poolRecords.properties.rootMdc.logA);
    const marks = catalog.marks!;
    const isMarked = (idHigh: number, idLow: number): boolean =>
      marks.of({ low: idLow, high: idHigh }) !== undefined;
    const unmarked = catalog.newestLogs.newestFirst.filter((id) => !isMarked(id.idHigh, id.idLow));
    const perClass: bigint[][] = [[], []];
    for (const { idLow, idHigh } of [...unmarked, ...marks.newestFirst]) {
      const index = table.find(idHigh, idLow);
      if (index >= 0) perClass[table.mediaClass(index)]!.push(idFromHalves(idLow, idHigh));
    }
    const [first = [], second = []] = perClass;
    for (let i = 0; i < Math.max(first.length, second.length) && found.size < LOGS_MAX; i++) {
      for (const id of [first[i], second[i]]) if (id !== undefined) add(id);
    }
    return [...found.values()];
  }

  #placesOf(id: bigint): [bigint, LogPlace[]] | undefined {
    const { table } = this.#store;
    const index = table.findId(id);
    if (index < 0) return undefined;
    const role = table.role(index);
    const { logA, logB } = mdcOf((role === ROLE_LOG_B ? id - UNIQUIFIER_ONE : id) as MlogId);
    const ids = role === ROLE_LOG_A || role === ROLE_LOG_B ? [logA, logB] : [logA];
    try {
      return [logA, ids.map((each) => placeOfObject(this.#store, table.findId(each), each))];
    } catch (error) {
      // Its device is missing, or it shares its space: whoever opens it is told.
      if (!isMpoolError(error)) throw error;
      return undefined;
    }
  }

  /** @returns whether one of them is not as a clean stop leaves it */
  async #lookAt(logs: readonly LogPlace[][], depth: LookDepth): Promise<boolean> {
    let unclean = false;
    const marks = this.#store.catalog.marks!;
    const markOf = (place: LogPlace): LogMark | undefined => marks.of(place.objectId);
    await inParallel(logs, LOGS_IN_FLIGHT, async (places) => {
      let look: LogLook;
      try {
        look = await lookAtLog(places, markOf, depth);
      } catch (error) {
        // A read error is no loss: whoever opens the log is told.
        if (!isMpoolError(error, 'ERR_MPOOL_IO')) throw error;
        return;
      }
      this.#recovery.verifiedLogs += 1;
      const { place, loss, witness, moved } = look;
      if (moved) unclean = true;
      this.#refuseShort(this.#store.lostWrites.shortOf(witness, place));
      if (loss === undefined) return;
      const { fromBytes, toBytes } = loss;
      const message = lossMessage(place, loss);
      this.#losses.push({ id: place.objectId, fromBytes, toBytes, message });
    });
    return unclean;
  }

  async #mblocks(): Promise<void> {
    const { table, catalog } = this.#store;
    const chosen: number[] = [];
    for (const { idHigh, idLow } of catalog.newestMblocks.newestFirst) {
      const index = table.find(idHigh, idLow);
      if (index < 0 || table.isBad(index)) continue;
      const pages = pagesOf(table.lengthBytes(index));
      const bytes = (pages + tablePagesOf(pages)) * PAGE_BYTES;
      if (bytes > this.#bytesLeft) break;
      this.#bytesLeft -= bytes;
      chosen.push(index);
    }
    await inParallel(chosen, MBLOCKS_IN_FLIGHT, (index) => this.#mblock(index));
  }

  async #mblock(index: number): Promise<void> {
    const { table } = this.#store;
    const media = this.#store.media(table.mediaClass(index));
    if (media === undefined) return;
    const object = recordAt(this.#store, index);
    const on = { device: media.device, descriptor: media.descriptor };
    const first = await this.#bad(on, object);
    this.#recovery.verifiedObjects += 1;
    if (first === undefined) return;
    // A read that gave another sector, or an old one, is no loss.
    const again = await this.#bad(on, object);
    if (again !== undefined) this.#losses.push(again);
  }

  async #bad(on: CheckedDevice, object: ObjectRecord): Promise<NewLoss | undefined> {
    const findings = new Findings();
    const buffer = MblockCheck.allocate(on);
    const check = new MblockCheck(on, object, findings, buffer);
    try {
      await check.run(true);
    } finally {
      on.device.release(buffer);
    }
    const { counts, findings: found, omitted } = findings.report(0);
    this.#recovery.verifiedBytes += counts.bytes;
    if (findings.errorOrWarningCount === 0 || check.ioErrorCount > 0) return undefined;
    const base = object.pageAddress * PAGE_BYTES;
    const at = found.map(({ location }) => location.offsetBytes - base);
    const fromBytes = Math.min(...at);
    const isLong = omitted.page !== undefined;
    const toBytes = isLong
      ? pagesOf(object.lengthBytes) * PAGE_BYTES
      : Math.max(...at) + PAGE_BYTES;
    const id = { low: object.idLow, high: object.idHigh };
    const message =
      `mblock ${printObjectId(idFromHalves(id.low, id.high))}: ${on.device.path} acknowledged what was ` +
      `committed, and bytes ${base + fromBytes} to ${base + toBytes} of it are not there ` +
      `(${found[0]!.message}); delete it, or restore it from elsewhere`;
    return { id, fromBytes, toBytes, message };
  }
}

/** Log B's id is so much above log A's. */
const UNIQUIFIER_ONE = 1n << 12n;

function recordAt({ table }: Store, index: number): ObjectRecord {
  const object = blankObjectRecord();
  object.idLow = table.idLow(index);
  object.idHigh = table.idHigh(index);
  object.pageAddress = table.pageAddress(index);
  object.pageCount = table.pageCount(index);
  object.lengthBytes = table.lengthBytes(index);
  object.digest = table.digest(index);
  return object;
}

/** So many at a time; waits for all, then throws what the first to fail threw. */
async function inParallel<T>(
  items: readonly T[],
  count: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      // oxlint-disable-next-line no-await-in-loop -- one of a few workers
      await work(items[next++]!);
    }
  };
  const workers = Array.from({ length: Math.min(count, items.length) }, worker);
  const results = await Promise.allSettled(workers);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
