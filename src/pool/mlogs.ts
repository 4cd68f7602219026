import { invalidArgument, MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import {
  idFromHalves,
  isMlogId,
  type MlogId,
  OBJECT_TYPE_MLOG,
  printObjectId,
} from '../format/object-id.ts';
import { LogState } from '../format/log-header.ts';
import { ROLE_PLAIN } from '../format/records.ts';
import type {
  MediaClass,
  Mlog,
  MlogAllocation,
  MlogProperties,
  Mlogs,
  OpenMlogOptions,
} from './api.ts';
import { newIdHalves } from './catalog.ts';
import { Log } from './log.ts';
import { firstHeader, refuseDamage, refuseNewerHeader } from './log-pair.ts';
import { confirmLogEnd, resumedLogEnd, secureLogTail, writeLogHeader } from './log-place.ts';
import { readLogHeader, scanLog } from './log-scan.ts';
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

  async open(id: MlogId, options: OpenMlogOptions = {}): Promise<Mlog> {
    checkOptions(options);
    const index = this.#indexOf(id);
    if (options.salvage === true) return this.#salvage(id, index);
    const wanted = options.compactionSemantics === true;
    let opening = this.#open.get(id);
    if (opening === undefined) {
      opening = this.#openLog(id, wanted);
      this.#open.set(id, opening);
      opening.catch(() => this.#open.delete(id));
    }
    const open = await opening;
    if (open.closing) {
      await open.release().catch(() => {});
      return this.open(id, options);
    }
    if (wanted && !open.compactionSemantics) {
      throw invalidArgument(`mlog ${printObjectId(id)} is open without compactionSemantics`);
    }
    return new StoreMlog(this.#store, open);
  }

  async properties(id: MlogId): Promise<MlogProperties> {
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

  async *list(
    options: { mediaClass?: MediaClass | undefined } = {},
  ): AsyncIterable<MlogProperties> {
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
    return SalvagedMlog.open(id, place, {
      assertOpen: () => store.assertOpen(),
      begin: (held) => store.hold(index, held),
      forget: (held) => store.letGo(index, held),
    });
  }

  async #openLog(id: MlogId, compactionSemantics: boolean): Promise<OpenMlog> {
    const store = this.#store;
    const index = this.#indexOf(id);
    const place = placeOfObject(store, index, id);
    const { gate } = store.media(store.table.mediaClass(index))!;
    // Frames that an earlier, failed use left in a cache must not be taken for durable ones.
    if (!store.readOnly) await gate.flush();
    const found = await readLogHeader(place);
    const name = `mlog ${printObjectId(id)}`;
    refuseNewerHeader(place, found);
    if (!found.ok || found.header.state !== LogState.current) {
      const why = found.ok ? 'it is superseded' : found.detail;
      throw new MpoolError('ERR_MPOOL_CORRUPT', `${name}: its header: ${why}`);
    }
    const end = await scanLog(place, found.header);
    refuseDamage(place, end);
    await confirmLogEnd(place, found.header, end);
    if (!store.readOnly) await secureLogTail(place, end, gate);
    const markers = end.compactionStarts === 0 ? 'none' : end.compacting ? 'started' : 'ended';
    if (compactionSemantics && markers === 'started') {
      throw new MpoolError('ERR_MPOOL_COMPACTING', name);
    }
    if (compactionSemantics && markers === 'none' && end.recordCount > 0) {
      throw new MpoolError('ERR_MPOOL_CORRUPT', `${name} has records but no compaction markers`);
    }
    const from = resumedLogEnd(end, store.environment.prng);
    const log = new Log(place, gate, found.header, from);
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
