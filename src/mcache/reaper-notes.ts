/** What is known of a row's use: accesses that were counted, pages that came, pages that were touched. */
import { RATE_WINDOW_MS } from './reaper-choice.ts';
import { CHUNK_ROWS, SHOWN, UNMAPPED } from './resident-set.ts';
import type { RowChunk } from './resident-set.ts';

/** By row, like the columns of a RowChunk. Times are 0 for never. */
export interface Notes {
  readonly countedMs: Float64Array;
  /** Since when all uses through views show, and how many accesses had been counted then. */
  readonly watchedMs: Float64Array;
  readonly watchedHits: Uint32Array;
  /** And not used since. */
  readonly evictedMs: Float64Array;
  /** 1: it is known to have been used through views without an access that was counted. */
  readonly covert: Uint8Array;
}

/** A row that is used again so soon after its eviction should not have gone. */
const REFAULT_MS = 60_000;
/** Never 0, which means that nobody has looked at the row yet. */
const LEAST_RATE = 1e-9;

export function makeNotes(): Notes {
  return {
    countedMs: new Float64Array(CHUNK_ROWS),
    watchedMs: new Float64Array(CHUNK_ROWS),
    watchedHits: new Uint32Array(CHUNK_ROWS),
    evictedMs: new Float64Array(CHUNK_ROWS),
    covert: new Uint8Array(CHUNK_ROWS),
  };
}

/**
 * Takes in the accesses that were counted since the last pass.
 * @param decay what is left of the rate of then
 * @returns true when the row should not have been evicted
 */
export function noteHits(
  chunk: RowChunk,
  notes: Notes,
  at: number,
  nowMs: number,
  decay: number,
): boolean {
  const hits = chunk.hits[at]!;
  const growth = (hits - chunk.seenHits[at]!) >>> 0;
  const rate = chunk.hitsPerSecond[at]!;
  chunk.seenHits[at] = hits;
  // A counter that runs backwards is another object's, in a row that was free in between.
  if (rate === 0 || growth >= 2 ** 31) {
    // As if it had been used once: what was only read ahead is there to be used.
    chunk.hitsPerSecond[at] = 1000 / RATE_WINDOW_MS;
    chunk.idleSinceMs[at] = nowMs;
    notes.countedMs[at] = 0;
    notes.watchedMs[at] = 0;
    notes.evictedMs[at] = 0;
    notes.covert[at] = 0;
    return false;
  }
  const faded = rate * decay + (growth * 1000) / RATE_WINDOW_MS;
  chunk.hitsPerSecond[at] = Math.max(LEAST_RATE, faded);
  return growth > 0 && noteUse(chunk, notes, at, nowMs);
}

function noteUse(chunk: RowChunk, notes: Notes, at: number, nowMs: number): boolean {
  chunk.idleSinceMs[at] = nowMs;
  const evictedMs = notes.evictedMs[at]!;
  notes.evictedMs[at] = 0;
  return evictedMs > 0 && nowMs - evictedMs <= REFAULT_MS;
}

/**
 * Its resident pages were counted.
 * @returns true when the row should not have been evicted
 */
export function noteCount(
  chunk: RowChunk,
  notes: Notes,
  at: number,
  pagesBefore: number,
  nowMs: number,
): boolean {
  const growth = chunk.residentPages[at]! - pagesBefore;
  const since = notes.countedMs[at]!;
  notes.countedMs[at] = nowMs;
  // Pages that came and that no access since the last count explains: faults in a view, or read-ahead.
  if (since === 0 || growth <= 0 || chunk.idleSinceMs[at]! >= since) return false;
  if (chunk.hits[at] !== chunk.seenHits[at]) return false;
  chunk.idleSinceMs[at] = nowMs;
  if ((chunk.flags[at]! & SHOWN) === 0) return false;
  notes.covert[at] = 1;
  chunk.hitsPerSecond[at]! += (growth * 1000) / RATE_WINDOW_MS;
  return noteUse(chunk, notes, at, nowMs);
}

export function noteWatch(chunk: RowChunk, notes: Notes, at: number, nowMs: number): void {
  notes.watchedMs[at] = Math.max(nowMs, 1);
  notes.watchedHits[at] = chunk.hits[at]!;
}

/**
 * So many of its pages were touched since it is watched; if any, it is not watched any more.
 * @returns true when the row should not have been evicted
 */
export function noteLook(
  chunk: RowChunk,
  notes: Notes,
  at: number,
  touchedPages: number,
  nowMs: number,
): boolean {
  const seconds = Math.max(1, nowMs - notes.watchedMs[at]!) / 1000;
  const rate = chunk.hitsPerSecond[at]!;
  if (touchedPages === 0) {
    // Else it would have been used at least once.
    chunk.hitsPerSecond[at] = Math.min(rate, 1 / seconds);
    return false;
  }
  if (chunk.hits[at] === notes.watchedHits[at]) notes.covert[at] = 1;
  const seen = touchedPages / seconds;
  // Accesses that are counted may be of the same page again and again: then they tell more.
  chunk.hitsPerSecond[at] = (rate + (notes.covert[at] === 1 ? seen : Math.max(rate, seen))) / 2;
  notes.watchedMs[at] = 0;
  return noteUse(chunk, notes, at, nowMs);
}

export function noteEviction(chunk: RowChunk, notes: Notes, at: number, nowMs: number): void {
  // In the meantime the row may have become another object's.
  if (chunk.hitsPerSecond[at] === 0) return;
  notes.evictedMs[at] = nowMs;
  notes.countedMs[at] = nowMs;
  notes.watchedMs[at] = 0;
}

/**
 * Whether its idleness is to be believed only when it was watched: it was handed out in views, and they were
 * used without an access that was counted, or might have been for long.
 */
export function isOpaque(chunk: RowChunk, notes: Notes, at: number, idleMs: number): boolean {
  if ((chunk.flags[at]! & (SHOWN | UNMAPPED)) !== SHOWN) return false;
  return notes.covert[at] === 1 || chunk.hits[at] === 0 || idleMs >= RATE_WINDOW_MS;
}
