/** What the reaper knows of the rows of one set: uses since it last looked, and what it did to them. */
import { isRipe, RATE_WINDOW_MS, scoreOf } from './reaper-choice.ts';
import type { Ranking, Selection } from './reaper-choice.ts';
import { CHUNK_ROWS, CHUNK_SHIFT, IN_USE, LEAVING } from './resident-set.ts';
import { ROW_MASK, SHOWN, STALE, TEMPERATURE_PINNED, UNMAPPED } from './resident-set.ts';
import type { ResidentSet, RowChunk } from './resident-set.ts';

/** A row that is used again so soon after its eviction should not have gone. */
const REFAULT_MS = 60_000;
/** Never 0, which means that nobody has looked at the row yet. */
const LEAST_RATE = 1e-9;

/** By row, like the columns of a RowChunk; 0: never. */
interface Notes {
  readonly countedMs: Float64Array;
  /** Since when all uses through views would show. */
  readonly zappedMs: Float64Array;
  /** And not used since. */
  readonly evictedMs: Float64Array;
}

/** Of one pass over all rows of a set. */
export interface Tally {
  /** Resident, at their last count: cold, warm, hot, pinned, of no map. */
  pages: number[];
  /** Of some map. */
  objectCount: number;
  rowCount: number;
  /** Of these, with resident pages, and all pages of those. */
  residentRows: number;
  residentRowPages: number;
  /** Not resident at their last count: as much may have come since. */
  absentPages: number;
}

/** One pass: the same for all sets. */
export interface Pass {
  readonly nowMs: number;
  /** Both or none. */
  readonly ranking: Ranking | undefined;
  readonly selection: Selection | undefined;
}

const OF_NO_MAP = 4;

export class Ledger {
  readonly set: ResidentSet;
  /** Names it in a ranking. */
  readonly number: number;
  removed = false;
  /** Its work failed: left alone until then. */
  restUntilMs = 0;
  /** Work on it that is under way, which never rejects. */
  work: Promise<void> = Promise.resolve();
  tally: Tally = emptyTally();
  refaultedObjects = 0;
  readonly #notes: Notes[] = [];
  #passMs = Number.NEGATIVE_INFINITY;
  #decay = 1;
  #next = emptyTally();
  #countAt = 0;
  #sampleAt = 0;

  constructor(set: ResidentSet, number: number) {
    this.set = set;
    this.number = number;
  }

  chunkOf(row: number): RowChunk {
    return this.set.chunks[row >>> CHUNK_SHIFT]!;
  }

  notesOf(row: number): Notes {
    return (this.#notes[row >>> CHUNK_SHIFT] ??= makeNotes());
  }

  pagesOf(row: number): number {
    return this.chunkOf(row).residentPages[row & ROW_MASK]!;
  }

  /** Not used since the last pass. */
  isUnused(row: number): boolean {
    const chunk = this.chunkOf(row);
    return chunk.hits[row & ROW_MASK] === chunk.seenHits[row & ROW_MASK];
  }

  isWatched(row: number): boolean {
    return this.notesOf(row).zappedMs[row & ROW_MASK] !== 0;
  }

  beginPass(nowMs: number): void {
    this.#decay = Math.exp(-Math.max(0, nowMs - this.#passMs) / RATE_WINDOW_MS);
    this.#next = emptyTally();
  }

  /** Looks at the rows of one chunk from `from` on, at most `most` of them. @returns where it stopped */
  observe(from: number, most: number, pass: Pass): number {
    const chunkEnd = ((from >>> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
    const end = Math.min(from + most, chunkEnd, this.set.rowEnd);
    const chunk = this.chunkOf(from);
    const notes = this.notesOf(from);
    for (let row = from; row < end; row++) {
      const at = row & ROW_MASK;
      if ((chunk.flags[at]! & IN_USE) !== 0) this.#observeRow(chunk, notes, at, row, pass);
    }
    return end;
  }

  endPass(nowMs: number): void {
    this.#passMs = nowMs;
    this.tally = this.#next;
  }

  #observeRow(chunk: RowChunk, notes: Notes, at: number, row: number, pass: Pass): void {
    const flags = chunk.flags[at]!;
    this.#noteUses(chunk, notes, at, pass.nowMs);
    const pages = chunk.residentPages[at]!;
    if ((flags & UNMAPPED) !== 0 && pages === 0 && (flags & (STALE | LEAVING)) === 0) {
      this.set.forget(row);
      return;
    }
    const tally = this.#next;
    tally.rowCount += 1;
    if ((flags & UNMAPPED) === 0) tally.objectCount += 1;
    tally.pages[categoryOf(chunk, at)]! += pages;
    if (pages > 0) {
      tally.residentRows += 1;
      tally.residentRowPages += chunk.pageCount[at]!;
    }
    tally.absentPages += chunk.pageCount[at]! - pages;
    if (pass.ranking === undefined || pass.selection === undefined) return;
    if (pages === 0 || (flags & LEAVING) !== 0) return;
    const score = this.#scoreOf(chunk, notes, at, pass.selection);
    if (score > 0) pass.ranking.offer(score, this.number, row);
  }

  #noteUses(chunk: RowChunk, notes: Notes, at: number, nowMs: number): void {
    const hits = chunk.hits[at]!;
    const growth = (hits - chunk.seenHits[at]!) >>> 0;
    const rate = chunk.hitsPerSecond[at]!;
    // A counter that runs backwards is another object's, in a row that was free in between.
    if (rate === 0 || growth >= 2 ** 31) {
      // As if it had been used once: what was only read ahead is there to be used.
      chunk.hitsPerSecond[at] = 1000 / RATE_WINDOW_MS;
      chunk.idleSinceMs[at] = nowMs;
      notes.countedMs[at] = 0;
      notes.zappedMs[at] = 0;
      notes.evictedMs[at] = 0;
    } else {
      const faded = rate * this.#decay + (growth * 1000) / RATE_WINDOW_MS;
      chunk.hitsPerSecond[at] = Math.max(LEAST_RATE, faded);
      if (growth > 0) this.#noteUse(chunk, notes, at, nowMs);
    }
    chunk.seenHits[at] = hits;
  }

  #noteUse(chunk: RowChunk, notes: Notes, at: number, nowMs: number): void {
    chunk.idleSinceMs[at] = nowMs;
    const evictedMs = notes.evictedMs[at]!;
    notes.evictedMs[at] = 0;
    if (evictedMs > 0 && nowMs - evictedMs <= REFAULT_MS) this.refaultedObjects += 1;
  }

  /** 0 when it may not go now. */
  #scoreOf(chunk: RowChunk, notes: Notes, at: number, selection: Selection): number {
    const flags = chunk.flags[at]!;
    const temperature = chunk.temperature[at]!;
    const { nowMs } = selection;
    const idleMs = nowMs - chunk.idleSinceMs[at]!;
    let knownIdleMs = idleMs;
    let { ttlMs } = selection;
    if ((flags & (SHOWN | UNMAPPED)) === SHOWN) {
      const zappedMs = notes.zappedMs[at]!;
      // Without a look at its use only the past rate is known.
      if (selection.emergency) knownIdleMs = 0;
      // What was handed out in views must be watched for a while before it goes, so that begins early.
      else if (zappedMs === 0) ttlMs /= 2;
      else if (nowMs - zappedMs < watchMs(chunk, at, ttlMs)) return 0;
    }
    const score = scoreOf(
      flags,
      temperature,
      chunk.residentPages[at]!,
      chunk.pageCount[at]!,
      knownIdleMs,
      chunk.hitsPerSecond[at]!,
      selection.meanPages,
    );
    return isRipe(score, temperature, idleMs, selection, ttlMs) ? score : 0;
  }

  /** Whether a row that was ranked a while ago is still to be evicted, and how. */
  verdictOn(row: number, selection: Selection): 'spare' | 'evict' | 'watch' | 'look' {
    const chunk = this.chunkOf(row);
    const at = row & ROW_MASK;
    const flags = chunk.flags[at]!;
    if (this.removed || selection.nowMs < this.restUntilMs) return 'spare';
    if ((flags & (IN_USE | LEAVING)) !== IN_USE || chunk.residentPages[at] === 0) return 'spare';
    if (!selection.emergency && !this.isUnused(row)) return 'spare';
    const notes = this.notesOf(row);
    if (this.#scoreOf(chunk, notes, at, selection) === 0) return 'spare';
    if (selection.emergency || (flags & (SHOWN | UNMAPPED)) !== SHOWN) return 'evict';
    return notes.zappedMs[at] === 0 ? 'watch' : 'look';
  }

  /** Up to `most` rows whose count is older than `ageMs`, from where the last call stopped. */
  dueForCount(most: number, visits: number, ageMs: number, nowMs: number): number[] {
    const due: number[] = [];
    this.#countAt = this.#walk(this.#countAt, visits, (chunk, notes, at, row) => {
      const flags = chunk.flags[at]!;
      if ((flags & LEAVING) !== 0 || (flags & (STALE | SHOWN)) === 0) return true;
      const countedMs = notes.countedMs[at]!;
      if (countedMs === 0 || nowMs - countedMs >= ageMs) due.push(row);
      return due.length < most;
    });
    return due;
  }

  /** Rows shown in views whose uses are not watched yet, until they have `pages` resident pages in all. */
  toWatch(pages: number, visits: number): number[] {
    const rows: number[] = [];
    let left = pages;
    this.#sampleAt = this.#walk(this.#sampleAt, visits, (chunk, notes, at, row) => {
      const flags = chunk.flags[at]!;
      const resident = chunk.residentPages[at]!;
      if ((flags & (SHOWN | UNMAPPED | LEAVING)) !== SHOWN || resident === 0) return true;
      if (notes.zappedMs[at] !== 0 || chunk.temperature[at]! >= TEMPERATURE_PINNED) return true;
      if (left <= 0) return false;
      left -= resident;
      rows.push(row);
      return true;
    });
    return rows;
  }

  #walk(
    from: number,
    visits: number,
    visit: (chunk: RowChunk, notes: Notes, at: number, row: number) => boolean,
  ): number {
    const { rowEnd } = this.set;
    let row = from < rowEnd ? from : 0;
    for (let left = Math.min(visits, rowEnd); left > 0; left--) {
      const chunk = this.chunkOf(row);
      const at = row & ROW_MASK;
      const inUse = (chunk.flags[at]! & IN_USE) !== 0 && chunk.hitsPerSecond[at] !== 0;
      if (inUse && !visit(chunk, this.notesOf(row), at, row)) return row;
      row = row + 1 < rowEnd ? row + 1 : 0;
    }
    return row;
  }

  /** What of a row is in the tally changes: call before and after with -1 and 1. */
  weigh(row: number, sign: 1 | -1): number {
    const chunk = this.chunkOf(row);
    const pages = chunk.residentPages[row & ROW_MASK]!;
    this.tally.pages[categoryOf(chunk, row & ROW_MASK)]! += sign * pages;
    return pages;
  }

  counted(row: number, pagesBefore: number, nowMs: number): void {
    const chunk = this.chunkOf(row);
    const notes = this.notesOf(row);
    const at = row & ROW_MASK;
    const growth = chunk.residentPages[at]! - pagesBefore;
    const since = notes.countedMs[at]!;
    notes.countedMs[at] = nowMs;
    // Pages came that no access since the last count explains: faults in a view, or read-ahead.
    if (since === 0 || growth <= 0 || chunk.idleSinceMs[at]! >= since) return;
    if (!this.isUnused(row)) return;
    chunk.idleSinceMs[at] = nowMs;
    if ((chunk.flags[at]! & SHOWN) === 0) return;
    chunk.hitsPerSecond[at]! += (growth * 1000) / RATE_WINDOW_MS;
    this.#noteUse(chunk, notes, at, nowMs);
  }

  watched(row: number, nowMs: number): void {
    this.notesOf(row).zappedMs[row & ROW_MASK] = Math.max(nowMs, 1);
  }

  /** @returns true when nobody used it while it was watched */
  lookedAt(row: number, touchedPages: number, nowMs: number): boolean {
    const notes = this.notesOf(row);
    const at = row & ROW_MASK;
    if (touchedPages === 0) return true;
    const chunk = this.chunkOf(row);
    const seconds = Math.max(1, nowMs - notes.zappedMs[at]!) / 1000;
    const rate = Math.max(chunk.hitsPerSecond[at]!, touchedPages / seconds);
    chunk.hitsPerSecond[at] = (chunk.hitsPerSecond[at]! + rate) / 2;
    notes.zappedMs[at] = 0;
    this.#noteUse(chunk, notes, at, nowMs);
    return false;
  }

  evicted(row: number, nowMs: number): void {
    const notes = this.notesOf(row);
    const at = row & ROW_MASK;
    // In the meantime the row may have become another object's.
    if (this.chunkOf(row).hitsPerSecond[at] === 0) return;
    notes.evictedMs[at] = nowMs;
    notes.countedMs[at] = nowMs;
    notes.zappedMs[at] = 0;
  }
}

/** So long must a view be left alone to count as idle: the longer, the less else is known of its use. */
function watchMs(chunk: RowChunk, at: number, ttlMs: number): number {
  return chunk.hits[at] === 0 ? ttlMs : ttlMs / 4;
}

function categoryOf(chunk: RowChunk, at: number): number {
  return (chunk.flags[at]! & UNMAPPED) !== 0 ? OF_NO_MAP : chunk.temperature[at]!;
}

export function addTallies(tallies: readonly Tally[]): Tally {
  const sum = emptyTally();
  for (const tally of tallies) {
    // A temperature that changed since the pass leaves one sum short, and the other too large.
    tally.pages.forEach((pages, i) => (sum.pages[i]! += Math.max(0, pages)));
    sum.objectCount += tally.objectCount;
    sum.rowCount += tally.rowCount;
    sum.residentRows += tally.residentRows;
    sum.residentRowPages += tally.residentRowPages;
    sum.absentPages += tally.absentPages;
  }
  return sum;
}

function emptyTally(): Tally {
  return {
    pages: [0, 0, 0, 0, 0],
    objectCount: 0,
    rowCount: 0,
    residentRows: 0,
    residentRowPages: 0,
    absentPages: 0,
  };
}

function makeNotes(): Notes {
  return {
    countedMs: new Float64Array(CHUNK_ROWS),
    zappedMs: new Float64Array(CHUNK_ROWS),
    evictedMs: new Float64Array(CHUNK_ROWS),
  };
}
