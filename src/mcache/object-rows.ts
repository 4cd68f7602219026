import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { DeviceMapping, PageRanges } from '../device/device-mapping.ts';
import { MappedObject, type ObjectPlace } from './mapped-object.ts';
import {
  CHUNK_ROWS,
  CHUNK_SHIFT,
  IN_USE,
  LEAVING,
  type ResidentSet,
  ROW_MASK,
  type RowChunk,
  STALE,
} from './resident-set.ts';

/** The mapped objects of one pool as the reaper sees them: a row each. */
export class ObjectRows implements ResidentSet {
  readonly chunks: RowChunk[] = [];
  rowEnd = 0;
  readonly #objects: (MappedObject | undefined)[] = [];
  readonly #mappings = new Set<DeviceMapping>();
  readonly #freeRows: number[] = [];
  readonly #onForget: (row: number) => void;

  /** @param onForget the reaper wants the row gone */
  constructor(onForget: (row: number) => void) {
    this.#onForget = onForget;
  }

  add(place: ObjectPlace, nowMs: number): MappedObject {
    const row = this.#freeRows.pop() ?? this.rowEnd++;
    if (row >>> CHUNK_SHIFT === this.chunks.length) this.chunks.push(makeChunk());
    const chunk = this.chunks[row >>> CHUNK_SHIFT]!;
    const at = row & ROW_MASK;
    const object = new MappedObject(place, chunk.hits, at);
    this.#mappings.add(place.mapping);
    chunk.flags[at] = IN_USE;
    chunk.temperature[at] = 0;
    chunk.pageCount[at] = object.pageCount;
    chunk.residentPages[at] = 0;
    chunk.seenHits[at] = chunk.hits[at]!;
    chunk.idleSinceMs[at] = nowMs;
    chunk.hitsPerSecond[at] = 0;
    object.row = row;
    this.#objects[row] = object;
    return object;
  }

  remove(row: number): void {
    const object = this.#objects[row];
    assert(object !== undefined, 'the row is in use');
    object.clearReady();
    this.chunks[row >>> CHUNK_SHIFT]!.flags[row & ROW_MASK] = 0;
    this.#objects[row] = undefined;
    this.#freeRows.push(row);
  }

  objectAt(row: number): MappedObject | undefined {
    return this.#objects[row];
  }

  setTemperature(row: number, temperature: number): void {
    this.chunks[row >>> CHUNK_SHIFT]!.temperature[row & ROW_MASK] = temperature;
  }

  flag(row: number, flags: number): void {
    this.chunks[row >>> CHUNK_SHIFT]!.flags[row & ROW_MASK]! |= flags;
  }

  unflag(row: number, flags: number): void {
    this.chunks[row >>> CHUNK_SHIFT]!.flags[row & ROW_MASK]! &= ~flags;
  }

  has(row: number, flags: number): boolean {
    return (this.chunks[row >>> CHUNK_SHIFT]!.flags[row & ROW_MASK]! & flags) === flags;
  }

  async count(rows: readonly number[]): Promise<void> {
    const objects = this.#objectsOf(rows);
    // Before it is counted: more may become ready meanwhile.
    const ready = objects.map((object) => object?.readyCount() ?? 0);
    const counts = await mapRanges(objects, (mapping, ranges) => mapping.resident(ranges));
    this.#stillThere(rows, objects, (row, object, i) => {
      const { residentPages } = this.chunks[row >>> CHUNK_SHIFT]!;
      const fell = counts[i]! < residentPages[row & ROW_MASK]!;
      residentPages[row & ROW_MASK] = counts[i]!;
      this.unflag(row, STALE);
      // The kernel, or somebody else, took some: nobody knows which.
      if (fell || counts[i]! < ready[i]!) object.clearReady();
    });
  }

  async evict(rows: readonly number[]): Promise<void> {
    const objects = this.#objectsOf(rows);
    this.#stillThere(rows, objects, (row) => this.flag(row, LEAVING));
    try {
      await evictObjects(objects);
    } finally {
      this.#stillThere(rows, objects, (row) => {
        this.unflag(row, LEAVING);
        this.chunks[row >>> CHUNK_SHIFT]!.residentPages[row & ROW_MASK] = 0;
      });
    }
  }

  async zap(rows: readonly number[]): Promise<void> {
    await mapRanges(this.#objectsOf(rows), (mapping, ranges) => mapping.zap(ranges));
  }

  touched(rows: readonly number[]): Promise<Float64Array> {
    return mapRanges(this.#objectsOf(rows), (mapping, ranges) => mapping.touched(ranges));
  }

  forget(row: number): void {
    if (this.#objects[row] !== undefined) this.#onForget(row);
  }

  get workMs(): number {
    let sum = 0;
    for (const mapping of this.#mappings) sum += mapping.workMs;
    return sum;
  }

  /** Rows may go while the reaper waits for something. */
  #objectsOf(rows: readonly number[]): (MappedObject | undefined)[] {
    return rows.map((row) => this.#objects[row]);
  }

  #stillThere(
    rows: readonly number[],
    objects: readonly (MappedObject | undefined)[],
    each: (row: number, object: MappedObject, i: number) => void,
  ): void {
    rows.forEach((row, i) => {
      const object = objects[i];
      if (object !== undefined && this.#objects[row] === object) each(row, object, i);
    });
  }
}

type Some<T> = readonly (T | undefined)[];

/** Drops all pages of the objects; whoever verifies one meanwhile may find it gone again. */
export async function evictObjects(objects: Some<MappedObject>): Promise<void> {
  for (const object of objects) object?.clearReady();
  await mapRanges(objects, (mapping, ranges) => mapping.evict(ranges));
  for (const object of objects) object?.clearReady();
}

/** One call a mapping for all its objects. @returns a number for each object, in their order, or 0 */
export async function mapRanges(
  objects: Some<MappedObject>,
  work: (mapping: DeviceMapping, ranges: PageRanges) => Promise<Float64Array | void>,
): Promise<Float64Array> {
  const results = new Float64Array(objects.length);
  const byMapping = new Map<DeviceMapping, number[]>();
  objects.forEach((object, i) => {
    if (object === undefined) return;
    const indices = byMapping.get(object.mapping);
    if (indices === undefined) byMapping.set(object.mapping, [i]);
    else indices.push(i);
  });
  await Promise.all(
    [...byMapping].map(async ([mapping, indices]) => {
      const ranges = new Float64Array(indices.length * 2);
      indices.forEach((i, at) => {
        ranges[2 * at] = objects[i]!.offsetBytes;
        ranges[2 * at + 1] = objects[i]!.pageCount * PAGE_BYTES;
      });
      const numbers = await work(mapping, ranges);
      if (numbers) indices.forEach((i, at) => (results[i] = numbers[at]!));
    }),
  );
  return results;
}

function makeChunk(): RowChunk {
  return {
    // Shared: other threads count their accesses here.
    hits: new Uint32Array(new SharedArrayBuffer(CHUNK_ROWS * 4)),
    flags: new Uint8Array(CHUNK_ROWS),
    temperature: new Uint8Array(CHUNK_ROWS),
    pageCount: new Uint32Array(CHUNK_ROWS),
    residentPages: new Uint32Array(CHUNK_ROWS),
    seenHits: new Uint32Array(CHUNK_ROWS),
    idleSinceMs: new Float64Array(CHUNK_ROWS),
    hitsPerSecond: new Float32Array(CHUNK_ROWS),
  };
}
