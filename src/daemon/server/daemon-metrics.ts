import type {
  PoolHealth,
  PoolProblem,
  PoolStats,
  ProblemKind,
  ReaperStats,
  Usage,
} from '../../pool/api.ts';
import { classUsage } from '../../pool/usage.ts';
import { LATENCY_BOUNDS_S } from './operation-metrics.ts';
import type { PoolService } from './pool-service.ts';
import type { ServerContext } from './server-context.ts';

/**
 * Everything that is measured, as of now; counts are since the daemon began, those of a pool since
 * it is active.
 */
export interface DaemonMetrics {
  version: string;
  uptimeSeconds: number;
  residentBytes: number;
  cpuSeconds: number;
  controlClients: number;
  latencyBoundsSeconds: readonly number[];
  operations: Record<string, OperationFigures>;
  pools: PoolMetrics[];
}

interface OperationFigures {
  count: number;
  /** Begun and not answered. */
  underWay: number;
  seconds: number;
  /** At most: the bounds of the buckets where they lie; null beyond the last. */
  p50Seconds: number | null;
  p99Seconds: number | null;
  /** How many took longer than the bound before, and not longer than this one. */
  buckets: number[];
  errors: Record<string, number>;
}

export interface PoolMetrics {
  name: string;
  uuid: string;
  health: PoolHealth;
  /** Why it is faulted. */
  fault: string | undefined;
  /** What is wrong with it, the worst first: at most PROBLEMS_TOLD. */
  problems: PoolProblem[];
  /** How many of each kind are kept: at most 100. */
  problemsNow: Record<ProblemKind, number>;
  /** How often each kind of problem was noticed, those that are over included. */
  problemCounts: Record<ProblemKind, number>;
  clients: number;
  leases: number;
  mappedObjects: number;
  uncommittedObjects: number;
  openLogs: number;
  writtenBytes: number;
  stats: PoolStats;
  classes: Record<string, Usage>;
  /** Of the clients that reported, together. */
  reaper: ReaperFigures;
}

export interface ReaperFigures {
  clients: number;
  /** Of the client that has the least memory left. */
  pressure: number;
  residentPages: ReaperStats['residentPages'];
  evictedObjects: number;
  evictedPages: number;
  refaultedObjects: number;
}

export function daemonMetrics(
  context: ServerContext,
  services: readonly PoolService[],
  controlClients: number,
): DaemonMetrics {
  const { user, system } = process.cpuUsage();
  return {
    version: context.version,
    uptimeSeconds: (context.clock.monotonicMs() - context.startedMonotonicMs) / 1000,
    residentBytes: residentBytes(),
    cpuSeconds: (user + system) / 1e6,
    controlClients,
    latencyBoundsSeconds: LATENCY_BOUNDS_S,
    operations: operationFigures(context),
    pools: services.map(poolMetrics),
  };
}

/** Looking takes a descriptor. While there is none: the most it ever was. */
function residentBytes(): number {
  try {
    return process.memoryUsage.rss();
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

function operationFigures({ requests }: ServerContext): DaemonMetrics['operations'] {
  const figures: DaemonMetrics['operations'] = {};
  for (const [operation, metrics] of requests.operations) {
    figures[operation] = {
      count: metrics.count,
      underWay: metrics.underWay,
      seconds: metrics.seconds,
      p50Seconds: orNull(metrics.quantile(0.5)),
      p99Seconds: orNull(metrics.quantile(0.99)),
      buckets: [...metrics.buckets],
      errors: Object.fromEntries(metrics.errors),
    };
  }
  return figures;
}

/** JSON has no infinity. */
function orNull(seconds: number): number | null {
  return Number.isFinite(seconds) ? seconds : null;
}

function poolMetrics(service: PoolService): PoolMetrics {
  const { store, sessions, pool, leases } = service;
  const sum = (of: (session: (typeof sessions)[number]) => number): number =>
    sessions.reduce((total, session) => total + of(session), 0);
  const classes: Record<string, Usage> = {};
  for (const media of store.allMedia) classes[media.mediaClass] = classUsage(store, media);
  return {
    name: service.name,
    uuid: service.uuid,
    problems: store.problems.slice(0, PROBLEMS_TOLD),
    health: store.health.state,
    fault: store.fault,
    problemsNow: store.health.present,
    problemCounts: store.health.counts,
    clients: sessions.length,
    leases: leases.count,
    mappedObjects: sum((session) => session.leases.mappedCount),
    uncommittedObjects: sum((session) => session.objects.count),
    openLogs: sum((session) => session.logs.count),
    writtenBytes: service.writtenBytes,
    stats: pool.stats(),
    classes,
    reaper: reaperFigures(sessions.flatMap(({ reaperStats }) => reaperStats ?? [])),
  };
}

/** For a screen; info() tells all that are kept. */
export const PROBLEMS_TOLD = 20;
/** About, with a path. */
export const PROBLEM_BYTES = 512;

function reaperFigures(reports: readonly ReaperStats[]): ReaperFigures {
  const sum = (of: (stats: ReaperStats) => number): number =>
    reports.reduce((total, stats) => total + of(stats), 0);
  return {
    clients: reports.length,
    pressure: reports.reduce((most, { pressure }) => Math.max(most, pressure), 0),
    residentPages: {
      cold: sum(({ residentPages }) => residentPages.cold),
      warm: sum(({ residentPages }) => residentPages.warm),
      hot: sum(({ residentPages }) => residentPages.hot),
      pinned: sum(({ residentPages }) => residentPages.pinned),
      unmapped: sum(({ residentPages }) => residentPages.unmapped),
    },
    evictedObjects: sum(({ evictedObjects }) => evictedObjects),
    evictedPages: sum(({ evictedPages }) => evictedPages),
    refaultedObjects: sum(({ refaultedObjects }) => refaultedObjects),
  };
}
