import type { Clock } from '../base/clock.ts';

/**
 * What is not as it should be with an active pool, for people and monitors.
 *
 *   failed          a write or flush of the pool's own metadata failed: changes are refused until it is
 *                   reopened
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
  /** What, and where: object, device, byte. */
  readonly message: string;
  /** What it is about: an object, printed, or the path of a device. */
  readonly object?: string | undefined;
  /** When it was first noticed, milliseconds since 1970. */
  readonly sinceMs: number;
  /** How often. */
  readonly count: number;
}

/** 'faulted': it failed, or a device is missing; 'degraded': anything else is not as it should be. */
export type PoolHealth = 'optimal' | 'degraded' | 'faulted';

export const PROBLEM_KINDS: readonly ProblemKind[] = [
  'failed',
  'device-missing',
  'lost-writes',
  'damaged',
  'object-failed',
  'slow-device',
  'engine',
];
/** With one of these a pool does not do what it is for. */
const FAULTS: readonly ProblemKind[] = ['failed', 'device-missing'];

/**
 * The problems of one active pool: one of each kind and object, the first of them told, all counted.
 *
 * Invariant: of each kind at most PROBLEMS_MAX are kept, so that many of one never hide another.
 */
export class Health {
  readonly #clock: Clock;
  readonly #problems = new Map<ProblemKind, Map<string, PoolProblem>>();
  readonly #counts = new Map<ProblemKind, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(kind: ProblemKind, message: string, object?: string): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    let ofKind = this.#problems.get(kind);
    if (ofKind === undefined) this.#problems.set(kind, (ofKind = new Map()));
    const key = object ?? '';
    const known = ofKind.get(key);
    if (known !== undefined) {
      ofKind.set(key, { ...known, count: known.count + 1 });
    } else if (ofKind.size < PROBLEMS_MAX) {
      const about = object === undefined ? {} : { object };
      ofKind.set(key, { kind, message, ...about, sinceMs: this.#clock.wallMs(), count: 1 });
    }
  }

  /** It is over: a device answers again, a log could be opened. */
  clear(kind: ProblemKind, object?: string): void {
    this.#problems.get(kind)?.delete(object ?? '');
  }

  /** The object is gone, and with it all that was wrong with it. @param object printed, where needed */
  forget(object: () => string): void {
    if (this.state === 'optimal') return;
    const key = object();
    for (const ofKind of this.#problems.values()) ofKind.delete(key);
  }

  has(kind: ProblemKind, object?: string): boolean {
    return this.#problems.get(kind)?.has(object ?? '') === true;
  }

  get state(): PoolHealth {
    let state: PoolHealth = 'optimal';
    for (const [kind, { size }] of this.#problems) {
      if (size === 0) continue;
      if (FAULTS.includes(kind)) return 'faulted';
      state = 'degraded';
    }
    return state;
  }

  /** Why it is faulted; undefined when it is not. */
  get fault(): string | undefined {
    for (const kind of FAULTS) {
      for (const { message } of this.#problems.get(kind)?.values() ?? []) return message;
    }
    return undefined;
  }

  /** The worst first. */
  get problems(): PoolProblem[] {
    return PROBLEM_KINDS.flatMap((kind) => [...(this.#problems.get(kind)?.values() ?? [])]);
  }

  /** How often each was noted, those that are over included. */
  get counts(): Record<ProblemKind, number> {
    return byKind((kind) => this.#counts.get(kind) ?? 0);
  }

  /** How many of each there are now. */
  get present(): Record<ProblemKind, number> {
    return byKind((kind) => this.#problems.get(kind)?.size ?? 0);
  }
}

function byKind(count: (kind: ProblemKind) => number): Record<ProblemKind, number> {
  const counts = PROBLEM_KINDS.map((kind) => [kind, count(kind)]);
  return Object.fromEntries(counts) as Record<ProblemKind, number>;
}

/** A rotten device must not fill memory, nor a message, with what is said of it. */
const PROBLEMS_MAX = 100;
