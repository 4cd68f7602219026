import { allocateBytes } from '../base/allocate-bytes.ts';
import { abandonable, type WaitOptions } from '../base/abandon.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { MblockId } from '../format/object-id.ts';
import { printObjectId } from '../format/object-id.ts';
import { integerIn } from '../pool/parameters.ts';
import type { Advice, MapResidency, MblockMap, SharedMap, Temperature } from '../pool/map-api.ts';
import type { LinearLayout } from './linear-layout.ts';
import type { MapCore } from './map-core.ts';
import type { MappedObject } from './mapped-object.ts';
import { evictObjects, mapRanges } from './object-rows.ts';
import { checkTemperature } from './temperature.ts';

export interface ObjectMapParts {
  ids: readonly MblockId[];
  core: MapCore;
  linear: LinearLayout | undefined;
}

/**
 * A user's handle on a collection of mapped mblocks.
 *
 *   map() ──► mapped ──unmap()──► unmapped ──(reads in flight, other threads)──► released
 *
 * Invariants
 * 1. Every view is made from a buffer in `#views` or the region, so unmap() can end all of them.
 * 2. A buffer that is in use keeps its map alive (KEPT), so a map is collected only when nobody can look.
 * 3. The objects stay referenced until the last read of the map is done.
 */
export class ObjectMap implements MblockMap {
  readonly ids: readonly MblockId[];
  readonly #core: MapCore;
  readonly #objects: readonly MappedObject[];
  readonly #linear: LinearLayout | undefined;
  #views: (Uint8Array | undefined)[] = [];

  constructor(parts: ObjectMapParts) {
    this.ids = parts.ids;
    this.#core = parts.core;
    this.#objects = parts.core.objects;
    this.#linear = parts.linear;
    if (parts.linear !== undefined) this.#keepWith(parts.linear.buffer);
    FORGOTTEN.register(this, parts.core, this);
  }

  get objectCount(): number {
    return this.#objects.length;
  }
  get mapped(): boolean {
    return !this.#core.ended;
  }
  get temperature(): Temperature {
    return this.#core.temperature;
  }
  get bucketBytes(): number | undefined {
    return this.#linear?.bucketBytes;
  }

  setTemperature(temperature: Temperature): void {
    checkTemperature(temperature);
    this.#assertMapped();
    this.#core.backing.setTemperature(this.#core, temperature);
  }

  lengthBytes(index: number): number {
    return this.#object(index).lengthBytes;
  }

  view(index: number): Uint8Array {
    this.#assertMapped();
    const object = this.#object(index);
    object.hits[object.hitAt]!++;
    return this.#viewOf(index, object);
  }

  region(): Uint8Array {
    if (this.#linear === undefined) throw invalidArgument('the map is not linear');
    this.#assertMapped();
    for (const object of this.#objects) this.#core.backing.shown(object);
    return new Uint8Array(this.#linear.buffer);
  }

  ready(index: number, offsetBytes: number, lengthBytes: number): boolean {
    const object = this.#object(index);
    const inside = offsetBytes >= 0 && lengthBytes >= 0;
    if (!inside || offsetBytes + lengthBytes > object.lengthBytes) {
      this.#refuseRange(object, offsetBytes, lengthBytes);
    }
    if (this.#core.ended) return false;
    object.hits[object.hitAt]!++;
    const last = Math.floor((offsetBytes + lengthBytes - 1) / PAGE_BYTES);
    for (let page = Math.floor(offsetBytes / PAGE_BYTES); page <= last; page++) {
      if (!object.isReady(page)) return false;
    }
    return true;
  }

  getPages(
    index: number,
    offsets: ArrayLike<number>,
    options?: WaitOptions,
  ): Promise<Uint8Array[]> {
    return abandonable('getPages', options?.signal, () => this.#getPages(index, offsets));
  }

  async #getPages(index: number, offsets: ArrayLike<number>): Promise<Uint8Array[]> {
    this.#assertMapped();
    const object = this.#object(index);
    const pages = pagesOfOffsets(object, offsets);
    object.hits[object.hitAt]! += pages.length;
    const missing = pages.filter((page) => !object.isReady(page));
    if (missing.length > 0) {
      const wanted = Int32Array.from(new Set(missing)).toSorted();
      await this.#miss(object, (finish) => {
        this.#core.backing.reader.makeReady(object, Array.from(wanted), finish);
      });
      this.#assertMapped();
      this.#readAheadFrom(object, wanted.at(-1)! + 1);
    }
    const view = this.#viewOf(index, object);
    return pages.map((page) => {
      const at = page * PAGE_BYTES;
      const lengthBytes = Math.min(PAGE_BYTES, object.lengthBytes - at);
      return new Uint8Array(view.buffer, view.byteOffset + at, lengthBytes);
    });
  }

  read(
    index: number,
    offsetBytes: number,
    lengthBytes: number,
    options?: WaitOptions,
  ): Promise<Uint8Array> {
    return abandonable('read', options?.signal, () => this.#read(index, offsetBytes, lengthBytes));
  }

  async #read(index: number, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    this.#assertMapped();
    const object = this.#object(index);
    integerIn('offsetBytes', offsetBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    integerIn('lengthBytes', lengthBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    if (offsetBytes + lengthBytes > object.lengthBytes) {
      this.#refuseRange(object, offsetBytes, lengthBytes);
    }
    object.hits[object.hitAt]!++;
    const into = allocateBytes(lengthBytes);
    if (lengthBytes === 0) return into;
    await this.#miss(object, (finish) => {
      this.#core.backing.reader.readInto(object, offsetBytes, into, finish);
    });
    this.#readAheadFrom(object, Math.ceil((offsetBytes + lengthBytes) / PAGE_BYTES));
    return into;
  }

  async advise(
    index: number,
    offsetBytes: number,
    lengthBytes: number,
    advice: Advice,
  ): Promise<void> {
    this.#assertMapped();
    const object = this.#object(index);
    integerIn('offsetBytes', offsetBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    integerIn('lengthBytes', lengthBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    if (offsetBytes + lengthBytes > object.lengthBytes) {
      this.#refuseRange(object, offsetBytes, lengthBytes);
    }
    checkAdvice(advice);
    const first = Math.floor(offsetBytes / PAGE_BYTES);
    const end = Math.ceil((offsetBytes + lengthBytes) / PAGE_BYTES);
    await this.#during(() => this.#advise(object, first, end - first, advice));
  }

  async adviseAll(advice: Advice): Promise<void> {
    this.#assertMapped();
    checkAdvice(advice);
    if (advice === 'dontneed') return this.purge();
    await this.#during(async () => {
      for (const object of this.#objects) {
        await this.#advise(object, 0, object.pageCount, advice);
        if (!this.mapped) return;
      }
    });
  }

  async purge(): Promise<void> {
    this.#assertMapped();
    await this.#during(() => evictObjects(this.#objects));
    for (const object of this.#objects) this.#core.backing.stale(object);
  }

  async residency(): Promise<MapResidency> {
    this.#assertMapped();
    const counts = await this.#during(() =>
      mapRanges(this.#objects, (mapping, ranges) => mapping.resident(ranges)),
    );
    const objects = this.#objects.map((object, i) => ({
      virtualPages: object.pageCount,
      residentPages: counts[i]!,
    }));
    return {
      virtualPages: objects.reduce((sum, each) => sum + each.virtualPages, 0),
      residentPages: objects.reduce((sum, each) => sum + each.residentPages, 0),
      objects,
    };
  }

  share(): SharedMap {
    this.#assertMapped();
    const { lending } = this.#core;
    if (lending === undefined) throw invalidArgument('the map cannot be lent to other threads');
    for (const object of this.#objects) {
      this.#core.backing.shown(object);
    }
    return lending.token(this.#core);
  }

  unmap(): Promise<void> {
    if (!this.#core.ended) {
      FORGOTTEN.unregister(this);
      this.#endViews();
    }
    return this.#core.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmap();
  }

  #endViews(): void {
    const views = this.#views;
    this.#views = [];
    if (this.#linear !== undefined) return this.#linear.end();
    views.forEach((view, index) => {
      if (view !== undefined) this.#objects[index]!.mapping.detach(view.buffer as ArrayBuffer);
    });
  }

  /** From now on the map lives as long as the buffer. */
  #keepWith(buffer: ArrayBuffer): void {
    KEPT.set(buffer, this);
    this.#core.viewer ??= new WeakRef(this);
  }

  #viewOf(index: number, object: MappedObject): Uint8Array {
    const existing = this.#views[index];
    // Of length 0 when somebody, a byte stream for one, took its memory away.
    if (existing !== undefined && existing.length === object.lengthBytes) return existing;
    const view = this.#makeView(index, object);
    this.#views[index] = view;
    this.#core.backing.shown(object);
    return view;
  }

  #makeView(index: number, object: MappedObject): Uint8Array {
    if (this.#linear !== undefined) {
      const at = index * this.#linear.bucketBytes;
      return new Uint8Array(this.#linear.buffer, at, object.lengthBytes);
    }
    const buffer = object.mapping.view(object.offsetBytes, object.lengthBytes);
    this.#keepWith(buffer);
    return new Uint8Array(buffer);
  }

  #miss(
    object: MappedObject,
    start: (finish: (error: MpoolError | null) => void) => void,
  ): Promise<void> {
    this.#core.enter();
    return new Promise((resolve, reject) => {
      start((error) => {
        // Only now: what is counted before the pages have come would be taken for all.
        this.#core.backing.stale(object);
        this.#core.leave();
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  async #during<T>(work: () => Promise<T>): Promise<T> {
    this.#core.enter();
    try {
      return await work();
    } finally {
      this.#core.leave();
    }
  }

  async #advise(
    object: MappedObject,
    firstPage: number,
    pageCount: number,
    advice: Advice,
  ): Promise<void> {
    if (advice === 'willneed') return this.#readAhead(object, firstPage, pageCount);
    if (advice !== 'dontneed') {
      object.readAhead = advice === 'sequential';
      return;
    }
    object.clearReady(firstPage, pageCount);
    await object.mapping.evict(rangeOf(object, firstPage, pageCount));
    object.clearReady(firstPage, pageCount);
    this.#core.backing.stale(object);
  }

  #readAheadFrom(object: MappedObject, page: number): void {
    if (!object.readAhead) return;
    const { readAheadPages } = this.#core.backing;
    const windowEnd = object.readAheadEnd;
    // Half a window is still ahead: the next one can wait.
    if (page + readAheadPages / 2 <= windowEnd && page >= windowEnd - 2 * readAheadPages) return;
    const from = page <= windowEnd && page >= windowEnd - readAheadPages ? windowEnd : page;
    const wanted = Math.min(readAheadPages, object.pageCount - from);
    if (wanted > 0) object.readAheadEnd = from + wanted;
    // What is read ahead is a wish: whoever needs the page will see what is wrong with it.
    if (wanted > 0) void this.#during(() => this.#readAhead(object, from, wanted)).catch(() => {});
  }

  async #readAhead(object: MappedObject, firstPage: number, wanted: number): Promise<void> {
    const pages = this.#core.backing.allowedPages(wanted, this.#core.temperature);
    if (pages === 0) return;
    await object.mapping.readAhead(rangeOf(object, firstPage, pages));
    this.#core.backing.stale(object);
  }

  #object(index: number): MappedObject {
    // 'length' is a property of arrays, too.
    const object = typeof index === 'number' ? this.#objects[index] : undefined;
    if (object !== undefined) return object;
    throw invalidArgument(`index ${String(index)} of a map of ${this.#objects.length} objects`);
  }

  #assertMapped(): void {
    if (this.#core.ended) throw this.#core.why ?? new MpoolError('ERR_MPOOL_CLOSED', 'the map');
  }

  #refuseRange(object: MappedObject, offsetBytes: number, lengthBytes: number): never {
    const id = (BigInt(object.idHigh) << 32n) | BigInt(object.idLow);
    throw invalidArgument(
      `bytes ${offsetBytes} to ${offsetBytes + lengthBytes} of mblock ${printObjectId(id)}, ` +
        `which has ${object.lengthBytes}`,
    );
  }
}

/** From each buffer that users look at to its map. */
const KEPT = new WeakMap<ArrayBuffer, ObjectMap>();

const FORGOTTEN = new FinalizationRegistry<MapCore>((core) => {
  if (core.ended) return;
  process.emitWarning(`a map of ${core.objects.length} mblocks was collected without unmap()`, {
    code: 'MPOOL_NOT_UNMAPPED',
  });
  void core.release();
});

function pagesOfOffsets(object: MappedObject, offsets: ArrayLike<number>): number[] {
  if (typeof offsets !== 'object' || offsets === null || !(offsets.length >= 0)) {
    throw invalidArgument('offsets must be an array of numbers', 'type');
  }
  const pages: number[] = [];
  for (let i = 0; i < offsets.length; i++) {
    const offset = offsets[i]!;
    if (!(Number.isSafeInteger(offset) && offset >= 0 && offset < object.lengthBytes)) {
      throw invalidArgument(
        `offset ${String(offset)} of an mblock of ${object.lengthBytes} bytes`,
        typeof offset === 'number' ? 'range' : 'type',
      );
    }
    pages.push(Math.floor(offset / PAGE_BYTES));
  }
  return pages;
}

function rangeOf(object: MappedObject, firstPage: number, pageCount: number): Float64Array {
  return Float64Array.of(object.offsetBytes + firstPage * PAGE_BYTES, pageCount * PAGE_BYTES);
}

const ADVICE: readonly string[] = ['normal', 'random', 'sequential', 'willneed', 'dontneed'];

function checkAdvice(advice: Advice): void {
  if (ADVICE.includes(advice)) return;
  throw invalidArgument(`advice '${advice}' is none of ${ADVICE.join(', ')}`);
}
