import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { isMblockId, type MblockId, printObjectId } from '../format/object-id.ts';
import type { MappableStore, StoreMaps } from '../pool/environment.ts';
import type { MapOptions, MblockMap, Temperature } from '../pool/map-api.ts';
import { checkArray, checkOptions } from '../pool/parameters.ts';
import { layOut, type LinearLayout } from './linear-layout.ts';
import { MapCore, type MapBacking } from './map-core.ts';
import type { MappedObject } from './mapped-object.ts';
import { ObjectMap } from './object-map.ts';
import { evictObjects, ObjectRows } from './object-rows.ts';
import { PageReader } from './page-reader.ts';
import type { Reaper } from './reaper.ts';
import { SHOWN, STALE, UNMAPPED } from './resident-set.ts';
import type { MapSharing } from './map-sharing.ts';
import { StoreMappings, type ClassMappings } from './store-mappings.ts';
import { checkTemperature, TEMPERATURES } from './temperature.ts';

export interface StoreMapsParts {
  store: MappableStore;
  clock: Clock;
  reaper: Reaper;
  /** Lends maps to other threads; undefined where there are none. */
  sharing: MapSharing | undefined;
}

/**
 * All maps of one active pool.
 *
 * Invariants
 * 1. A map holds one reference in the object table for each of its objects: their space is theirs until
 *    the map is released.
 * 2. An object that is mapped has one MappedObject, however many maps have it; one that no map has any more
 *    keeps it, with its cached pages, until the reaper evicts it or the object is deleted.
 */
export class StoreMapCollections implements StoreMaps, MapBacking {
  readonly reader: PageReader;
  readonly #store: MappableStore;
  readonly #clock: Clock;
  readonly #reaper: Reaper;
  readonly #sharing: MapSharing | undefined;
  readonly #rows: ObjectRows;
  readonly #byIndex = new Map<number, MappedObject>();
  readonly #mappings: StoreMappings;
  readonly #cores = new Set<MapCore>();
  /** Holders that closed: a map that is being made for one comes too late. */
  readonly #left = new WeakSet<object>();
  readonly #evictions = new Set<Promise<void>>();
  #closing: Promise<void> | null = null;

  constructor(parts: StoreMapsParts) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#reaper = parts.reaper;
    this.#sharing = parts.sharing;
    this.#rows = new ObjectRows((row) => this.#drop(this.#rows.objectAt(row)!));
    const { store } = parts;
    this.#mappings = new StoreMappings(store);
    this.reader = new PageReader(
      {
        sums: (object, done) => store.reader.checksums(object.tableIndex, done),
        mismatch: (object, page) => store.reader.mismatch(object.tableIndex, page),
      },
      parts.reaper,
    );
  }

  get readAheadPages(): number {
    return this.#store.parameters.readAheadPages;
  }

  async map(ids: readonly MblockId[], options: MapOptions, holder: object): Promise<MblockMap> {
    checkOptions(options ?? null);
    checkArray('ids', ids);
    const temperature = options.temperature ?? 'cold';
    checkTemperature(temperature);
    this.#assertOpen();
    // A hole in the array is no id, too.
    const indices = Array.from(ids, (id) => this.#indexOf(id));
    const { table } = this.#store;
    for (const index of indices) table.ref(index);
    try {
      const found = this.#mappings.of(indices);
      const mappings = found instanceof Promise ? await found : found;
      this.#assertOpen();
      if (this.#left.has(holder)) throw new MpoolError('ERR_MPOOL_CLOSED', this.#store.name);
      return this.#make(ids, indices, mappings, temperature, options.linear === true, holder);
    } catch (error) {
      for (const index of indices) if (table.unref(index)) this.#store.reclaim(index);
      throw error;
    }
  }

  isMapped(index: number): boolean {
    return this.#byIndex.get(index)?.isMapped === true;
  }

  reclaimed(index: number): void {
    const object = this.#byIndex.get(index);
    if (object === undefined) return;
    this.#drop(object);
    // Its pages are of no use to anyone.
    const eviction = evictObjects([object]).catch(() => {});
    this.#evictions.add(eviction);
    void eviction.then(() => this.#evictions.delete(eviction));
  }

  async unmapOf(holder: object): Promise<void> {
    this.#left.add(holder);
    const cores = [...this.#cores].filter((core) => core.holder === holder);
    await Promise.all(cores.map((core) => core.unmap()));
  }

  close(why?: MpoolError): Promise<void> {
    for (const core of this.#cores) core.why = why;
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#cores].map((core) => core.unmap()));
    await this.#reaper.remove(this.#rows);
    for (const object of this.#byIndex.values()) object.clearReady();
    await Promise.all(this.#evictions);
    await this.#mappings.close();
  }

  shown(object: MappedObject): void {
    this.#rows.flag(object.row, SHOWN | STALE);
  }

  stale(object: MappedObject): void {
    // A read that was under way when the pool let go of the object.
    if (this.#rows.objectAt(object.row) === object) this.#rows.flag(object.row, STALE);
  }

  allowedPages(wanted: number, temperature: Temperature): number {
    return this.#reaper.readAheadPages(wanted, temperature);
  }

  setTemperature(core: MapCore, temperature: Temperature): void {
    const from = TEMPERATURES.indexOf(core.temperature);
    const to = TEMPERATURES.indexOf(temperature);
    core.temperature = temperature;
    for (const object of core.objects) {
      object.countMap(from, -1);
      object.countMap(to, 1);
      this.#rows.setTemperature(object.row, object.temperature);
    }
  }

  release(core: MapCore): void {
    this.#cores.delete(core);
    const temperature = TEMPERATURES.indexOf(core.temperature);
    for (const object of core.objects) {
      object.countMap(temperature, -1);
      if (object.isMapped) this.#rows.setTemperature(object.row, object.temperature);
      else this.#leave(object);
      if (this.#store.table.unref(object.tableIndex)) this.#store.reclaim(object.tableIndex);
    }
  }

  /** No map has it any more; the reaper forgets it, unless one comes before. */
  #leave(object: MappedObject): void {
    if (!this.#reaper.enabled) return this.#drop(object);
    this.#rows.setTemperature(object.row, 0);
    this.#rows.flag(object.row, UNMAPPED);
  }

  #drop(object: MappedObject): void {
    assert(!object.isMapped, 'no map has the object');
    this.#byIndex.delete(object.tableIndex);
    this.#rows.remove(object.row);
  }

  #make(
    ids: readonly MblockId[],
    indices: readonly number[],
    mappings: ClassMappings,
    temperature: Temperature,
    linear: boolean,
    holder: object,
  ): MblockMap {
    const nowMs = this.#clock.monotonicMs();
    const objects = indices.map((index) => this.#objectOf(index, mappings, nowMs));
    const layout = linear ? this.#layOut(objects) : undefined;
    const core = new MapCore({
      objects,
      temperature,
      backing: this,
      holder,
      sharing: this.#sharing,
    });
    const code = TEMPERATURES.indexOf(temperature);
    for (const object of objects) {
      object.countMap(code, 1);
      this.#rows.unflag(object.row, UNMAPPED);
      this.#rows.setTemperature(object.row, object.temperature);
    }
    const map = new ObjectMap({ ids: Object.freeze([...ids]), core, linear: layout });
    this.#cores.add(core);
    return map;
  }

  #layOut(objects: readonly MappedObject[]): LinearLayout {
    try {
      return layOut(objects, 2 ** this.#store.parameters.mappedRegionLog2);
    } catch (error) {
      for (const object of new Set(objects)) if (!object.isMapped) this.#leave(object);
      throw error;
    }
  }

  #objectOf(index: number, mappings: ClassMappings, nowMs: number): MappedObject {
    const existing = this.#byIndex.get(index);
    if (existing !== undefined) return existing;
    const { table } = this.#store;
    if (this.#byIndex.size === 0) this.#reaper.add(this.#rows);
    const object = this.#rows.add(
      {
        mapping: mappings[table.mediaClass(index)]!,
        pageAddress: table.pageAddress(index),
        lengthBytes: table.lengthBytes(index),
        idLow: table.idLow(index),
        idHigh: table.idHigh(index),
        digest: table.digest(index),
        tableIndex: index,
      },
      nowMs,
    );
    this.#byIndex.set(index, object);
    return object;
  }

  #indexOf(id: MblockId): number {
    if (!isMblockId(id)) throw invalidArgument(`${String(id)} is not the id of an mblock`, 'type');
    const index = this.#store.indexOf(id);
    if (!this.#store.table.isBad(index)) return index;
    throw new MpoolError(
      'ERR_MPOOL_CORRUPT',
      `mblock ${printObjectId(id)} shares its space with another object`,
    );
  }

  #assertOpen(): void {
    this.#store.assertOpen();
    if (this.#closing === null) return;
    throw new MpoolError('ERR_MPOOL_CLOSED', `pool ${this.#store.name}`);
  }
}
