import type { Clock } from '../base/clock.ts';

/**
 * What is not as it should be with an active pool, for people and monitors.
 *
 *   failed          a write or flush of the pool's own metadata failed: changes are refused from then on
 *   device-missing  the staging device is not there
 *   lost-writes     a device lost what it had acknowledged
 *   damaged         something that was read was not what had been written
 *   object-failed   a write or flush failed, and with it one log or mblock
 *   slow-device     a device has not answered for longer than it may
 *   engine          the system took away the engine of a device that was asked for
 */
export type ProblemKind =
  | 'failed'
  | 'device-missing'
  | 'lost-writes'
  | 'damaged'
  | 'object-failed'
  | 'slow-device'
  | 'engine';

export interface PoolProblem {
  readonly kind: ProblemKind;
  /** A sentence: what, where (object, device, byte), and what to do. */
  readonly message: string;
  /** The object that it is about, printed. */
  readonly object?: string | undefined;
  /** When it was first noticed, milliseconds since 1970. */
  readonly sinceMs: number;
  /** How often. */
  readonly count: number;
}

/** The problems of one active pool: one of each kind and object, the first of them told, all counted. */
export class Health {
  readonly #clock: Clock;
  readonly #problems = new Map<string, PoolProblem>();
  /** Of problems beyond the most that are kept, which are counted and not told. */
  #untold = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(kind: ProblemKind, message: string, object?: string): void {
    const key = `${kind} ${object ?? ''}`;
    const known = this.#problems.get(key);
    if (known !== undefined) {
      this.#problems.set(key, { ...known, count: known.count + 1 });
    } else if (this.#problems.size >= PROBLEMS_MAX) {
      this.#untold += 1;
    } else {
      const sinceMs = this.#clock.wallMs();
      this.#problems.set(key, { kind, message, object, sinceMs, count: 1 });
    }
  }

  /** It is over: a device answers again, the object is gone. */
  clear(kind: ProblemKind, object?: string): void {
    this.#problems.delete(`${kind} ${object ?? ''}`);
  }

  get problems(): PoolProblem[] {
    return [...this.#problems.values()];
  }
  get untoldCount(): number {
    return this.#untold;
  }
}

/** A rotten device must not fill memory with what is said of it. */
const PROBLEMS_MAX = 1000;
