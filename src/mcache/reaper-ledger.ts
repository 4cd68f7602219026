import { isRipe, RATE_WINDOW_MS, scoreOf } from './reaper-choice.ts';
import type { Ranking, Selection } from './reaper-choice.ts';
import { isOpaque, makeNotes, noteCount, noteEviction } from './reaper-notes.ts';
import { noteHits, noteLook, noteWatch } from './reaper-notes.ts';
import type { Notes } from './reaper-notes.ts';
import { CHUNK_SHIFT, IN_USE, LEAVING, ROW_MASK, SHOWN, STALE } from './resident-set.ts';
import { TEMPERATURE_PINNED, UNMAPPED } from './resident-set.ts';
import type { ResidentSet, RowChunk } from './resident-set.ts';

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

/** What to do with a row that was ranked: watch it first, look whether it was used since it is watched. */
export type Verdict = 'spare' | 'evict' | 'watch' | 'look';

/** How old the count of a row may be, of whose change something is known, and of another. */
export interface CountAges {
  changedMs: number;
  otherMs: number;
}

const OF_NO_MAP = 4;
/** Reads take no longer than that. */
const READ_MS = 10_000;

/** What the reaper knows of the rows of one set. */
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
  #watchAt = 0;

  constructor(set: ResidentSet, number: number) {
    this.set = set;
    this.number = number;
  }

  #chunkOf(row: number): RowChunk {
    return this.set.chunks[row >>> CHUNK_SHIFT]!;
  }

  #notesOf(row: number): Notes {
    return (this.#notes[row >>> CHUNK_SHIFT] ??= makeNotes());
  }

  pagesOf(row: number): number {
    return this.#chunkOf(row).residentPages[row & ROW_MASK]!;
  }

  /** Not used since the last pass, as far as accesses are counted. */
  isUnused(row: number): boolean {
    const chunk = this.#chunkOf(row);
    return chunk.hits[row & ROW_MASK] === chunk.seenHits[row & ROW_MASK];
  }

  isWatched(row: number): boolean {
    return this.#notesOf(row).watchedMs[row & ROW_MASK] !== 0;
  }

  beginPass(nowMs: number): void {
    this.#decay = Math.exp(-Math.max(0, nowMs - this.#passMs) / RATE_WINDOW_MS);
    this.#next = emptyTally();
  }

  /** Looks at the rows of one chunk from `from` on, at most `most` of them. @returns where it stopped */
  observe(from: number, most: number, pass: Pass): number {
    const chunkEnd = ((from >>> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
    const end = Math.min(from + most, chunkEnd, this.set.rowEnd);
    const chunk = this.#chunkOf(from);
    const notes = this.#notesOf(from);
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
    const pages = chunk.residentPages[at]!;
    if (noteHits(chunk, notes, at, pass.nowMs, this.#decay)) this.refaultedObjects += 1;
    if ((flags & UNMAPPED) !== 0 && pages === 0 && (flags & (STALE | LEAVING)) === 0) {
      this.set.forget(row);
      return;
    }
    const tally = this.#next;
    tally.rowCount += 1;
    if ((flags & UNMAPPED) === 0) tally.objectCount += 1;
    tally.pages[categoryOf(chunk, at)]! += pages;
    tally.absentPages += chunk.pageCount[at]! - pages;
    if (pages === 0) return;
    tally.residentRows += 1;
    tally.residentRowPages += chunk.pageCount[at]!;
    if (pass.ranking === undefined || pass.selection === undefined) return;
    if ((flags & LEAVING) !== 0) return;
    const score = this.#ripeScore(chunk, notes, at, pass.selection);
    if (score > 0) pass.ranking.offer(score, this.number, row);
  }

  /** 0 when it is not to go now, nor to be watched so that it can. */
  #ripeScore(chunk: RowChunk, notes: Notes, at: number, selection: Selection): number {
    const { nowMs, ttlMs, emergency } = selection;
    const idleMs = nowMs - chunk.idleSinceMs[at]!;
    if (!isOpaque(chunk, notes, at, idleMs)) {
      return this.#scoreIf(chunk, at, idleMs, idleMs, selection, ttlMs);
    }
    // Without a look at its use only the past rate is known, and all are in use.
    const rankedIdleMs = selection.hurried ? 0 : idleMs;
    if (emergency) return this.#scoreIf(chunk, at, rankedIdleMs, idleMs, selection, ttlMs);
    const watchedMs = notes.watchedMs[at]!;
    // It must be watched for a while before it goes, so that begins early.
    if (watchedMs === 0) {
      return this.#scoreIf(chunk, at, rankedIdleMs, idleMs, selection, ttlMs / 2);
    }
    const waitMs = chunk.hits[at] === 0 ? ttlMs : ttlMs / 4;
    if (nowMs - watchedMs < waitMs) return 0;
    return this.#scoreIf(chunk, at, rankedIdleMs, idleMs, selection, ttlMs);
  }

  #scoreIf(
    chunk: RowChunk,
    at: number,
    rankedIdleMs: number,
    idleMs: number,
    selection: Selection,
    ttlMs: number,
  ): number {
    const temperature = chunk.temperature[at]!;
    const score = scoreOf(
      chunk.flags[at]!,
      temperature,
      chunk.residentPages[at]!,
      chunk.pageCount[at]!,
      rankedIdleMs,
      chunk.hitsPerSecond[at]!,
      selection.meanPages,
    );
    return isRipe(score, temperature, idleMs, selection, ttlMs) ? score : 0;
  }

  /** Of a row that was ranked a while ago. */
  verdictOn(row: number, selection: Selection): Verdict {
    const chunk = this.#chunkOf(row);
    const at = row & ROW_MASK;
    if (this.removed || selection.nowMs < this.restUntilMs) return 'spare';
    if ((chunk.flags[at]! & (IN_USE | LEAVING)) !== IN_USE || this.pagesOf(row) === 0)
      return 'spare';
    if (!selection.hurried && !this.isUnused(row)) return 'spare';
    const notes = this.#notesOf(row);
    if (this.#ripeScore(chunk, notes, at, selection) === 0) return 'spare';
    const idleMs = selection.nowMs - chunk.idleSinceMs[at]!;
    if (selection.emergency || !isOpaque(chunk, notes, at, idleMs)) return 'evict';
    return notes.watchedMs[at] === 0 ? 'watch' : 'look';
  }

  /** Up to `most` rows whose count is too old, from where the last call stopped. */
  dueForCount(most: number, visits: number, ages: CountAges, nowMs: number): number[] {
    const due: number[] = [];
    this.#countAt = this.#walk(this.#countAt, visits, (chunk, notes, at, row) => {
      if ((chunk.flags[at]! & LEAVING) !== 0) return true;
      if (nowMs - notes.countedMs[at]! >= countAge(chunk, notes, at, ages)) due.push(row);
      return due.length < most;
    });
    return due;
  }

  /** Rows shown in views whose uses are not watched yet, until they have `pages` resident pages in all. */
  toWatch(pages: number, visits: number): number[] {
    const rows: number[] = [];
    let left = pages;
    this.#watchAt = this.#walk(this.#watchAt, visits, (chunk, notes, at, row) => {
      const flags = chunk.flags[at]!;
      const resident = chunk.residentPages[at]!;
      if ((flags & (SHOWN | UNMAPPED | LEAVING)) !== SHOWN || resident === 0) return true;
      if (notes.watchedMs[at] !== 0 || chunk.temperature[at]! >= TEMPERATURE_PINNED) return true;
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
      const chunk = this.#chunkOf(row);
      const at = row & ROW_MASK;
      const isKnown = (chunk.flags[at]! & IN_USE) !== 0 && chunk.hitsPerSecond[at] !== 0;
      if (isKnown && !visit(chunk, this.#notesOf(row), at, row)) return row;
      row = row + 1 < rowEnd ? row + 1 : 0;
    }
    return row;
  }

  /** What of a row is in the tally changes: call before and after with -1 and 1. @returns its pages */
  weigh(row: number, sign: 1 | -1): number {
    const pages = this.pagesOf(row);
    this.tally.pages[categoryOf(this.#chunkOf(row), row & ROW_MASK)]! += sign * pages;
    return pages;
  }

  counted(row: number, pagesBefore: number, nowMs: number): void {
    const isRefault = noteCount(
      this.#chunkOf(row),
      this.#notesOf(row),
      row & ROW_MASK,
      pagesBefore,
      nowMs,
    );
    if (isRefault) this.refaultedObjects += 1;
  }

  watched(row: number, nowMs: number): void {
    noteWatch(this.#chunkOf(row), this.#notesOf(row), row & ROW_MASK, nowMs);
  }

  /**
   * @param selection for a row that is to be evicted
   * @returns true when it may be: nobody used it while it was watched, or there is no time for such regards
   */
  lookedAt(row: number, touchedPages: number, nowMs: number, selection?: Selection): boolean {
    const chunk = this.#chunkOf(row);
    const at = row & ROW_MASK;
    const isRefault = noteLook(chunk, this.#notesOf(row), at, touchedPages, nowMs);
    if (isRefault) this.refaultedObjects += 1;
    if (touchedPages === 0) return true;
    if (selection?.hurried !== true) return false;
    const { ttlMs } = selection;
    return this.#scoreIf(chunk, at, 0, Number.POSITIVE_INFINITY, selection, ttlMs) > 0;
  }

  evicted(row: number, nowMs: number): void {
    noteEviction(this.#chunkOf(row), this.#notesOf(row), row & ROW_MASK, nowMs);
  }
}

/** How old its count may be. */
function countAge(chunk: RowChunk, notes: Notes, at: number, ages: CountAges): number {
  const flags = chunk.flags[at]!;
  const countedMs = notes.countedMs[at]!;
  if (countedMs === 0) return (flags & (STALE | SHOWN)) === 0 ? Number.POSITIVE_INFINITY : 0;
  if ((flags & STALE) !== 0 || notes.covert[at] === 1) return ages.changedMs;
  // A read that began before the count may have brought pages after it.
  const mayChange = (flags & SHOWN) !== 0 || countedMs < chunk.idleSinceMs[at]! + READ_MS;
  return mayChange ? ages.otherMs : Number.POSITIVE_INFINITY;
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
