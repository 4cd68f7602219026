/**
 * What a daemon tells of itself at one moment, as read from its answers. It may be older or newer than
 * this tool: what it does not tell, or tells in another form, is undefined, never a guess.
 */
import type { ClientInfo, DaemonStatus } from '../../client.ts';

export interface Snapshot {
  /** Monotonic, of the one who asked, when the answer was there. */
  takenMs: number;
  status: DaemonStatus;
  clients: readonly ClientInfo[];
  metrics: DaemonFigures;
}

export interface DaemonFigures {
  uptimeSeconds: number | undefined;
  residentBytes: number | undefined;
  cpuSeconds: number | undefined;
  controlClientCount: number | undefined;
  latencyBoundsSeconds: readonly number[];
  operations: ReadonlyMap<string, OperationFigures>;
  pools: readonly PoolFigures[];
}

export interface OperationFigures {
  count: number;
  buckets: readonly number[];
  errorCount: number;
}

/** Counts that only rise while a pool is active. */
export interface PoolCounters {
  writtenBytes: number | undefined;
  commits: number | undefined;
  deletes: number | undefined;
  flushes: number | undefined;
  metadataFrames: number | undefined;
  metadataSteps: number | undefined;
  metadataOperations: number | undefined;
  syncSteps: number | undefined;
  syncOperations: number | undefined;
  evictedPages: number | undefined;
  refaultedObjects: number | undefined;
}

export interface PoolFigures {
  name: string;
  uuid: string;
  health: string;
  fault: string | undefined;
  /** Sentences. */
  problems: readonly string[];
  clientCount: number | undefined;
  leaseCount: number | undefined;
  mappedCount: number | undefined;
  uncommittedCount: number | undefined;
  openLogCount: number | undefined;
  objectCount: number | undefined;
  checksumErrors: number | undefined;
  counters: PoolCounters;
  classes: readonly ClassFigures[];
  /** Of clients that reported. */
  reaper: ReaperFigures | undefined;
}

export interface ClassFigures {
  mediaClass: string;
  usedBytes: number | undefined;
  usableBytes: number | undefined;
  mblockCount: number | undefined;
  mlogCount: number | undefined;
}

export interface ReaperFigures {
  clientCount: number;
  /** 0: enough memory; 1: none is free. */
  pressure: number | undefined;
  residentPages: readonly (readonly [temperature: string, pageCount: number])[];
}

type Fields = Readonly<Record<string, unknown>>;

export function daemonFigures(answer: unknown): DaemonFigures {
  const fields = fieldsOf(answer);
  const operations = new Map<string, OperationFigures>();
  for (const [name, each] of Object.entries(fieldsOf(fields['operations']))) {
    operations.set(name, operationFigures(fieldsOf(each)));
  }
  return {
    uptimeSeconds: numberOf(fields['uptimeSeconds']),
    residentBytes: numberOf(fields['residentBytes']),
    cpuSeconds: numberOf(fields['cpuSeconds']),
    controlClientCount: numberOf(fields['controlClients']),
    latencyBoundsSeconds: numbersOf(fields['latencyBoundsSeconds']),
    operations,
    pools: listOf(fields['pools']).map((pool) => poolFigures(fieldsOf(pool))),
  };
}

function operationFigures(fields: Fields): OperationFigures {
  const errors = Object.values(fieldsOf(fields['errors'])).map((count) => numberOf(count) ?? 0);
  return {
    count: numberOf(fields['count']) ?? 0,
    buckets: numbersOf(fields['buckets']),
    errorCount: errors.reduce((sum, count) => sum + count, 0),
  };
}

function poolFigures(fields: Fields): PoolFigures {
  const stats = fieldsOf(fields['stats']);
  return {
    name: textOf(fields['name']) ?? '?',
    uuid: textOf(fields['uuid']) ?? '',
    health: textOf(fields['health']) ?? (textOf(fields['fault']) ? 'faulted' : 'optimal'),
    fault: textOf(fields['fault']),
    problems: listOf(fields['problems']).flatMap(
      (problem) => textOf(fieldsOf(problem)['message']) ?? [],
    ),
    clientCount: numberOf(fields['clients']),
    leaseCount: numberOf(fields['leases']),
    mappedCount: numberOf(fields['mappedObjects']),
    uncommittedCount: numberOf(fields['uncommittedObjects']),
    openLogCount: numberOf(fields['openLogs']),
    objectCount: numberOf(stats['objectCount']),
    checksumErrors: numberOf(stats['checksumErrors']),
    counters: poolCounters(fields, stats),
    classes: Object.entries(fieldsOf(fields['classes'])).map(([mediaClass, usage]) =>
      classFigures(mediaClass, fieldsOf(usage)),
    ),
    reaper: reaperFigures(fieldsOf(fields['reaper'])),
  };
}

function poolCounters(fields: Fields, stats: Fields): PoolCounters {
  const metadata = fieldsOf(stats['metadataGroups']);
  const sync = fieldsOf(stats['syncGroups']);
  const reaper = fieldsOf(fields['reaper']);
  return {
    writtenBytes: numberOf(fields['writtenBytes']),
    commits: numberOf(stats['commits']),
    deletes: numberOf(stats['deletes']),
    flushes: numberOf(stats['flushes']),
    metadataFrames: numberOf(stats['metadataFrames']),
    metadataSteps: numberOf(metadata['steps']),
    metadataOperations: numberOf(metadata['operations']),
    syncSteps: numberOf(sync['steps']),
    syncOperations: numberOf(sync['operations']),
    evictedPages: numberOf(reaper['evictedPages']),
    refaultedObjects: numberOf(reaper['refaultedObjects']),
  };
}

function classFigures(mediaClass: string, usage: Fields): ClassFigures {
  return {
    mediaClass,
    usedBytes: numberOf(usage['usedBytes']),
    usableBytes: numberOf(usage['usableBytes']),
    mblockCount: numberOf(usage['mblockCount']),
    mlogCount: numberOf(usage['mlogCount']),
  };
}

function reaperFigures(fields: Fields): ReaperFigures | undefined {
  const clientCount = numberOf(fields['clients']);
  if (clientCount === undefined) return undefined;
  const residentPages = Object.entries(fieldsOf(fields['residentPages'])).flatMap(
    ([temperature, count]) => {
      const pageCount = numberOf(count);
      return pageCount === undefined ? [] : [[temperature, pageCount] as const];
    },
  );
  return { clientCount, pressure: numberOf(fields['pressure']), residentPages };
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Fields)
    : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function numbersOf(value: unknown): readonly number[] {
  return listOf(value).map((each) => numberOf(each) ?? 0);
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
