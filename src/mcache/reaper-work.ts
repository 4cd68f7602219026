/** What the reaper does to rows: in pieces, so that others have their turn on the thread pool. */
import type { Clock } from '../base/clock.ts';
import type { Eviction } from '../pool/map-api.ts';
import type { Ledger } from './reaper-ledger.ts';

/** Evicting 32 MiB takes 0.3 to 1.6 ms, so a call takes some milliseconds at most. */
const EVICT_CALL_PAGES = 16_384;
const CALL_ROWS = 256;
/** Until they were measured: a row of 32 MiB all resident is counted in 0.1 ms, and zapped in 1.2 ms. */
const COUNT_ROW_MS_GUESS = 0.02;
const WATCH_PAGE_MS_GUESS = 0.000_15;
/** A set whose work fails, most likely since its pool closes, is left alone for a while. */
const REST_MS = 1000;

/** Rows by set. */
export type RowsOf = Map<Ledger, number[]>;

export function addRow(rows: RowsOf, ledger: Ledger, row: number): void {
  const list = rows.get(ledger);
  if (list === undefined) rows.set(ledger, [row]);
  else list.push(row);
}

export class ReaperWork {
  poolMs = 0;
  evictedObjects = 0;
  evictedPages = 0;
  /** What a row's count and a page's watching cost of the thread pool, as measured. */
  countRowMs = COUNT_ROW_MS_GUESS;
  watchPageMs = WATCH_PAGE_MS_GUESS;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async count(ledger: Ledger, rows: readonly number[]): Promise<void> {
    for (const part of inParts(ledger, rows, Number.POSITIVE_INFINITY)) {
      const before = part.map((row) => ledger.weigh(row, -1));
      // oxlint-disable-next-line no-await-in-loop -- one after another: others want the pool too
      const costMs = await this.#run(ledger, () => ledger.set.count(part));
      for (const row of part) ledger.weigh(row, 1);
      if (costMs === undefined) return;
      const nowMs = this.#clock.monotonicMs();
      part.forEach((row, i) => ledger.counted(row, before[i]!, nowMs));
      this.countRowMs = average(this.countRowMs, costMs / part.length);
    }
  }

  /** From now on uses through views show. */
  async watch(ledger: Ledger, rows: readonly number[]): Promise<void> {
    for (const part of inParts(ledger, rows, EVICT_CALL_PAGES)) {
      const nowMs = this.#clock.monotonicMs();
      // oxlint-disable-next-line no-await-in-loop -- as above
      const costMs = await this.#run(ledger, () => ledger.set.zap(part));
      if (costMs === undefined) return;
      let pages = 1;
      for (const row of part) {
        pages += ledger.pagesOf(row);
        ledger.watched(row, nowMs);
      }
      this.watchPageMs = average(this.watchPageMs, costMs / pages);
    }
  }

  /** @returns the rows that nobody used while they were watched */
  async look(ledger: Ledger, rows: readonly number[]): Promise<number[]> {
    const unused: number[] = [];
    for (const part of inParts(ledger, rows, Number.POSITIVE_INFINITY)) {
      let touched: Float64Array | undefined;
      // oxlint-disable-next-line no-await-in-loop -- as above
      await this.#run(ledger, async () => {
        touched = await ledger.set.touched(part);
      });
      if (touched === undefined) return unused;
      const nowMs = this.#clock.monotonicMs();
      const pages = touched;
      unused.push(...part.filter((row, i) => ledger.lookedAt(row, pages[i]!, nowMs)));
    }
    return unused;
  }

  /** @param evenUsed also what was used since the last pass */
  async evict(ledger: Ledger, rows: readonly number[], evenUsed: boolean): Promise<Eviction> {
    const done = { objectCount: 0, pageCount: 0 };
    for (const planned of inParts(ledger, rows, EVICT_CALL_PAGES)) {
      const part = planned.filter((row) => evenUsed || ledger.isUnused(row));
      if (part.length === 0) continue;
      const before = part.map((row) => ledger.weigh(row, -1));
      // oxlint-disable-next-line no-await-in-loop -- as above
      const costMs = await this.#run(ledger, () => ledger.set.evict(part));
      for (const row of part) ledger.weigh(row, 1);
      if (costMs === undefined) break;
      const nowMs = this.#clock.monotonicMs();
      for (const row of part) ledger.evicted(row, nowMs);
      done.objectCount += part.length;
      done.pageCount += before.reduce((sum, pages) => sum + pages, 0);
    }
    this.evictedObjects += done.objectCount;
    this.evictedPages += done.pageCount;
    return done;
  }

  /** @returns the milliseconds it took of the thread pool; undefined when it failed or was not even tried */
  async #run(ledger: Ledger, work: () => Promise<void>): Promise<number | undefined> {
    const startMs = this.#clock.monotonicMs();
    if (ledger.removed || startMs < ledger.restUntilMs) return undefined;
    const { set } = ledger;
    const workBefore = set.workMs;
    let failed = false;
    // Called in a promise, so that one that throws at once is no different.
    ledger.work = Promise.resolve()
      .then(work)
      .catch(() => {
        failed = true;
      });
    await ledger.work;
    const endMs = this.#clock.monotonicMs();
    const costMs = workBefore === undefined ? endMs - startMs : (set.workMs ?? 0) - workBefore;
    this.poolMs += costMs;
    if (failed) ledger.restUntilMs = endMs + REST_MS;
    return failed || ledger.removed ? undefined : costMs;
  }
}

function* inParts(ledger: Ledger, rows: readonly number[], pagesMax: number): Generator<number[]> {
  for (let from = 0; from < rows.length;) {
    const part: number[] = [];
    let pages = 0;
    while (from < rows.length && part.length < CALL_ROWS) {
      pages += ledger.pagesOf(rows[from]!);
      if (part.length > 0 && pages > pagesMax) break;
      part.push(rows[from++]!);
    }
    yield part;
  }
}

function average(before: number, now: number): number {
  return before * 0.9 + now * 0.1;
}
