import type { Clock } from '../../base/clock.ts';
import type { Environment } from '../../pool/environment.ts';
import type { ReaperChanges } from '../protocol.ts';
import type { Rundir } from '../rundir.ts';
import type { Journal } from './journal.ts';
import type { DaemonLimits } from './limits.ts';
import type { RequestMetrics } from './operation-metrics.ts';
import type { UserAccounts } from './user-accounts.ts';

/** What all parts of one daemon share. */
export interface ServerContext {
  readonly environment: Environment;
  readonly clock: Clock;
  readonly rundir: Rundir;
  readonly limits: DaemonLimits;
  readonly users: UserAccounts;
  readonly journal: Journal;
  readonly requests: RequestMetrics;
  readonly version: string;
  readonly startedMs: number;
  /** The same, to tell how long ago: the time of day may jump. */
  readonly startedMonotonicMs: number;
  /** What the reapers of all clients are told. */
  reaper: ReaperChanges;
  nextSessionId(): number;
}
