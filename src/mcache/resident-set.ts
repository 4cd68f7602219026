/** What the reaper sees of the mapped objects of one pool: rows of columns, and what it can do to them. */
export interface ResidentSet {
  /** Row r is row r & ROW_MASK of chunk r >>> CHUNK_SHIFT; chunks only ever come. */
  readonly chunks: readonly RowChunk[];
  /** Rows below it may be in use. */
  readonly rowEnd: number;
  /** Counts pages in the page cache anew, into `residentPages`, and clears STALE. */
  count(rows: readonly number[]): Promise<void>;
  /** Drops the rows' pages, what is known of their verification too; `residentPages` is 0 then. */
  evict(rows: readonly number[]): Promise<void>;
  /** Empties the page tables: what is used again through a view shows up in touched(). */
  zap(rows: readonly number[]): Promise<void>;
  /** Pages of each row that are in the page tables, since zap(). */
  touched(rows: readonly number[]): Promise<Float64Array>;
  /** Forgets a row that is UNMAPPED and of which nothing is resident. */
  forget(row: number): void;
  /** Milliseconds that all of this took of the thread pool so far, where it is known. */
  readonly workMs?: number | undefined;
}

export interface RowChunk {
  /** Accesses through the API, by any thread; wraps at 2^32. */
  readonly hits: Uint32Array;
  readonly flags: Uint8Array;
  /** 0 cold, 1 warm, 2 hot, 3 pinned. */
  readonly temperature: Uint8Array;
  readonly pageCount: Uint32Array;
  /** At the last count. */
  readonly residentPages: Uint32Array;
  /** The reaper's own: `hits` when it last looked, since when there were none, and accesses a second. */
  readonly seenHits: Uint32Array;
  readonly idleSinceMs: Float64Array;
  readonly hitsPerSecond: Float32Array;
}

export const CHUNK_SHIFT = 12;
export const CHUNK_ROWS = 1 << CHUNK_SHIFT;
export const ROW_MASK = CHUNK_ROWS - 1;

/** Flags of a row. Without IN_USE all else is meaningless. */
export const IN_USE = 1;
/** Views of it were handed out: it can be used without `hits` telling. */
export const SHOWN = 2;
/** Pages may have come since the last count. */
export const STALE = 4;
/** No map has it any more; its pages are still cached, in case one comes. */
export const UNMAPPED = 8;
/** An eviction of it is under way. */
export const LEAVING = 16;

export const TEMPERATURE_PINNED = 3;
