import type { Clock } from '../../base/clock.ts';
import { MpoolError } from '../../base/errors.ts';
import type { ScrubOptions, ScrubProgress, ScrubReport } from '../../pool/api.ts';
import type { ScrubState } from '../protocol.ts';
import type { PoolService } from './pool-service.ts';

/** So long who waits for a scrub is let wait: he is told how far it is by then. */
const WAIT_MS = 250;

interface Running {
  readonly stopping: AbortController;
  progress: ScrubProgress;
  /** Settles when the scrub does; told by wait() and then forgotten. */
  readonly report: Promise<ScrubReport>;
}

/** Pools that are being scrubbed: one scrub at a time has the rate that it was given. */
const scrubbed = new WeakSet<PoolService>();

/**
 * The scrubs that one client asked for. A scrub ends with the client: nobody else would learn what it found,
 * and the cursor that the client was told last is where to go on.
 */
export class Scrubs {
  readonly #clock: Clock;
  readonly #running = new Map<number, Running>();
  #lastNumber = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws ERR_MPOOL_BUSY while the pool is being scrubbed; RangeError */
  start(service: PoolService, options: Pick<ScrubOptions, 'bytesPerSecond' | 'from'>): number {
    if (scrubbed.has(service)) {
      throw new MpoolError('ERR_MPOOL_BUSY', `pool ${service.name} is being scrubbed`);
    }
    const stopping = new AbortController();
    const { signal } = stopping;
    const progress = { doneBytes: 0, totalBytes: 0, cursor: options.from ?? '0x0' };
    const onProgress = (now: ScrubProgress): void => {
      running.progress = now;
    };
    scrubbed.add(service);
    const report = service.pool
      .scrub({ ...options, signal, onProgress })
      .finally(() => scrubbed.delete(service));
    // Whoever waits for it is told.
    report.catch(() => {});
    const running: Running = { stopping, progress, report };
    this.#lastNumber += 1;
    this.#running.set(this.#lastNumber, running);
    return this.#lastNumber;
  }

  /** How far it is, now or in a while; the last time with its report. @throws what it failed with */
  async wait(number: number): Promise<ScrubState> {
    const running = this.#get(number);
    const report = await this.#within(running.report).catch((error: unknown) => {
      this.#running.delete(number);
      throw error;
    });
    if (report === undefined) return { ...running.progress };
    this.#running.delete(number);
    return { ...running.progress, report };
  }

  /** It ends after the read under way; wait() has its report. */
  stop(number: number): void {
    this.#get(number).stopping.abort();
  }

  /** The client is gone. */
  stopAll(): void {
    for (const { stopping } of this.#running.values()) stopping.abort();
    this.#running.clear();
  }

  #within<T>(work: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(WAIT_MS, () => resolve(undefined), true);
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  #get(number: number): Running {
    const running = this.#running.get(number);
    if (running !== undefined) return running;
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `scrub ${number} of this connection`);
  }
}
