/**
 * What happened between two snapshots of a daemon.
 *
 * Invariants
 * 1. A rate is undefined when there is no snapshot before, or the daemon does not tell the count; it is
 *    never negative.
 * 2. Counts of what was not there before (a client, a pool, a kind of request, or another daemon in the
 *    place of the old one) began at 0 since then, so they count as they are. A pool of which any count fell
 *    was activated anew: the same holds for all its counts.
 */
import type { ClientInfo } from '../../client.ts';
import type {
  DaemonFigures,
  OperationFigures,
  PoolCounters,
  PoolFigures,
  Snapshot,
} from './figures.ts';

export interface DaemonRates {
  status: Snapshot['status'];
  metrics: DaemonFigures;
  /** Between the snapshots; of another daemon since the first, no longer than it runs. */
  intervalSeconds: number | undefined;
  /** Of one processor. */
  cpuPercent: number | undefined;
  operations: readonly OperationRates[];
  pools: readonly PoolRates[];
  clients: readonly ClientRates[];
}

export interface OperationRates {
  operation: string;
  requestsPerSecond: number | undefined;
  errorsPerSecond: number | undefined;
  /** How many of the interval took so long, by the daemon's bounds; empty when there is no interval. */
  buckets: readonly number[];
}

export type PerSecond<Counters> = { readonly [K in keyof Counters]: number | undefined };

export interface PoolRates {
  figures: PoolFigures;
  perSecond: PerSecond<PoolCounters>;
  /** Changes of metadata that one durable step carried; undefined when there was no step. */
  operationsPerStep: number | undefined;
  syncsPerStep: number | undefined;
}

export interface ClientRates {
  info: ClientInfo;
  requestsPerSecond: number | undefined;
  writtenBytesPerSecond: number | undefined;
}

export function ratesBetween(before: Snapshot | undefined, after: Snapshot): DaemonRates {
  const restarted = before !== undefined && isAnother(before, after);
  const intervalSeconds = before === undefined ? undefined : secondsOf(before, after, restarted);
  const old = restarted ? undefined : before;
  const per = (was: number | undefined, is: number | undefined): number | undefined =>
    intervalSeconds === undefined || is === undefined
      ? undefined
      : Math.max(0, is - (was ?? 0)) / intervalSeconds;
  const cpu = per(old?.metrics.cpuSeconds, after.metrics.cpuSeconds);
  const pools = new Map(old?.metrics.pools.map((pool) => [keyOf(pool), pool]));
  const clients = new Map(old?.clients.map((client) => [client.session, client]));
  return {
    status: after.status,
    metrics: after.metrics,
    intervalSeconds,
    cpuPercent: cpu === undefined ? undefined : cpu * 100,
    operations: [...after.metrics.operations].map(([operation, is]) =>
      operationRates(operation, old?.metrics.operations.get(operation), is, per),
    ),
    pools: after.metrics.pools.map((pool) => poolRates(pools.get(keyOf(pool)), pool, per)),
    clients: after.clients.map((info) => {
      const was = clients.get(info.session);
      return {
        info,
        requestsPerSecond: per(was?.requestCount, info.requestCount),
        writtenBytesPerSecond: per(was?.writtenBytes, info.writtenBytes),
      };
    }),
  };
}

/** Its name may change; an older daemon may tell no UUID. */
function keyOf({ uuid, name }: PoolFigures): string {
  return uuid === '' ? name : uuid;
}

type Per = (was: number | undefined, is: number | undefined) => number | undefined;

function operationRates(
  operation: string,
  was: OperationFigures | undefined,
  is: OperationFigures,
  per: Per,
): OperationRates {
  const requestsPerSecond = per(was?.count, is.count);
  const buckets =
    requestsPerSecond === undefined
      ? []
      : is.buckets.map((count, i) => Math.max(0, count - (was?.buckets[i] ?? 0)));
  const errorsPerSecond = per(was?.errorCount, is.errorCount);
  return { operation, requestsPerSecond, errorsPerSecond, buckets };
}

function poolRates(before: PoolFigures | undefined, figures: PoolFigures, per: Per): PoolRates {
  const is = figures.counters;
  const was = before !== undefined && !anyFell(before.counters, is) ? before.counters : undefined;
  const perSecond = Object.fromEntries(
    (Object.keys(is) as (keyof PoolCounters)[]).map((key) => [key, per(was?.[key], is[key])]),
  ) as PerSecond<PoolCounters>;
  return {
    figures,
    perSecond,
    operationsPerStep: ratio(perSecond.metadataOperations, perSecond.metadataSteps),
    syncsPerStep: ratio(perSecond.syncOperations, perSecond.syncSteps),
  };
}

/** What reapers report is a sum over clients that come and go, so it may fall in the same pool. */
const OF_CLIENTS: ReadonlySet<string> = new Set(['evictedPages', 'refaultedObjects']);

function anyFell(was: PoolCounters, is: PoolCounters): boolean {
  return (Object.keys(is) as (keyof PoolCounters)[]).some(
    (key) => !OF_CLIENTS.has(key) && (is[key] ?? 0) < (was[key] ?? 0),
  );
}

function ratio(part: number | undefined, whole: number | undefined): number | undefined {
  return part === undefined || whole === undefined || whole === 0 ? undefined : part / whole;
}

function isAnother(before: Snapshot, after: Snapshot): boolean {
  return (
    before.status.pid !== after.status.pid || before.status.startedMs !== after.status.startedMs
  );
}

function secondsOf(before: Snapshot, after: Snapshot, restarted: boolean): number | undefined {
  const elapsed = (after.takenMs - before.takenMs) / 1000;
  const uptime = after.metrics.uptimeSeconds;
  const seconds = restarted && uptime !== undefined ? Math.min(elapsed, uptime) : elapsed;
  return seconds > 0 ? seconds : undefined;
}

/**
 * Upper bound of the bucket where the quantile of these requests lies, in seconds; Infinity beyond the
 * last bound, undefined when there are none.
 */
export function quantile(
  buckets: readonly number[],
  boundsSeconds: readonly number[],
  q: number,
): number | undefined {
  const count = buckets.reduce((sum, each) => sum + each, 0);
  if (count === 0) return undefined;
  let rest = q * count;
  for (const [i, each] of buckets.entries()) {
    rest -= each;
    if (rest <= 0) return boundsSeconds[i] ?? Infinity;
  }
  return Infinity;
}

/** Of several kinds of requests together: undefined when nothing is known of any. */
export function total(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : known.reduce((sum, value) => sum + value, 0);
}
