import type { Clock } from '../../base/clock.ts';
import { isMpoolError } from '../../base/errors.ts';
import type { ClientInfo, Daemon, DaemonStatus } from '../../client.ts';
import { describeFailure } from '../failure.ts';
import type { DaemonView } from './daemon-lines.ts';
import { daemonFigures, type Snapshot } from './figures.ts';
import { ratesBetween } from './rates.ts';

/** What is asked of a daemon: the client's Daemon, or a test's. */
export interface Asked {
  readonly rundir: string;
  status(): Promise<DaemonStatus>;
  clients(): Promise<ClientInfo[]>;
  metrics: Daemon['metrics'];
}

/** A busy machine may take so long over an answer without anything being wrong. */
const PATIENCE_MS = 2000;

/**
 * One daemon as it is asked again and again.
 *
 *   asked ──(answer)──► answered ──ask()──► asked
 *     │                                      │
 *     └──(error)──► failed ──ask()───────────┘   what failed is told until there is an answer again
 *
 * Invariant: at most one question is under way, so a daemon that hangs is not asked ever more.
 */
export class Watch {
  readonly rundir: string;
  readonly #daemon: Asked;
  readonly #clock: Clock;
  #before: Snapshot | undefined;
  #after: Snapshot | undefined;
  #asking: Promise<void> | undefined;
  /** When the question under way was asked. */
  #askedMs = 0;
  #failure: unknown;
  #failedMs: number | undefined;

  constructor(daemon: Asked, clock: Clock) {
    this.rundir = daemon.rundir;
    this.#daemon = daemon;
    this.#clock = clock;
  }

  /** Why it last gave no answer; undefined when it did. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Resolves when there is an answer, or none can be had. Never rejects. */
  ask(): Promise<void> {
    if (this.#asking === undefined) {
      this.#askedMs = this.#clock.monotonicMs();
      this.#asking = this.#ask().finally(() => {
        this.#asking = undefined;
      });
    }
    return this.#asking;
  }

  view(): DaemonView {
    const { rundir } = this;
    const problem = this.#problem();
    if (problem !== undefined) return { rundir, problem, rates: undefined };
    const rates = this.#after && ratesBetween(this.#before, this.#after);
    return { rundir, problem: undefined, rates };
  }

  async #ask(): Promise<void> {
    try {
      const [status, clients, answer] = await Promise.all([
        this.#daemon.status(),
        this.#daemon.clients(),
        this.#daemon.metrics(),
      ]);
      const metrics = daemonFigures(answer);
      this.#before = this.#after;
      this.#after = { takenMs: this.#clock.monotonicMs(), status, clients, metrics };
      this.#failure = undefined;
      this.#failedMs = undefined;
    } catch (error) {
      this.#failure = error;
      this.#failedMs ??= this.#askedMs;
    }
  }

  #problem(): string | undefined {
    const waitingMs =
      this.#clock.monotonicMs() - (this.#failedMs ?? (this.#asking ? this.#askedMs : Infinity));
    const isSilent = waitingMs >= PATIENCE_MS;
    if (this.#failure === undefined && !isSilent) return undefined;
    const seconds = Math.floor(Math.max(0, waitingMs) / 1000);
    // A request waits for a daemon that is being started again, so that one is gone is known late.
    if (this.#failure === undefined) {
      return `no answer for ${seconds} s: daemon gone or held up, waiting`;
    }
    if (isGone(this.#failure)) return `daemon gone for ${seconds} s, waiting`;
    return describeFailure(this.#failure, '').text ?? 'no answer';
  }
}

function isGone(error: unknown): boolean {
  return (
    isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST') || isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')
  );
}
