/**
 * Bounds how many callback operations of one task are under way, and keeps the first error.
 * Used by one task at a time: take() before each operation, settle() in its callback, drained() at the end.
 */
export class InFlight<E> {
  readonly #limit: number;
  #count = 0;
  #resume: (() => void) | null = null;
  #wanted = 0;
  error: E | null = null;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Counts one more operation, waiting for room when the limit is reached. */
  async take(): Promise<void> {
    if (this.#count >= this.#limit) await this.#below(this.#limit);
    this.#count += 1;
  }

  readonly settle = (error: E | null): void => {
    this.error ??= error;
    this.#count -= 1;
    if (this.#resume !== null && this.#count < this.#wanted) {
      const resume = this.#resume;
      this.#resume = null;
      resume();
    }
  };

  /** Resolves when none is under way; throws the first error. */
  async drained(): Promise<void> {
    if (this.#count > 0) await this.#below(1);
    if (this.error !== null) throw this.error as Error;
  }

  #below(count: number): Promise<void> {
    this.#wanted = count;
    return new Promise((resume) => (this.#resume = resume));
  }
}
