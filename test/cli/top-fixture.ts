/** Snapshots of daemons that never were, for tests of `mpool top`. */
import type { ClientInfo, DaemonStatus } from '../../src/client.ts';
import { daemonFigures, type Snapshot } from '../../src/cli/top/figures.ts';

export const GIB = 2 ** 30;
export const MIB = 2 ** 20;
/** 1 ms, 10 ms, 100 ms. */
export const BOUNDS = [0.001, 0.01, 0.1];

export function fakeStatus(changes: Partial<DaemonStatus> = {}): DaemonStatus {
  return {
    version: '0.1.0',
    pid: 71,
    startedMs: 1000,
    rundir: '/run/mpool',
    poolCount: 1,
    clientCount: 1,
    state: 'running',
    mayManage: true,
    ...changes,
  };
}

export function fakeClient(changes: Partial<ClientInfo> = {}): ClientInfo {
  return {
    pool: 'mp1',
    session: 1,
    pid: 4711,
    uid: 0,
    gid: 0,
    client: 'tables',
    access: 'write',
    exclusive: false,
    connectedMs: 5000,
    requestsInFlight: 3,
    requestCount: 100,
    leaseCount: 12,
    mappedCount: 4,
    uncommittedCount: 2,
    openLogCount: 1,
    writtenBytes: 10 * MIB,
    ...changes,
  };
}

/** As the daemon tells it, before anybody reads it. */
export function fakePool(changes: Record<string, unknown> = {}, stats: object = {}): object {
  return {
    name: 'mp1',
    uuid: 'u1',
    clients: 2,
    leases: 12,
    mappedObjects: 4,
    uncommittedObjects: 2,
    openLogs: 1,
    writtenBytes: 100 * MIB,
    stats: {
      commits: 1000,
      deletes: 10,
      flushes: 500,
      metadataFrames: 200,
      metadataGroups: { steps: 100, operations: 1010, buckets: [] },
      syncGroups: { steps: 10, operations: 40, buckets: [] },
      objectCount: 1234,
      checksumErrors: 0,
      ...stats,
    },
    classes: {
      capacity: {
        usedBytes: 25 * GIB,
        usableBytes: 100 * GIB,
        mblockCount: 1200,
        mlogCount: 34,
      },
    },
    reaper: { clients: 0 },
    ...changes,
  };
}

export function fakeMetrics(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    version: '0.1.0',
    uptimeSeconds: 3600,
    residentBytes: 64 * MIB,
    cpuSeconds: 100,
    controlClients: 1,
    latencyBoundsSeconds: BOUNDS,
    operations: {
      'mblock.write': { count: 1000, buckets: [900, 100, 0, 0], errors: {} },
      'mblock.commit': { count: 50, buckets: [0, 50, 0, 0], errors: { ERR_MPOOL_FULL: 2 } },
      metrics: { count: 10, buckets: [10, 0, 0, 0], errors: {} },
    },
    pools: [fakePool()],
    ...changes,
  };
}

export function snapshot(
  takenMs: number,
  metrics: Record<string, unknown> = fakeMetrics(),
  clients: readonly ClientInfo[] = [fakeClient()],
  status: Partial<DaemonStatus> = {},
): Snapshot {
  return { takenMs, status: fakeStatus(status), clients, metrics: daemonFigures(metrics) };
}

/** Two seconds later, with something of everything. */
export function laterMetrics(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return fakeMetrics({
    uptimeSeconds: 3602,
    cpuSeconds: 101,
    operations: {
      'mblock.write': { count: 3400, buckets: [3200, 190, 10, 0], errors: {} },
      'mblock.commit': { count: 150, buckets: [0, 148, 0, 2], errors: { ERR_MPOOL_FULL: 3 } },
      'log.append': { count: 8, buckets: [8, 0, 0, 0], errors: {} },
      metrics: { count: 12, buckets: [12, 0, 0, 0], errors: {} },
    },
    pools: [
      fakePool(
        { writtenBytes: 124 * MIB },
        {
          commits: 1600,
          deletes: 20,
          flushes: 540,
          metadataFrames: 260,
          metadataGroups: { steps: 150, operations: 1610, buckets: [] },
          syncGroups: { steps: 30, operations: 90, buckets: [] },
        },
      ),
    ],
    ...changes,
  });
}
