import type { Clock } from '../base/clock.ts';
import { MpoolError } from '../base/errors.ts';

/** Late timers are made up for by at most so much at once. */
const BURST_MS = 20;

/** Bounds how fast bytes are read in the background, and ends waiting when it is told to stop. */
export class Pace {
  readonly #clock: Clock;
  readonly #bytesPerMs: number;
  readonly #signal: AbortSignal;
  #dueMs: number;

  /** @param bytesPerSecond above 0; Infinity for no bound */
  constructor(clock: Clock, bytesPerSecond: number, signal: AbortSignal) {
    this.#clock = clock;
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#signal = signal;
    this.#dueMs = clock.monotonicMs();
  }

  /** Resolves when so many bytes more may be read. @throws ERR_MPOOL_ABORTED */
  async take(lengthBytes: number): Promise<void> {
    this.#throwIfAborted();
    const nowMs = this.#clock.monotonicMs();
    const waitMs = this.#dueMs - nowMs;
    this.#dueMs = Math.max(this.#dueMs, nowMs - BURST_MS) + lengthBytes / this.#bytesPerMs;
    if (waitMs > 0) await this.#sleep(waitMs);
    this.#throwIfAborted();
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel();
        this.#signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = this.#clock.after(delayMs, wake, true);
      this.#signal.addEventListener('abort', wake, { once: true });
    });
  }

  #throwIfAborted(): void {
    if (this.#signal.aborted) throw new MpoolError('ERR_MPOOL_ABORTED');
  }
}
