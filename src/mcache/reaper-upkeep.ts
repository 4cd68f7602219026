import type { Clock } from '../base/clock.ts';
import type { Ledger } from './reaper-ledger.ts';
import type { ReaperWork } from './reaper-work.ts';

/** Whether it matters to know what is resident: there is plenty of memory, or not. */
export type Urgency = 'relaxed' | 'close';

/** Counts that are older are done again, of so many rows a round at most. */
const EFFORTS: Record<Urgency, { ageMs: number; rows: number }> = {
  relaxed: { ageMs: 2000, rows: 128 },
  // What came since the last count looks like page cache of others, which is as good as free.
  close: { ageMs: 15, rows: 2048 },
};
/** Of a thread of the pool, for counting. */
const COUNT_SHARE = 0.05;
/** Of a thread of the pool, for watching views; the thread that uses them pays as much again in faults. */
const WATCH_SHARE = 0.01;
/** Unspent shares are saved up for so long. */
const SAVED_MS = 1000;
/** Rows of all sets that are looked at in a round while some are looked for. */
const VISITS = 8192;
/** What is watched is looked at after so long, or when it is about to be evicted. */
const SAMPLE_MS = 50;

interface Sample {
  ledger: Ledger;
  row: number;
  fromMs: number;
}

/**
 * Keeps what is known of rows true: counts resident pages anew, and samples the use of views, of which
 * nobody tells. Both round robin, and both within a share of the thread pool's time.
 */
export class Upkeep {
  threadMs = 0;
  readonly #clock: Clock;
  readonly #ledgers: ReadonlySet<Ledger>;
  readonly #work: ReaperWork;
  #turn = 0;
  #countedAtMs = Number.NEGATIVE_INFINITY;
  #countCreditMs = 0;
  #watchedAtMs = Number.NEGATIVE_INFINITY;
  #watchCreditMs = 0;
  #samples: Sample[] = [];

  constructor(clock: Clock, ledgers: ReadonlySet<Ledger>, work: ReaperWork) {
    this.#clock = clock;
    this.#ledgers = ledgers;
    this.#work = work;
  }

  async count(urgency: Urgency): Promise<void> {
    const { ageMs, rows } = EFFORTS[urgency];
    const nowMs = this.#clock.monotonicMs();
    this.#countCreditMs = earned(this.#countCreditMs, nowMs - this.#countedAtMs, COUNT_SHARE);
    this.#countedAtMs = nowMs;
    const { countRowMs } = this.#work;
    let left = Math.min(rows, Math.floor(this.#countCreditMs / countRowMs));
    for (const ledger of this.#inTurn()) {
      if (left <= 0) return;
      const startMs = this.#clock.monotonicMs();
      const due = ledger.dueForCount(left, this.#visits(), ageMs, nowMs);
      this.threadMs += this.#clock.monotonicMs() - startMs;
      left -= due.length;
      this.#countCreditMs -= due.length * countRowMs;
      // oxlint-disable-next-line no-await-in-loop -- one after another: others want the pool too
      await this.#work.count(ledger, due);
    }
  }

  /** While memory presses: looks at what was watched since the last time, and watches others. */
  async watch(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const due = this.#samples.filter(({ fromMs }) => nowMs - fromMs >= SAMPLE_MS);
    this.#samples = this.#samples.filter(({ fromMs }) => nowMs - fromMs < SAMPLE_MS);
    for (const ledger of new Set(due.map((sample) => sample.ledger))) {
      const rows = due.flatMap((sample) => (sample.ledger === ledger ? sample.row : []));
      // oxlint-disable-next-line no-await-in-loop -- as above
      await this.#work.look(
        ledger,
        rows.filter((row) => ledger.isWatched(row)),
      );
    }
    this.#watchCreditMs = earned(this.#watchCreditMs, nowMs - this.#watchedAtMs, WATCH_SHARE);
    this.#watchedAtMs = nowMs;
    for (const ledger of this.#inTurn()) {
      const pages = Math.floor(this.#watchCreditMs / this.#work.watchPageMs);
      const rows = ledger.toWatch(pages, this.#visits());
      for (const row of rows) {
        this.#watchCreditMs -= ledger.pagesOf(row) * this.#work.watchPageMs;
        this.#samples.push({ ledger, row, fromMs: nowMs });
      }
      // oxlint-disable-next-line no-await-in-loop -- as above
      await this.#work.watch(ledger, rows);
    }
  }

  #visits(): number {
    return Math.ceil(VISITS / Math.max(1, this.#ledgers.size));
  }

  #inTurn(): Ledger[] {
    const ledgers = [...this.#ledgers];
    const first = this.#turn++ % Math.max(1, ledgers.length);
    return [...ledgers.slice(first), ...ledgers.slice(0, first)];
  }
}

/** Time to spend: what is left and what time brought, but no more than was worth saving. */
function earned(leftMs: number, elapsedMs: number, share: number): number {
  return Math.min(SAVED_MS * share, leftMs + elapsedMs * share);
}
