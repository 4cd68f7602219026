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
import { type LogHeader, LogState } from '../format/log-header.ts';
import { ROLE_PLAIN } from '../format/records.ts';
import type {
  ListOptions,
  MediaClass,
  Mlog,
  MlogAllocation,
  MlogProperties,
  Mlogs,
  OpenMlogOptions,
} from './api.ts';
import { newIdHalves } from './catalog.ts';
import { Log } from './log.ts';
import {
  expectedOf,
  type FoundEnd,
  foundEnd,
  lossOfFrames,
  lossOfHeader,
  refuseLost,
} from './log-evidence.ts';
import { firstHeader, refuseDamage, refuseNewerHeader } from './log-pair.ts';
import { confirmLogEnd, resumedLogEnd, secureLogTail, writeLogHeader } from './log-place.ts';
import { type LogEnd, type LogPlace, readLogHeader, scanLog } from './log-scan.ts';
import { checkMediaClass } from './media.ts';
import { OpenMlog, StoreMlog } from './mlog.ts';
import { SalvagedMlog } from './salvaged-mlog.ts';
import { checkArray, checkOptions, integerIn } from './parameters.ts';
import type { Store } from './store.ts';
import { allocLogExtent, LogAllocation, placeIn, placeOfObject } from './user-log.ts';

/** The logs of users that stand alone; logs of MDCs are the MDCs' business. */
export class StoreMlogs implements Mlogs {
  readonly #store: Store;
  /** Open logs, and those being opened, by id. */
  readonly #open = new Map<bigint, Promise<OpenMlog>>();

  constructor(store: Store) {
    this.#store = store;
  }

  async alloc(options: {
    capacityBytes: number;
    mediaClass?: MediaClass | undefined;
    spare?: boolean | undefined;
  }): Promise<MlogAllocation> {
    const store = this.#store;
    checkLogOptions(options);
    store.assertWritable();
    const media = store.mediaOf(checkMediaClass(options.mediaClass));
    const uniquifier = await store.catalog.newUniquifier();
    store.assertWritable();
    const { low, high } = newIdHalves(uniquifier, OBJECT_TYPE_MLOG);
    const id = idFromHalves(low, high) as MlogId;
    const extent = allocLogExtent(media, options.capacityBytes, options.spare === true);
    const place = placeIn(store, media, extent, id);
    const allocation = new LogAllocation(store, media, [{ id, extent, role: ROLE_PLAIN }], () =>
      writeLogHeader(place, firstHeader(place, store.environment.prng), 'volatile', {
        whole: true,
      }),
    );
    return {
      id,
      capacityBytes: allocation.capacityBytes,
      commit: () => allocation.commit(),
      abort: () => allocation.abort(),
      [Symbol.asyncDispose]: () => allocation.release(),
    };
  }

  open(id: MlogId, options: OpenMlogOptions = {}): Promise<Mlog> {
    // One that opens after all is nobody's.
    const letGo = (log: Mlog): void => void log.close().catch(() => {});
    return abandonable('open', options?.signal, () => this.#openHandle(id, options), letGo);
  }

  async #openHandle(id: MlogId, options: OpenMlogOptions): Promise<Mlog> {
    checkOptions(options);
    const index = this.#indexOf(id);
    if (options.salvage === true) return this.#salvage(id, index);
    const wanted = options.compactionSemantics === true;
    let opening = this.#open.get(id);
    if (opening === undefined) {
      opening = this.#store.opening(() => this.#openLog(id, wanted));
      this.#open.set(id, opening);
      opening.catch(() => this.#open.delete(id));
    }
    const open = await opening;
    if (open.closing) {
      await open.release().catch(() => {});
      return this.#openHandle(id, options);
    }
    if (wanted && !open.compactionSemantics) {
      throw invalidArgument(`mlog ${printObjectId(id)} is open without compactionSemantics`);
    }
    return new StoreMlog(this.#store, open);
  }

  properties(id: MlogId, options?: WaitOptions): Promise<MlogProperties> {
    return abandonable('properties', options?.signal, () => this.#properties(id));
  }

  async #properties(id: MlogId): Promise<MlogProperties> {
    const index = this.#indexOf(id);
    const open = await this.#open.get(id);
    return this.#propertiesAt(index, open);
  }

  async delete(ids: readonly MlogId[]): Promise<void> {
    checkArray('ids', ids);
    this.#store.assertWritable();
    const indices = ids.map((id) => this.#indexOf(id));
    for (const id of ids) {
      if (this.#open.has(id)) throw new MpoolError('ERR_MPOOL_BUSY', `mlog ${printObjectId(id)}`);
    }
    await this.#store.deleteObjects([...new Set(indices)]);
  }

  list(options: ListOptions = {}): AsyncIterable<MlogProperties> {
    return abandonableItems('list', options?.signal, this.#list(options));
  }

  async *#list(options: ListOptions): AsyncGenerator<MlogProperties> {
    checkOptions(options);
    if (options.mediaClass !== undefined) checkMediaClass(options.mediaClass);
    this.#store.assertOpen();
    const { table } = this.#store;
    for await (const { id, index } of this.#store.objects(OBJECT_TYPE_MLOG)) {
      if (table.role(index) !== ROLE_PLAIN) continue;
      const open = await this.#open.get(id)?.catch(() => undefined);
      const properties = this.#propertiesAt(index, open);
      if (options.mediaClass !== undefined && properties.mediaClass !== options.mediaClass)
        continue;
      yield properties;
    }
  }

  async #salvage(id: MlogId, index: number): Promise<Mlog> {
    const store = this.#store;
    const place = placeOfObject(store, index, id);
    const mark = store.catalog.marks?.of(place.objectId);
    return SalvagedMlog.open(id, place, mark, {
      assertOpen: () => store.assertOpen(),
      begin: (held) => store.hold(index, held),
      forget: (held) => store.letGo(index, held),
    });
  }

  async #openLog(id: MlogId, compactionSemantics: boolean): Promise<OpenMlog> {
    const name = `mlog ${printObjectId(id)}`;
    return this.#store.openingLog(id, name, () => this.#openLogNow(id, compactionSemantics));
  }

  async #openLogNow(id: MlogId, compactionSemantics: boolean): Promise<OpenMlog> {
    const store = this.#store;
    const index = this.#indexOf(id);
    const place = placeOfObject(store, index, id);
    const { gate } = store.media(store.table.mediaClass(index))!;
    // Frames that an earlier, failed use left in a cache must not be taken for durable ones.
    if (!store.readOnly) await gate.flush();
    const name = `mlog ${printObjectId(id)}`;
    const { header, end } = await store.lostWrites.opening(() => this.#read(place, name));
    await confirmLogEnd(place, header, end);
    if (!store.readOnly) await secureLogTail(place, header, end, gate);
    const markers = end.compactionStarts === 0 ? 'none' : end.compacting ? 'started' : 'ended';
    if (compactionSemantics && markers === 'started') {
      throw new MpoolError('ERR_MPOOL_COMPACTING', name);
    }
    if (compactionSemantics && markers === 'none' && end.recordCount > 0) {
      throw new MpoolError('ERR_MPOOL_CORRUPT', `${name} has records but no compaction markers`);
    }
    const from = resumedLogEnd(end, store.environment.prng);
    const log = new Log(place, gate, header, from);
    const { marks } = store.catalog;
    if (marks !== null && !store.readOnly) {
      log.onDurable = () => marks.note(log);
      marks.noteOpened(log);
    }
    log.onFailure = (error) => store.objectFailed(id, `${name}: close and reopen it`, error);
    const open: OpenMlog = new OpenMlog(id, log, {
      compactionSemantics,
      markers,
      readOnly: store.readOnly,
      forget: () => {
        this.#open.delete(id);
        store.letGo(index, open);
      },
    });
    store.hold(index, open);
    return open;
  }

  async #read(
    place: LogPlace,
    name: string,
  ): Promise<{ places: LogPlace[]; found: FoundEnd; header: LogHeader; end: LogEnd }> {
    const read = await readLogHeader(place);
    refuseNewerHeader(place, read);
    if (!read.ok || read.header.state !== LogState.current) {
      const why = read.ok ? 'it is superseded' : read.detail;
      throw new MpoolError('ERR_MPOOL_CORRUPT', `${name}: its header: ${why}`);
    }
    const { header } = read;
    const mark = this.#store.catalog.marks?.of(place.objectId);
    refuseLost(place, lossOfHeader(mark, header));
    const end = await scanLog(place, header, undefined, { expected: expectedOf(mark, header) });
    refuseDamage(place, end);
    refuseLost(place, lossOfFrames(mark, header, end));
    return { places: [place], found: foundEnd(header, end), header, end };
  }

  #propertiesAt(index: number, open: OpenMlog | undefined): MlogProperties {
    const { table } = this.#store;
    return {
      id: table.idAt(index) as MlogId,
      mediaClass: table.mediaClass(index) === 1 ? 'capacity' : 'staging',
      committed: true,
      allocatedBytes: table.pageCount(index) * PAGE_BYTES,
      ...(open && { generation: BigInt(open.log.generation), usedBytes: open.log.usedBytes }),
    };
  }

  #indexOf(id: MlogId): number {
    this.#store.assertOpen();
    if (!isMlogId(id)) throw invalidArgument(`${String(id)} is not the id of an mlog`, 'type');
    const index = this.#store.indexOf(id);
    if (this.#store.table.role(index) !== ROLE_PLAIN) {
      throw invalidArgument(`mlog ${printObjectId(id)} belongs to an MDC: use that`);
    }
    return index;
  }
}

/** @throws RangeError, TypeError */
export function checkLogOptions(options: {
  capacityBytes: number;
  mediaClass?: MediaClass | undefined;
}): void {
  checkOptions(options);
  if (options?.capacityBytes === undefined) {
    throw invalidArgument('capacityBytes is required', 'type');
  }
  integerIn('capacityBytes', options.capacityBytes, 1, 2 ** 44);
  checkMediaClass(options.mediaClass);
}
