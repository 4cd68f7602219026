import type { Clock } from '../../base/clock.ts';
import type { Reaper, ReaperSettings } from '../../pool/api.ts';
import type { ReaperChanges } from '../protocol.ts';

const REPORT_MS = 5000;

/** What the daemon says of the reaper of this process. */
export function applyReaperChanges(reaper: Reaper, changes: ReaperChanges): void {
  // JSON has no undefined: null takes the budget away.
  const { budgetBytes, ...rest } = changes;
  reaper.configure({
    ...(rest as Partial<ReaperSettings>),
    ...(budgetBytes !== undefined && { budgetBytes: budgetBytes ?? undefined }),
  });
}

/** Tells the daemon now and then how the reaper is doing, while it has something to do. */
export class ReaperReports {
  readonly #reaper: Reaper;
  readonly #clock: Clock;
  readonly #report: () => void;
  #running = false;

  /** @param report sends what stats() says */
  constructor(reaper: Reaper, clock: Clock, report: () => void) {
    this.#reaper = reaper;
    this.#clock = clock;
    this.#report = report;
  }

  /** Something was mapped. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#later();
  }

  stop(): void {
    this.#running = false;
  }

  #later(): void {
    this.#clock.after(REPORT_MS, () => {
      if (!this.#running) return;
      this.#report();
      if (this.#reaper.stats().objectCount > 0) this.#later();
      else this.#running = false;
    });
  }
}
