import type { Clock } from '../../base/clock.ts';

/** A moment after which nothing is waited for any more. */
export class Deadline {
  readonly #clock: Clock;
  readonly #atMs: number;

  constructor(clock: Clock, delayMs: number) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs() + delayMs;
  }

  /** So much later than this one. */
  later(delayMs: number): Deadline {
    return new Deadline(this.#clock, this.leftMs + delayMs);
  }

  get leftMs(): number {
    return Math.max(0, this.#atMs - this.#clock.monotonicMs());
  }

  /**
   * Waits for it, but not longer than until then.
   * @returns whether it was done in time
   * @throws what it rejects with in time; later than that nobody hears of it
   */
  meets(awaited: Promise<unknown>): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(this.leftMs, () => resolve(false), true);
      awaited.then(
        () => {
          timer.cancel();
          resolve(true);
        },
        (error: Error) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }
}
