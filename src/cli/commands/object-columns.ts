/** The columns of the lists of mblocks, mlogs and MDCs. */
import { PAGE_BYTES } from '../../base/units.ts';
import { printObjectId } from '../../format/object-id.ts';
import type {
  MblockId,
  MblockProperties,
  MdcProperties,
  MediaClass,
  MlogId,
} from '../../pool/api.ts';
import { formatPercent } from '../sizes.ts';
import { column, reportColumns, sizeColumn } from '../report-columns.ts';
import { printMdcId } from './ids.ts';

const MEDIA_CLASS = ['class', 'CLASS', 'media class: capacity or staging'] as const;

export const MBLOCK_COLUMNS = reportColumns<MblockProperties>({
  always: [
    column('id', 'MBLOCK', 'id of the mblock', ({ id }) => id, printObjectId),
    column(...MEDIA_CLASS, ({ mediaClass }) => mediaClass),
    sizeColumn('written', 'WRITTEN', 'bytes in it', ({ writtenBytes }) => writtenBytes),
    sizeColumn('capacity', 'CAPACITY', 'what can be written', (mblock) => mblock.capacityBytes),
    sizeColumn('alloc', 'ALLOC', 'what it takes of the device', (mblock) => mblock.allocatedBytes),
  ],
  asked: [
    sizeColumn(
      'optwrite',
      'OPTWRITE',
      'what writes are best a multiple of',
      (mblock) => mblock.optimalWriteSizeBytes,
    ),
  ],
});

export interface MlogRow {
  id: MlogId;
  mediaClass: MediaClass;
  allocatedBytes: number;
  /** These of a log that was opened. */
  generation?: number;
  usedBytes?: number;
  recordCount?: number;
}

export const MLOG_COLUMNS = reportColumns<MlogRow>({
  always: [
    column('id', 'MLOG', 'id of the mlog', ({ id }) => id, printObjectId),
    column(...MEDIA_CLASS, ({ mediaClass }) => mediaClass),
    sizeColumn('alloc', 'ALLOC', 'what it takes of the device', (log) => log.allocatedBytes),
  ],
  verbose: [
    column('gen', '>GEN', 'generation: rises when it is erased', ({ generation }) => generation),
    sizeColumn('used', 'USED', 'what its records take', ({ usedBytes }) => usedBytes),
    column('records', '>RECORDS', 'number of records', ({ recordCount }) => recordCount),
  ],
});

/** What is known only of a log that was opened. */
export const OPENED_MLOG_COLUMNS = ['gen', 'used', 'records'];

export const MDC_COLUMNS = reportColumns<MdcProperties>({
  always: [
    {
      ...column('id', 'MDC', 'id of the MDC', ({ id }: MdcProperties) => id.logA),
      cell: ({ id }) => printMdcId(id),
    },
    column(...MEDIA_CLASS, ({ mediaClass }) => mediaClass),
    sizeColumn('alloc', 'ALLOC', 'what both logs take', ({ allocatedBytes }) => allocatedBytes),
    column('root', 'ROOT', 'yes for the one that the pool has of itself', ({ root }) =>
      root ? 'yes' : 'no',
    ),
  ],
});

export interface ResidencyRow {
  /** Undefined of the sum of all. */
  id: MblockId | undefined;
  virtualPages: number;
  residentPages: number;
}

export const RESIDENCY_COLUMNS = reportColumns<ResidencyRow>({
  always: [
    {
      ...column('id', 'MBLOCK', 'id of the mblock', ({ id }: ResidencyRow) => id),
      cell: ({ id }) => (id === undefined ? 'total' : printObjectId(id)),
    },
    sizeColumn('size', 'SIZE', 'what it maps', (row) => row.virtualPages * PAGE_BYTES),
    sizeColumn(
      'resident',
      'RESIDENT',
      'what of it is in the page cache',
      (row) => row.residentPages * PAGE_BYTES,
    ),
    column(
      'part',
      '>PART',
      'the resident part',
      ({ residentPages, virtualPages }) => (virtualPages === 0 ? 0 : residentPages / virtualPages),
      (part) => formatPercent(part, 1),
    ),
  ],
});
