/** What --json prints; docs/cli.schema.json has the same in its words. What is not known is null. */
import type { DaemonView } from './daemon-lines.ts';
import type { ClassFigures, PoolFigures } from './figures.ts';
import { healthOf } from './pool-lines.ts';
import { quantile, type ClientRates, type DaemonRates, type PoolRates } from './rates.ts';

export function topDocument(views: readonly DaemonView[]): object {
  return {
    daemons: views.flatMap(({ rundir, rates }) =>
      rates === undefined ? [] : [daemonJson(rundir, rates)],
    ),
  };
}

function daemonJson(rundir: string, rates: DaemonRates): object {
  const { status, metrics, intervalSeconds, cpuPercent, operations } = rates;
  const bounds = metrics.latencyBoundsSeconds;
  return {
    rundir,
    version: status.version,
    pid: status.pid,
    state: status.state,
    mayManage: status.mayManage,
    intervalSeconds: orNull(intervalSeconds),
    uptimeSeconds: orNull(metrics.uptimeSeconds),
    cpuPercent: orNull(cpuPercent),
    residentBytes: orNull(metrics.residentBytes),
    controlClientCount: orNull(metrics.controlClientCount),
    operations: operations.map(({ operation, requestsPerSecond, errorsPerSecond, buckets }) => ({
      operation,
      requestsPerSecond: orNull(requestsPerSecond),
      errorsPerSecond: orNull(errorsPerSecond),
      p50Seconds: orNull(quantile(buckets, bounds, 0.5)),
      p99Seconds: orNull(quantile(buckets, bounds, 0.99)),
    })),
    pools: rates.pools.map(poolJson),
    clients: rates.clients.map(clientJson),
  };
}

function poolJson({ figures, perSecond, ...rest }: PoolRates): object {
  const { name, uuid, fault, problems } = figures;
  return {
    name,
    uuid,
    health: healthOf(figures),
    fault,
    problems,
    clientCount: orNull(figures.clientCount),
    leaseCount: orNull(figures.leaseCount),
    mappedCount: orNull(figures.mappedCount),
    uncommittedCount: orNull(figures.uncommittedCount),
    openLogCount: orNull(figures.openLogCount),
    objectCount: orNull(figures.objectCount),
    checksumErrors: orNull(figures.checksumErrors),
    writtenBytesPerSecond: orNull(perSecond.writtenBytes),
    commitsPerSecond: orNull(perSecond.commits),
    deletesPerSecond: orNull(perSecond.deletes),
    flushesPerSecond: orNull(perSecond.flushes),
    metadataFramesPerSecond: orNull(perSecond.metadataFrames),
    metadataOperationsPerSecond: orNull(perSecond.metadataOperations),
    operationsPerStep: orNull(rest.operationsPerStep),
    syncsPerSecond: orNull(perSecond.syncOperations),
    syncsPerStep: orNull(rest.syncsPerStep),
    classes: figures.classes.map(classJson),
    reaper: reaperJson(figures, perSecond),
  };
}

function classJson(figures: ClassFigures): object {
  return {
    mediaClass: figures.mediaClass,
    usedBytes: orNull(figures.usedBytes),
    usableBytes: orNull(figures.usableBytes),
    mblockCount: orNull(figures.mblockCount),
    mlogCount: orNull(figures.mlogCount),
  };
}

function reaperJson({ reaper }: PoolFigures, perSecond: PoolRates['perSecond']): object | null {
  if (reaper === undefined) return null;
  return {
    clientCount: reaper.clientCount,
    pressure: orNull(reaper.pressure),
    residentPages: Object.fromEntries(reaper.residentPages),
    evictedPagesPerSecond: orNull(perSecond.evictedPages),
    refaultedObjectsPerSecond: orNull(perSecond.refaultedObjects),
  };
}

function clientJson({ info, requestsPerSecond, writtenBytesPerSecond }: ClientRates): object {
  return {
    ...info,
    requestsPerSecond: orNull(requestsPerSecond),
    writtenBytesPerSecond: orNull(writtenBytesPerSecond),
  };
}

/** JSON has neither undefined nor infinity. */
function orNull(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : value;
}
