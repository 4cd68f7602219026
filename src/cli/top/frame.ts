/** One picture of all daemons, of as many lines as there are rows; pure. */
import type { PoolHealth } from '../../client.ts';
import { CLIENT_SORTS, clientColumns, sortClients } from './client-table.ts';
import { daemonLines, type DaemonView } from './daemon-lines.ts';
import { fitLine, lineOf, part, span, type Line } from './line.ts';
import { formatCount } from './numbers.ts';
import { healthOf, poolLines, type PoolLines } from './pool-lines.ts';
import type { ClientRates, PoolRates } from './rates.ts';
import { tableLines } from './table.ts';

export interface FrameOptions {
  readonly columns: number;
  readonly rows: number;
  /** Of the time, as it is to be shown. */
  readonly time: string;
  readonly intervalText: string;
  /** Which of CLIENT_SORTS. */
  readonly sort: number;
  /** How many clients are above the first that is shown. */
  readonly offset: number;
  readonly isPaused: boolean;
  readonly userName: (uid: number) => string;
}

export interface Frame {
  readonly lines: readonly Line[];
  /** The highest offset that still fills the screen. */
  readonly offsetMax: number;
  /** How many clients are shown at once. */
  readonly clientRows: number;
}

const NONE: Line = [];
/** At least so many clients are shown where pools would take all the room. */
const CLIENTS_MIN = 4;

export function drawFrame(views: readonly DaemonView[], options: FrameOptions): Frame {
  const { columns, rows } = options;
  const shown = views.filter(({ problem }) => problem === undefined);
  const pools = shown.flatMap(({ rates }) => rates?.pools ?? []);
  const clients = shown.flatMap(({ rates }) => rates?.clients ?? []);
  const daemons = views.flatMap((view) => [...daemonLines(view, columns), NONE]);
  // One line for the title, one between pools and clients, one for the headings of the clients.
  const clientsLeast = clients.length === 0 ? 2 : 2 + Math.min(clients.length, CLIENTS_MIN);
  const poolRoom = rows - 1 - daemons.length - clientsLeast;
  const isPartial = shown.some(({ rates }) => rates?.status.mayManage === false);
  const middle = poolSection(pools, columns, poolRoom, isPartial);
  const clientRows = Math.max(0, rows - 3 - daemons.length - middle.length);
  const offsetMax = Math.max(0, clients.length - clientRows);
  const offset = Math.min(options.offset, offsetMax);
  const sorted = sortClients(clients, options.sort);
  const table = clientSection(sorted, offset, Math.min(clientRows, clients.length), {
    ...options,
    isPartial,
  });
  const title = titleLine(views, pools, clients, { ...options, offset, clientRows });
  const lines = [title, ...daemons, ...middle, NONE, ...table];
  return { lines: lines.slice(0, rows), offsetMax, clientRows };
}

function titleLine(
  views: readonly DaemonView[],
  pools: readonly PoolRates[],
  clients: readonly ClientRates[],
  options: FrameOptions & { clientRows: number },
): Line {
  const { offset, clientRows, columns } = options;
  const last = Math.min(offset + clientRows, clients.length);
  const shown = last - offset < clients.length ? `, ${offset + 1} to ${last} shown` : '';
  const inState = (health: PoolHealth): number =>
    pools.filter(({ figures }) => healthOf(figures) === health).length;
  const [faulted, degraded] = [inState('faulted'), inState('degraded')];
  const parts = [
    part(9, 'mpool top', 'heading'),
    part(8, options.time),
    part(3, options.intervalText),
    ...(views.length > 1 ? [part(2, `${views.length} daemons`)] : []),
    part(5, counted(pools.length, 'pool')),
    ...(faulted > 0 ? [part(7, `${faulted} faulted`, 'bad')] : []),
    ...(degraded > 0 ? [part(7, `${degraded} degraded`, 'busy')] : []),
    part(6, `${counted(clients.length, 'client')}${last > offset ? shown : ''}`),
    part(4, `by ${CLIENT_SORTS[options.sort % CLIENT_SORTS.length]!.name}`),
    ...(options.isPaused ? [part(10, 'PAUSED', 'busy')] : []),
  ];
  return lineOf(parts, columns);
}

function counted(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** All that is known of the pools; in less room their rows alone, those that are faulted first. */
function poolSection(
  pools: readonly PoolRates[],
  columns: number,
  room: number,
  isPartial: boolean,
): Line[] {
  if (pools.length === 0) {
    const which = isPartial ? 'no pool that you may open is active' : 'no pool is active';
    return [fitLine([span(which)], columns)];
  }
  const drawn = poolLines(pools, columns);
  const all = drawn.pools.flatMap(({ row, faults, details }) => [row, ...faults, ...details]);
  if (1 + all.length <= room) return [drawn.heading, ...all];
  const brief = drawn.pools.flatMap(({ row, faults }) => [row, ...faults]);
  if (1 + brief.length <= room) return [drawn.heading, ...brief];
  return [drawn.heading, ...worstFirst(drawn, columns, room - 1)];
}

function worstFirst({ pools }: PoolLines, columns: number, room: number): Line[] {
  const sorted = pools.toSorted(
    (a, b) => Number(b.faults.length > 0) - Number(a.faults.length > 0),
  );
  // One line says how many are missing.
  const shown = Math.max(1, room - 1);
  const lines = sorted.slice(0, shown).map(({ row }) => row);
  const missing = pools.length - lines.length;
  if (missing > 0) lines.push(fitLine([span(`… ${counted(missing, 'more pool')}`)], columns));
  return lines;
}

function clientSection(
  sorted: readonly ClientRates[],
  offset: number,
  count: number,
  { columns, userName, isPartial }: FrameOptions & { isPartial: boolean },
): Line[] {
  if (sorted.length === 0) {
    const whose = isPartial ? 'no client of yours' : 'no client';
    return [fitLine([span(`${whose} has a pool open`)], columns)];
  }
  // Widths are of all of them: columns must not jump while one scrolls.
  const [heading = [], ...rows] = tableLines(clientColumns(userName), sorted, columns);
  return [heading, ...rows.slice(offset, offset + count)];
}

const HELP = [
  ['q, Ctrl-C', 'quit'],
  ['p', 'pause, and go on'],
  ['s', 'sort the clients by another column'],
  ['j k, arrows', 'scroll the clients; g G, PgUp PgDn further'],
  ['?', 'this help; any key ends it'],
  ['', ''],
  ['WITHIN', 'half of the requests, and 99 of 100, took no longer'],
  ['OPS/STEP', 'changes of metadata that one durable step carried'],
  ['SYNCS/STEP', 'syncs of logs that one durable step carried'],
  ['META/S', 'writes of metadata'],
  ['FLIGHT', 'requests under way'],
  ['UNCOMM', 'objects not committed yet'],
  ['LEASE', 'reads of mblocks begun or ended: clients read by themselves'],
] as const;

export function helpLines(columns: number, rows: number): Line[] {
  const lines = HELP.map(([term, meaning]): Line => [
    span(`  ${term.padEnd(12)}`, 'heading'),
    span(meaning),
  ]);
  return [[span('mpool top', 'heading')], NONE, ...lines]
    .map((line) => fitLine(line, columns))
    .slice(0, rows);
}
