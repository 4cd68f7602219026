import type { Clock } from '../base/clock.ts';
import { Ranking } from './reaper-choice.ts';
import type { Selection } from './reaper-choice.ts';
import type { Ledger, Pass } from './reaper-ledger.ts';

/** Rows that are looked at without giving others a turn: a fraction of a millisecond. */
const SLICE_ROWS = 8192;
/** Ranked in one pass: enough for the rounds that follow without one. */
const RANKED_ROWS = 2048;
/** Then they are too old. */
const RANKING_MS = 1000;
/** Between passes so many times what the last one took of the thread: 1 % of it, in an emergency 10 %. */
const REST_FACTOR = 100;
const EMERGENCY_REST_FACTOR = 10;

export interface Candidate {
  ledger: Ledger;
  row: number;
}

/**
 * Passes over all rows of all sets, in slices: who was used, and, while memory presses, a ranking of whom to
 * evict. Rounds that come before the next pass may begin go on with what is left of the last ranking.
 */
export class Passes {
  threadMs = 0;
  readonly #clock: Clock;
  readonly #ledgers: ReadonlySet<Ledger>;
  readonly #ranking = new Ranking(RANKED_ROWS);
  /** The best one last. */
  #candidates: Candidate[] = [];
  #rankedAtMs = 0;
  #endedAtMs = Number.NEGATIVE_INFINITY;
  #costMs = 0;

  constructor(clock: Clock, ledgers: ReadonlySet<Ledger>) {
    this.#clock = clock;
    this.#ledgers = ledgers;
  }

  /** Whether the last pass was cheap enough, or long enough ago, for another. */
  isDue(nowMs: number, emergency: boolean): boolean {
    const factor = emergency ? EMERGENCY_REST_FACTOR : REST_FACTOR;
    return nowMs - this.#endedAtMs >= this.#costMs * factor;
  }

  /** @param selection whom to rank; undefined: nobody */
  async run(selection: Selection | undefined): Promise<void> {
    const before = this.threadMs;
    const ranking = selection && this.#ranking;
    const pass: Pass = { nowMs: this.#clock.monotonicMs(), ranking, selection };
    const ledgers = [...this.#ledgers];
    ranking?.clear();
    let left = SLICE_ROWS;
    for (const ledger of ledgers) {
      ledger.beginPass(pass.nowMs);
      for (let row = 0; row < ledger.set.rowEnd && !ledger.removed;) {
        if (left === 0) {
          // oxlint-disable-next-line no-await-in-loop -- that others have a turn is the purpose
          // Kept alive: somebody may wait for what this round allows.
          await new Promise<void>((resolve) => void this.#clock.after(0, resolve, true));
          left = SLICE_ROWS;
          if (ledger.removed) break;
        }
        const startMs = this.#clock.monotonicMs();
        const end = ledger.observe(row, left, pass);
        left -= end - row;
        row = end;
        this.threadMs += this.#clock.monotonicMs() - startMs;
      }
      ledger.endPass(pass.nowMs);
    }
    this.#candidates = ranking === undefined ? [] : this.#ranked(ledgers);
    this.#rankedAtMs = pass.nowMs;
    this.#endedAtMs = this.#clock.monotonicMs();
    this.#costMs = this.threadMs - before;
  }

  /** The next of the ranking, when there is one that is not too old. */
  take(nowMs: number): Candidate | undefined {
    if (nowMs - this.#rankedAtMs > RANKING_MS) this.#candidates = [];
    return this.#candidates.pop();
  }

  #ranked(ledgers: readonly Ledger[]): Candidate[] {
    const startMs = this.#clock.monotonicMs();
    const byNumber = new Map(ledgers.map((ledger) => [ledger.number, ledger]));
    const candidates = this.#ranking
      .sorted()
      .map(({ owner, row }) => ({ ledger: byNumber.get(owner)!, row }));
    this.threadMs += this.#clock.monotonicMs() - startMs;
    return candidates;
  }
}
