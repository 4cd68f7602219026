import type { Clock } from '../base/clock.ts';
import { Allowance } from './reaper-allowance.ts';
import type { CountAges, Ledger } from './reaper-ledger.ts';
import type { ReaperWork } from './reaper-work.ts';

/** Whether it matters to know what is resident: there is plenty of memory, or not. */
export type Urgency = 'relaxed' | 'close';

/** Counts that are older are done again, of so many rows a round at most. */
const EFFORTS: Record<Urgency, { ages: CountAges; rows: number }> = {
  relaxed: { ages: { changedMs: 2000, otherMs: 2000 }, rows: 128 },
  // What came since the last count looks like page cache of others, which is as good as free.
  close: { ages: { changedMs: 15, otherMs: 500 }, rows: 2048 },
};
/** Of a thread of the pool. */
const COUNT_SHARE = 0.02;
/** Of a thread of the pool, for watching views; the thread that uses them pays as much again in faults. */
const WATCH_SHARE = 0.01;
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
  readonly #counting = new Allowance(COUNT_SHARE);
  readonly #watching = new Allowance(WATCH_SHARE);
  #samples: Sample[] = [];

  constructor(clock: Clock, ledgers: ReadonlySet<Ledger>, work: ReaperWork) {
    this.#clock = clock;
    this.#ledgers = ledgers;
    this.#work = work;
  }

  async count(urgency: Urgency): Promise<void> {
    const { ages, rows } = EFFORTS[urgency];
    const nowMs = this.#clock.monotonicMs();
    this.#counting.earn(nowMs);
    const { countRowMs } = this.#work;
    // At least one, however dear, when anything is left: it may be overdrawn.
    let left = Math.min(rows, Math.ceil(this.#counting.leftMs / countRowMs));
    for (const ledger of this.#inTurn()) {
      if (left <= 0) return;
      const startMs = this.#clock.monotonicMs();
      const due = ledger.dueForCount(left, this.#visits(), ages, nowMs);
      this.threadMs += this.#clock.monotonicMs() - startMs;
      left -= due.length;
      this.#counting.leftMs -= due.length * countRowMs;
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
    this.#watching.earn(nowMs);
    for (const ledger of this.#inTurn()) {
      const pages = Math.ceil(this.#watching.leftMs / this.#work.watchPageMs);
      const rows = ledger.toWatch(pages, this.#visits());
      for (const row of rows) {
        this.#watching.leftMs -= ledger.pagesOf(row) * this.#work.watchPageMs;
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
