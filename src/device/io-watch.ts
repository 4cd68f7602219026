import type { Clock } from '../base/clock.ts';

/** How often is looked, for each time that an operation may take. */
const LOOKS = 4;

/**
 * Notices when a device does not answer. Costs an operation two links of a list; time is looked at by one
 * timer, which runs only while something is in flight.
 *
 * Invariants
 * 1. The list holds what is in flight, the oldest first.
 * 2. A look happens later than its timer was set for, never earlier: so what is called slow is.
 */
export class IoWatch {
  readonly #clock: Clock;
  readonly #slowMs: number;
  readonly #told: IoWatchListener;
  /** Of looks so far: an operation's age is counted in them. */
  #look = 0;
  #oldest: WatchedIo | null = null;
  #newest: WatchedIo | null = null;
  /** Slow ones are the oldest. */
  #slowCount = 0;
  #looking = false;

  constructor(clock: Clock, slowMs: number, told: IoWatchListener) {
    this.#clock = clock;
    this.#slowMs = slowMs;
    this.#told = told;
  }

  /** Operations that the device has had for too long. */
  get slowCount(): number {
    return this.#slowCount;
  }

  began(op: WatchedIo['op'], offsetBytes: number, lengthBytes: number): WatchedIo {
    const previous = this.#newest;
    const look = this.#look;
    const io: WatchedIo = { op, offsetBytes, lengthBytes, look, slow: false, previous, next: null };
    if (previous === null) this.#oldest = io;
    else previous.next = io;
    this.#newest = io;
    if (!this.#looking) {
      this.#looking = true;
      this.#lookLater();
    }
    return io;
  }

  ended(io: WatchedIo): void {
    const { previous, next } = io;
    if (previous === null) this.#oldest = next;
    else previous.next = next;
    if (next === null) this.#newest = previous;
    else next.previous = previous;
    if (!io.slow) return;
    this.#slowCount -= 1;
    if (this.#slowCount === 0) this.#told.answered();
  }

  #lookLater(): void {
    this.#clock.after(this.#slowMs / LOOKS, () => {
      this.#look += 1;
      this.#findSlow();
      // Not stopped when nothing is in flight, so that single operations do not each cost a timer.
      if (this.#oldest === null) this.#looking = false;
      else this.#lookLater();
    });
  }

  #findSlow(): void {
    for (let io = this.#oldest; io !== null; io = io.next) {
      // One look more: it may have begun just before the first.
      if (this.#look - io.look <= LOOKS) return;
      if (io.slow) continue;
      io.slow = true;
      this.#slowCount += 1;
      const { op, offsetBytes, lengthBytes } = io;
      const where = op === 'flush' ? '' : ` of ${lengthBytes} bytes at byte ${offsetBytes}`;
      const sinceMs = this.#clock.wallMs() - this.#slowMs;
      this.#told.slow(`a ${op}${where} since ${new Date(sinceMs).toISOString()}`);
    }
  }
}

export interface IoWatchListener {
  /** @param operation which one, where, since when */
  slow(operation: string): void;
  /** No operation is slow any more. */
  answered(): void;
}

export interface WatchedIo {
  readonly op: 'read' | 'write' | 'flush' | 'discard';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly look: number;
  slow: boolean;
  previous: WatchedIo | null;
  next: WatchedIo | null;
}
