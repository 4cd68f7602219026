/** What is drawn of the pools: a table of what happens in them, and the state of each beneath its row. */
import { PAGE_BYTES } from '../../base/units.ts';
import type { PoolHealth } from '../../client.ts';
import type { ClassFigures, PoolFigures, ReaperFigures } from './figures.ts';
import { fitLine, lineOf, part, span, type Line, type Part, type Style } from './line.ts';
import { formatBytes, formatCount, formatShare } from './numbers.ts';
import type { PoolRates } from './rates.ts';
import { tableLines, type TableColumn } from './table.ts';

/** Used of what is usable: soon full, and full for all but metadata. */
const SPACE_BUSY = 0.9;
const SPACE_BAD = 0.98;
/** At 1 no memory is free for what is read. */
const PRESSURE_BUSY = 0.9;

const HEALTH_STYLES: Readonly<Record<PoolHealth, Style | undefined>> = {
  optimal: undefined,
  degraded: 'busy',
  faulted: 'bad',
};
/** Beneath a pool's row; `mpool status` tells all. */
const PROBLEMS_SHOWN = 3;

const COLUMNS: readonly TableColumn<PoolRates>[] = [
  {
    heading: 'MPOOL',
    priority: 13,
    cut: { from: 8, to: 32 },
    columnsMin: 8,
    cell: ({ figures }) => figures.name,
  },
  {
    heading: 'HEALTH',
    priority: 12,
    columnsMin: 7,
    cell: ({ figures }) => healthOf(figures),
    style: ({ figures }) => HEALTH_STYLES[healthOf(figures)],
  },
  { heading: '>CLIENTS', priority: 4, cell: ({ figures }) => formatCount(figures.clientCount) },
  {
    heading: '>WRITTEN/S',
    priority: 11,
    cell: ({ perSecond }) => formatBytes(perSecond.writtenBytes),
  },
  { heading: '>COMMITS/S', priority: 10, cell: ({ perSecond }) => formatCount(perSecond.commits) },
  {
    heading: '>OPS/STEP',
    priority: 9,
    cell: ({ operationsPerStep }) => formatCount(operationsPerStep),
  },
  {
    heading: '>META/S',
    priority: 7,
    cell: ({ perSecond }) => formatCount(perSecond.metadataFrames),
  },
  { heading: '>FLUSHES/S', priority: 8, cell: ({ perSecond }) => formatCount(perSecond.flushes) },
  {
    heading: '>SYNCS/S',
    priority: 6,
    cell: ({ perSecond }) => formatCount(perSecond.syncOperations),
  },
  { heading: '>SYNCS/STEP', priority: 5, cell: ({ syncsPerStep }) => formatCount(syncsPerStep) },
  { heading: '>DELETES/S', priority: 3, cell: ({ perSecond }) => formatCount(perSecond.deletes) },
  { heading: '>LEASES', priority: 2, cell: ({ figures }) => formatCount(figures.leaseCount) },
  { heading: '>MAPPED', priority: 1, cell: ({ figures }) => formatCount(figures.mappedCount) },
  { heading: '>OBJECTS', priority: 0, cell: ({ figures }) => formatCount(figures.objectCount) },
];

export interface PoolLines {
  heading: Line;
  /** Of each pool its row, and what is told beneath it. */
  pools: { row: Line; faults: Line[]; details: Line[] }[];
}

export function poolLines(pools: readonly PoolRates[], columns: number): PoolLines {
  const [heading = [], ...rows] = tableLines(COLUMNS, pools, columns);
  return {
    heading,
    pools: pools.map((pool, i) => ({
      row: rows[i]!,
      faults: faultLines(pool.figures, columns),
      details: [
        ...pool.figures.classes.map((each) => classLine(each, columns)),
        ...reaperLines(pool, columns),
      ],
    })),
  };
}

/** One that a daemon to come may tell, and this does not know, is something wrong. */
export function healthOf({ health }: PoolFigures): PoolHealth {
  return health === 'optimal' || health === 'faulted' ? health : 'degraded';
}

function faultLines(figures: PoolFigures, columns: number): Line[] {
  const { fault, problems, checksumErrors = 0 } = figures;
  const told = problems.slice(0, PROBLEMS_SHOWN);
  if (problems.length === 0 && fault !== undefined) told.push(fault);
  if (problems.length > told.length) told.push(`and ${problems.length - told.length} more`);
  if (checksumErrors > 0) told.push(`${formatCount(checksumErrors)} pages with a wrong checksum`);
  const style = HEALTH_STYLES[healthOf(figures)] ?? 'bad';
  return told.map((text) => fitLine([span('  '), span(text, style)], columns));
}

function classLine(figures: ClassFigures, columns: number): Line {
  const { usedBytes, usableBytes, mblockCount, mlogCount } = figures;
  const share =
    usedBytes === undefined || usableBytes === undefined || usableBytes === 0
      ? undefined
      : usedBytes / usableBytes;
  const parts = [labelled(figures.mediaClass)];
  if (share !== undefined) {
    const full: Style | undefined =
      share >= SPACE_BAD ? 'bad' : share >= SPACE_BUSY ? 'busy' : undefined;
    parts.push(part(5, bar(share, columns < 100 ? 16 : 32), full));
    parts.push(part(8, formatShare(share * 100).padStart(4), full));
  }
  return lineOf(
    [
      ...parts,
      part(7, `${formatBytes(usedBytes)} of ${formatBytes(usableBytes)}`),
      part(6, `${formatCount(mblockCount)} mblocks`),
      part(4, `${formatCount(mlogCount)} mlogs`),
    ],
    columns,
  );
}

/** Nothing while no client has maps. */
function reaperLines({ figures, perSecond }: PoolRates, columns: number): Line[] {
  const { reaper } = figures;
  if (reaper === undefined || reaper.clientCount === 0) return [];
  const { pressure } = reaper;
  const isBusy = pressure !== undefined && pressure >= PRESSURE_BUSY;
  const pressing = formatShare(pressure === undefined ? undefined : pressure * 100);
  return [
    lineOf(
      [
        labelled('reaper'),
        part(8, `pressure ${pressing}`, isBusy ? 'busy' : undefined),
        ...residentParts(reaper),
        part(7, `evicted ${formatBytes(bytesOf(perSecond.evictedPages))}/s`),
        part(6, `refaults ${formatCount(perSecond.refaultedObjects)}/s`),
      ],
      columns,
    ),
  ];
}

const RESIDENT_PRIORITY: Readonly<Record<string, number>> = { hot: 5, warm: 4, cold: 3, pinned: 2 };

function residentParts({ residentPages }: ReaperFigures): Part[] {
  return residentPages.map(([temperature, pageCount]) =>
    part(RESIDENT_PRIORITY[temperature] ?? 1, `${temperature} ${formatBytes(bytesOf(pageCount))}`),
  );
}

function bytesOf(pageCount: number | undefined): number | undefined {
  return pageCount === undefined ? undefined : pageCount * PAGE_BYTES;
}

function labelled(label: string): Part {
  return part(9, `  ${label.padEnd(8)}`);
}

function bar(share: number, width: number): string {
  const filled = Math.min(width, Math.round(share * width));
  return `[${'#'.repeat(filled)}${' '.repeat(width - filled)}]`;
}
