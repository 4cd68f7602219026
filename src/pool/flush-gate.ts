import type { Device } from '../device/device.ts';
import { type MpoolError } from '../base/errors.ts';
import { GroupSizes } from './group-sizes.ts';

/**
 * Shares flushes of one device: those who ask while one is under way all wait for the same next one.
 *
 * Invariants
 * 1. flush() covers every write that was done before it was called: the flush that answers it
 *    started later than the call.
 * 2. At most one flush is in flight.
 * 3. A failed flush fails everyone it stood for, and the gate for ever: what it should have made
 *    durable may be gone from every cache, so asking again would lie (the "fsyncgate" of 2018).
 */
export class FlushGate {
  readonly #device: Device;
  #running = false;
  #waiting: ((error: MpoolError | null) => void)[] = [];
  #failure: MpoolError | null = null;
  /** Told of the first failure: no change of the pool can be made durable after it. */
  onFailure: (error: MpoolError) => void = () => {};
  /** Flushes done, for statistics. */
  count = 0;
  /** Of syncs of users' logs on the device. */
  readonly syncGroups = new GroupSizes();

  constructor(device: Device) {
    this.#device = device;
  }

  /** A flush is in flight or asked for: one more to wait for it costs the device nothing. */
  get busy(): boolean {
    return this.#running;
  }

  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.flushThen((error) => (error === null ? resolve() : reject(error)));
    });
  }

  flushThen(done: (error: MpoolError | null) => void): void {
    if (this.#failure !== null) {
      const failure = this.#failure;
      queueMicrotask(() => done(failure));
      return;
    }
    this.#waiting.push(done);
    if (!this.#running) {
      this.#running = true;
      // At the end of the tick: all who ask within it share the flush.
      queueMicrotask(() => this.#run());
    }
  }

  #run(): void {
    const covered = this.#waiting;
    this.#waiting = [];
    this.#device.flush((error) => {
      this.count += 1;
      if (error !== null && this.#failure === null) {
        this.#failure = error;
        this.onFailure(error);
      }
      if (this.#failure === null && this.#waiting.length > 0) this.#run();
      else this.#running = false;
      for (const done of covered) done(this.#failure);
      if (this.#failure !== null) {
        const rest = this.#waiting;
        this.#waiting = [];
        for (const done of rest) done(this.#failure);
      }
    });
  }
}
