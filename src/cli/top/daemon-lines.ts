/** What is drawn of one daemon: itself, and the requests that it answers. */
import { fitLine, lineOf, part, span, type Line } from './line.ts';
import { clientRequestsPerSecond, kindRates, type KindRates } from './kinds.ts';
import { formatAge, formatBytes, formatCount, formatLatency, formatShare } from './numbers.ts';
import type { DaemonRates } from './rates.ts';
import { tableLines, type TableColumn } from './table.ts';

export interface DaemonView {
  readonly rundir: string;
  /** Why nothing newer is known of it. */
  readonly problem: string | undefined;
  readonly rates: DaemonRates | undefined;
}

/** Of one processor: from here on it is what holds everyone up. */
const CPU_BUSY_PERCENT = 90;

export function daemonLines(view: DaemonView, columns: number): Line[] {
  const { rundir, problem, rates } = view;
  if (problem !== undefined) {
    return [fitLine([span(`mpoold ${rundir}  `), span(problem, 'bad')], columns)];
  }
  if (rates === undefined) return [fitLine([span(`mpoold ${rundir}  asking`)], columns)];
  const head = headLine(rates, rundir, columns);
  // Who may not manage it is not told what others ask for.
  return rates.operations.length === 0 ? [head] : [head, ...requestLines(rates, columns)];
}

function headLine(rates: DaemonRates, rundir: string, columns: number): Line {
  const { status, metrics, cpuPercent, operations } = rates;
  const isBusy = cpuPercent !== undefined && cpuPercent >= CPU_BUSY_PERCENT;
  const parts = [
    part(9, `mpoold ${rundir}`),
    part(4, `pid ${status.pid}`),
    part(3, `up ${formatAge(metrics.uptimeSeconds)}`),
    part(7, `cpu ${formatShare(cpuPercent)}`, isBusy ? 'busy' : undefined),
    part(6, `mem ${formatBytes(metrics.residentBytes)}`),
    ...(operations.length === 0
      ? []
      : [part(5, `requests ${formatCount(clientRequestsPerSecond(operations))}/s`)]),
    part(1, `version ${status.version}`),
  ];
  if (status.state !== 'running') parts.push(part(8, status.state, 'bad'));
  if (!status.mayManage) parts.push(part(2, 'only what is yours'));
  return lineOf(parts, columns);
}

interface KindRow {
  readonly label: string;
  cell(kind: KindRates): string;
}

function requestLines({ operations, metrics }: DaemonRates, columns: number): Line[] {
  const bounds = metrics.latencyBoundsSeconds;
  const latency = (seconds: number | undefined): string =>
    formatLatency(seconds, bounds.at(-1) ?? 0);
  const rows: KindRow[] = [
    { label: 'per second', cell: (kind) => formatCount(kind.requestsPerSecond) },
    { label: 'p50 within', cell: (kind) => latency(kind.p50Seconds) },
    { label: 'p99 within', cell: (kind) => latency(kind.p99Seconds) },
    { label: 'errors/s', cell: (kind) => formatCount(kind.errorsPerSecond) },
  ];
  const table: TableColumn<KindRow>[] = kindRates(operations, bounds).map((kind) => ({
    heading: `>${kind.name.toUpperCase()}`,
    priority: kind.priority,
    columnsMin: 5,
    cell: (row) => row.cell(kind),
    style: (row) =>
      row.label === 'errors/s' && (kind.errorsPerSecond ?? 0) > 0 ? 'busy' : undefined,
  }));
  const labels = { heading: 'REQUESTS', priority: 99, cell: (row: KindRow) => row.label };
  return tableLines([labels, ...table], rows, columns);
}
