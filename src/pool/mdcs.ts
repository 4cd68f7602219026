import { abandonable, abandonableItems, type WaitOptions } from '../base/abandon.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import {
  idFromHalves,
  isMlogId,
  type MlogId,
  OBJECT_TYPE_MLOG,
  printObjectId,
} from '../format/object-id.ts';
import { ROLE_LOG_A, ROLE_LOG_B } from '../format/records.ts';
import type { Mdc, MdcAllocation, MdcId, MdcProperties, Mdcs, MediaClass } from './api.ts';
import { newIdHalves } from './catalog.ts';
import type { MarkOf } from './log-evidence.ts';
import { LogPair } from './log-pair.ts';
import type { LogPlace } from './frame-cursor.ts';
import { checkMediaClass } from './media.ts';
import { checkOptions } from './parameters.ts';
import { OpenMdc, StoreMdc } from './mdc.ts';
import { checkLogOptions } from './mlogs.ts';
import type { Store } from './store.ts';
import { allocLogExtent, LogAllocation, placeIn, placeOfObject } from './user-log.ts';

export class StoreMdcs implements Mdcs {
  readonly #store: Store;
  /** Open MDCs, and those being opened, by the id of log A. */
  readonly #open = new Map<bigint, Promise<OpenMdc>>();

  constructor(store: Store) {
    this.#store = store;
  }

  async alloc(options: {
    capacityBytes: number;
    mediaClass?: MediaClass | undefined;
    spare?: boolean | undefined;
  }): Promise<MdcAllocation> {
    const store = this.#store;
    checkLogOptions(options);
    store.assertWritable();
    const media = store.mediaOf(checkMediaClass(options.mediaClass));
    const spare = options.spare === true;
    const uniquifier = await store.catalog.newUniquifierPair();
    store.assertWritable();
    const idOf = (n: number): MlogId => {
      const { low, high } = newIdHalves(n, OBJECT_TYPE_MLOG);
      return idFromHalves(low, high) as MlogId;
    };
    const id: MdcId = { logA: idOf(uniquifier), logB: idOf(uniquifier + 1) };
    const extentA = allocLogExtent(media, options.capacityBytes, spare);
    let extentB;
    try {
      extentB = allocLogExtent(media, options.capacityBytes, spare);
    } catch (error) {
      media.free(extentA);
      throw error;
    }
    const places: [LogPlace, LogPlace] = [
      placeIn(store, media, extentA, id.logA),
      placeIn(store, media, extentB, id.logB),
    ];
    const logs = [
      { id: id.logA, extent: extentA, role: ROLE_LOG_A },
      { id: id.logB, extent: extentB, role: ROLE_LOG_B },
    ] as const;
    const allocation = new LogAllocation(store, media, logs, async () => {
      await LogPair.create(places, media.gate, store.environment.prng);
    });
    return {
      id,
      commit: () => allocation.commit(),
      abort: () => allocation.abort(),
      [Symbol.asyncDispose]: () => allocation.release(),
    };
  }

  open(id: MdcId, options?: WaitOptions): Promise<Mdc> {
    return abandonable('open', options?.signal, () => this.#openHandle(id), letGo);
  }

  async #openHandle(id: MdcId): Promise<Mdc> {
    this.#indicesOf(id);
    let opening = this.#open.get(id.logA);
    if (opening === undefined) {
      opening = this.#store.opening(() => this.#openPair(id));
      this.#open.set(id.logA, opening);
      opening.catch(() => this.#open.delete(id.logA));
    }
    const open = await opening;
    if (open.closing) {
      await open.release().catch(() => {});
      return this.#openHandle(id);
    }
    return new StoreMdc(this.#store, open);
  }

  root(options?: WaitOptions): Promise<Mdc> {
    return this.open(this.#store.poolRecords.properties.rootMdc, options);
  }

  async delete(id: MdcId): Promise<void> {
    const indices = this.#indicesOf(id);
    this.#store.assertWritable();
    const name = `MDC ${printObjectId(id.logA)}`;
    if (this.#isRoot(id)) {
      throw new MpoolError('ERR_MPOOL_PERMISSION', `${name} is the root MDC`);
    }
    if (this.#open.has(id.logA)) throw new MpoolError('ERR_MPOOL_BUSY', `${name} is open`);
    await this.#store.deleteObjects(indices);
  }

  list(options?: WaitOptions): AsyncIterable<MdcProperties> {
    return abandonableItems('list', options?.signal, this.#list());
  }

  async *#list(): AsyncGenerator<MdcProperties> {
    this.#store.assertOpen();
    const { table } = this.#store;
    for await (const { id: logA, index } of this.#store.objects(OBJECT_TYPE_MLOG)) {
      if (table.role(index) !== ROLE_LOG_A) continue;
      const id = mdcOf(logA as MlogId);
      yield {
        id,
        mediaClass: table.mediaClass(index) === 1 ? 'capacity' : 'staging',
        allocatedBytes: 2 * table.pageCount(index) * PAGE_BYTES,
        root: this.#isRoot(id),
      };
    }
  }

  async #openPair(id: MdcId): Promise<OpenMdc> {
    const name = `MDC ${printObjectId(id.logA)}`;
    return this.#store.openingLog(id.logA, name, () => this.#openPairNow(id, name));
  }

  async #openPairNow(id: MdcId, name: string): Promise<OpenMdc> {
    const store = this.#store;
    const indices = this.#indicesOf(id);
    const places: [LogPlace, LogPlace] = [
      placeOfObject(store, indices[0], id.logA),
      placeOfObject(store, indices[1], id.logB),
    ];
    const { gate } = store.media(store.table.mediaClass(indices[0]))!;
    const { prng } = store.environment;
    // As for an mlog: what an earlier, failed use left in a cache is no durable record.
    if (!store.readOnly) await gate.flush();
    const { marks } = store.catalog;
    const markOf: MarkOf = (place) => marks?.of(place.objectId);
    const pair = await store.lostWrites.opening(() =>
      LogPair.open(places, gate, prng, store.readOnly, undefined, markOf),
    );
    if (marks !== null && !store.readOnly) {
      pair.onDurable = (active) => marks.note(active);
      marks.noteOpened(pair.active);
    }
    pair.onFailure = (error) => store.objectFailed(id.logA, `${name}: close and reopen it`, error);
    const open: OpenMdc = new OpenMdc(id, pair, store.readOnly, () => {
      this.#open.delete(id.logA);
      for (const index of indices) store.letGo(index, open);
    });
    for (const index of indices) store.hold(index, open);
    return open;
  }

  #isRoot(id: MdcId): boolean {
    return this.#store.poolRecords.properties.rootMdc.logA === id.logA;
  }

  #indicesOf(id: MdcId): [number, number] {
    checkOptions(id ?? null);
    const { logA, logB } = id;
    if (!isMlogId(logA) || !isMlogId(logB)) {
      throw invalidArgument('an MDC has the ids of two mlogs', 'type');
    }
    this.#store.assertOpen();
    const { table } = this.#store;
    const indices: [number, number] = [this.#store.indexOf(logA), this.#store.indexOf(logB)];
    const paired =
      table.role(indices[0]) === ROLE_LOG_A &&
      table.role(indices[1]) === ROLE_LOG_B &&
      mdcOf(logA).logB === logB;
    if (paired) return indices;
    throw invalidArgument(
      `mlogs ${printObjectId(logA)} and ${printObjectId(logB)} are not the logs of one MDC`,
    );
  }
}

/** Log B's uniquifier is log A's + 1, in the same slot (docs/format.md §6). */
export function mdcOf(logA: MlogId): MdcId {
  return { logA, logB: (logA + (1n << 12n)) as MlogId };
}

/** One that opens after all is nobody's. */
function letGo(mdc: Mdc): void {
  mdc.close().catch(() => {});
}
