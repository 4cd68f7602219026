/**
 * The metrics as text in the OpenMetrics format 1.0, which Prometheus scrapes.
 * Source: https://github.com/prometheus/OpenMetrics, specification 1.0.
 */
import type { PoolHealth, Usage } from '../../pool/api.ts';
import { PROBLEM_KINDS } from '../../pool/health.ts';
import type { DaemonMetrics, PoolMetrics } from './daemon-metrics.ts';

export const OPEN_METRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

type Labels = Readonly<Record<string, string>>;

/** Families one after the other, each with its samples together, as the format wants it. */
class Exposition {
  readonly #lines: string[] = [];

  gauge(name: string, help: string, samples: readonly [Labels, number][]): void {
    this.#family(name, 'gauge', help);
    for (const [labels, value] of samples) this.#sample(name, labels, value);
  }

  counter(name: string, help: string, samples: readonly [Labels, number][]): void {
    this.#family(name, 'counter', help);
    for (const [labels, value] of samples) this.#sample(`${name}_total`, labels, value);
  }

  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    samples: readonly [Labels, { buckets: readonly number[]; sum: number; count: number }][],
  ): void {
    this.#family(name, 'histogram', help);
    for (const [labels, { buckets, sum, count }] of samples) {
      let below = 0;
      for (const [i, inBucket] of buckets.entries()) {
        below += inBucket;
        const le = bounds[i] === undefined ? '+Inf' : String(bounds[i]);
        this.#sample(`${name}_bucket`, { ...labels, le }, below);
      }
      this.#sample(`${name}_sum`, labels, sum);
      this.#sample(`${name}_count`, labels, count);
    }
  }

  end(): string {
    return `${this.#lines.join('\n')}\n# EOF\n`;
  }

  #family(name: string, type: string, help: string): void {
    this.#lines.push(`# TYPE ${name} ${type}`);
    const unit = /_(bytes|seconds)$/.exec(name)?.[1];
    if (unit !== undefined) this.#lines.push(`# UNIT ${name} ${unit}`);
    this.#lines.push(`# HELP ${name} ${help}`);
  }

  #sample(name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
    this.#lines.push(`${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`);
  }
}

export function openMetricsText(metrics: DaemonMetrics): string {
  const text = new Exposition();
  text.gauge('mpoold_info', 'Version of the daemon.', [[{ version: metrics.version }, 1]]);
  text.gauge('mpoold_uptime_seconds', 'Since the daemon began.', [[{}, metrics.uptimeSeconds]]);
  text.gauge('mpoold_resident_bytes', 'Memory of the process.', [[{}, metrics.residentBytes]]);
  text.counter('mpoold_cpu_seconds', 'Processor time of it.', [[{}, metrics.cpuSeconds]]);
  text.gauge('mpoold_control_clients', 'Connections to ctl.', [[{}, metrics.controlClients]]);
  const operations = Object.entries(metrics.operations);
  text.histogram(
    'mpoold_request_duration_seconds',
    'From a request to its answer.',
    metrics.latencyBoundsSeconds,
    operations.map(([operation, { buckets, seconds: sum, count }]) => [
      { operation },
      { buckets, sum, count },
    ]),
  );
  text.gauge(
    'mpoold_requests_under_way',
    'Begun and not answered.',
    operations.map(([operation, { underWay }]) => [{ operation }, underWay]),
  );
  text.counter(
    'mpoold_request_errors',
    'Requests refused or failed, by the code of the error.',
    operations.flatMap(([operation, { errors }]) =>
      Object.entries(errors).map(([code, count]): [Labels, number] => [{ operation, code }, count]),
    ),
  );
  for (const family of POOL_FAMILIES) {
    const samples = metrics.pools.map((pool): [Labels, number] => [
      { pool: pool.name },
      family.value(pool),
    ]);
    text[family.type](`mpool_${family.name}`, family.help, samples);
  }
  text.gauge(
    'mpool_health',
    '1 for the state that the pool is in.',
    metrics.pools.flatMap(({ name: pool, health }) =>
      HEALTH_STATES.map((state): [Labels, number] => [{ pool, state }, state === health ? 1 : 0]),
    ),
  );
  text.gauge(
    'mpool_problems',
    'What is wrong with the pool now, by kind: at most 100 of each.',
    metrics.pools.flatMap(({ name: pool, problemsNow }) =>
      PROBLEM_KINDS.map((kind): [Labels, number] => [{ pool, kind }, problemsNow[kind]]),
    ),
  );
  text.counter(
    'mpool_problems_noticed',
    'How often something was found wrong, by kind.',
    metrics.pools.flatMap(({ name: pool, problemCounts }) =>
      PROBLEM_KINDS.map((kind): [Labels, number] => [{ pool, kind }, problemCounts[kind]]),
    ),
  );
  for (const { name, key, help } of GROUP_FAMILIES) {
    text.histogram(
      `mpool_${name}`,
      help,
      GROUP_BOUNDS,
      metrics.pools.map(({ name: pool, stats }) => {
        const { buckets, operations: sum, steps: count } = stats[key];
        return [{ pool }, { buckets, sum, count }];
      }),
    );
  }
  for (const { name, key, help } of CLASS_FAMILIES) {
    const samples = metrics.pools.flatMap((pool) =>
      Object.entries(pool.classes).map(([mediaClass, usage]): [Labels, number] => [
        { pool: pool.name, class: mediaClass },
        usage[key],
      ]),
    );
    text.gauge(`mpool_${name}`, help, samples);
  }
  text.gauge(
    'mpool_resident_pages',
    'Pages of mapped objects in memory, as clients reported last.',
    metrics.pools.flatMap((pool) =>
      Object.entries(pool.reaper.residentPages).map(([temperature, count]): [Labels, number] => [
        { pool: pool.name, temperature },
        count,
      ]),
    ),
  );
  return text.end();
}

interface PoolFamily {
  name: string;
  type: 'gauge' | 'counter';
  help: string;
  value: (pool: PoolMetrics) => number;
}

const POOL_FAMILIES: readonly PoolFamily[] = [
  gauge('healthy', '1 while nothing is wrong.', ({ health }) => (health === 'optimal' ? 1 : 0)),
  gauge('clients', 'Sessions.', ({ clients }) => clients),
  gauge('leases', 'Objects that clients may be reading, for each client.', (p) => p.leases),
  gauge('mapped_objects', 'Of these, those in maps.', (p) => p.mappedObjects),
  gauge('uncommitted_objects', 'Held for clients.', (p) => p.uncommittedObjects),
  gauge('open_logs', 'Open logs, for each client.', ({ openLogs }) => openLogs),
  counter('written_bytes', 'Written and appended by clients.', (p) => p.writtenBytes),
  counter('commits', 'Objects committed.', ({ stats }) => stats.commits),
  counter('deletes', 'Objects deleted.', ({ stats }) => stats.deletes),
  counter('flushes', 'Flushes of the devices: commits share them.', ({ stats }) => stats.flushes),
  counter('metadata_frames', 'Writes of metadata: so do they.', (p) => p.stats.metadataFrames),
  counter('compactions', 'Of the metadata logs.', ({ stats }) => stats.compactions),
  counter('checksum_errors', 'Found by the daemon.', ({ stats }) => stats.checksumErrors),
  gauge('object_table_bytes', 'Memory of the table.', ({ stats }) => stats.objectTableBytes),
  gauge('memory_pressure', '0 to 1, of the client with the least left.', (p) => p.reaper.pressure),
  gauge('evicted_objects', 'By the reapers of clients.', ({ reaper }) => reaper.evictedObjects),
  gauge('refaulted_objects', 'Used again soon after.', ({ reaper }) => reaper.refaultedObjects),
];

const HEALTH_STATES: readonly PoolHealth[] = ['optimal', 'degraded', 'faulted'];

/** Of GroupCounts: 1, 2, 4 … 1,024 operations. */
const GROUP_BOUNDS = Array.from({ length: 11 }, (_, i) => 2 ** i);

const GROUP_FAMILIES: readonly {
  name: string;
  key: 'metadataGroups' | 'syncGroups';
  help: string;
}[] = [
  {
    name: 'metadata_group_operations',
    key: 'metadataGroups',
    help: 'Commits and deletions that one durable step carried.',
  },
  {
    name: 'sync_group_operations',
    key: 'syncGroups',
    help: 'Syncs of a log that one durable step carried.',
  },
];

const CLASS_FAMILIES: readonly { name: string; key: keyof Usage; help: string }[] = [
  { name: 'total_bytes', key: 'totalBytes', help: 'Space for objects.' },
  { name: 'used_bytes', key: 'usedBytes', help: 'Of it, taken.' },
  { name: 'free_usable_bytes', key: 'freeUsableBytes', help: 'Free for anyone.' },
  { name: 'free_spare_bytes', key: 'freeSpareBytes', help: 'Free for allocations with spare.' },
  { name: 'mblocks', key: 'mblockCount', help: 'Committed mblocks.' },
  { name: 'mblock_allocated_bytes', key: 'mblockAllocatedBytes', help: 'Space of mblocks.' },
  { name: 'mblock_written_bytes', key: 'mblockWrittenBytes', help: 'Content of mblocks.' },
  { name: 'mlogs', key: 'mlogCount', help: 'Committed logs.' },
  { name: 'mlog_allocated_bytes', key: 'mlogAllocatedBytes', help: 'Space of logs.' },
  { name: 'metadata_bytes', key: 'metadataBytes', help: 'Space of metadata logs.' },
];

function gauge(name: string, help: string, value: PoolFamily['value']): PoolFamily {
  return { name, type: 'gauge', help, value };
}

function counter(name: string, help: string, value: PoolFamily['value']): PoolFamily {
  return { name, type: 'counter', help, value };
}

function escaped(label: string): string {
  return label.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
