import type { MediaClassOptions, ReaperStats } from '../../pool/api.ts';
import type { ReaperChanges } from '../protocol.ts';
import {
  absolutePath,
  type Check,
  flag,
  integer,
  maybe,
  measure,
  object,
  oneOf,
  orNull,
  record,
  text,
} from './shape.ts';

const MIB = 2 ** 20;

/** What several requests ask for in the same words. */
const classFields = {
  path: absolutePath,
  sizeBytes: maybe(integer(MIB, Number.MAX_SAFE_INTEGER)),
  mblockSizeBytes: maybe(integer(MIB, 64 * MIB)),
  sparePercent: maybe(integer(0, 100)),
  discard: maybe(flag),
};

/** Of a device that joins a pool. */
export const classOptions: Check<MediaClassOptions & { force?: boolean | undefined }> = record({
  ...classFields,
  force: maybe(flag),
});

const ownClass: Check<MediaClassOptions> = record(classFields);

/** Of a pool to be. Parameters are checked by the pool itself. */
export const createOptions = record({
  name: text(31),
  capacity: ownClass,
  staging: maybe(ownClass),
  force: maybe(flag),
  uid: maybe(integer(0, 2 ** 32 - 2)),
  gid: maybe(integer(0, 2 ** 32 - 2)),
  mode: maybe(integer(0, 0o777)),
  label: maybe(text(63, 0)),
  utype: maybe(text(36)),
  readAheadPages: maybe(integer(0, 32)),
  mappedRegionLog2: maybe(integer(27, 32)),
  sparePercentCapacity: maybe(integer(0, 100)),
  sparePercentStaging: maybe(integer(0, 100)),
  engine: maybe(oneOf('auto', 'io_uring', 'aio', 'threads')),
});

export const reaperChanges: Check<ReaperChanges> = record({
  enabled: maybe(flag),
  memoryPercent: maybe(measure(5, 100)),
  highWatermarkFactor: maybe(measure(1, 2)),
  ttlMs: maybe(measure(0.1, Number.MAX_SAFE_INTEGER)),
  budgetBytes: maybe(orNull(measure(MIB, Number.MAX_SAFE_INTEGER))),
});

const residentPages = record({
  cold: measure(),
  warm: measure(),
  hot: measure(),
  pinned: measure(),
  unmapped: measure(),
});

const counts = [
  'pressure',
  'freePercent',
  'ttlMs',
  'objectCount',
  'evictedObjects',
  'evictedPages',
  'refaultedObjects',
  'delayedReads',
  'delayedMs',
  'shortenedReadAheads',
  'rounds',
  'threadMs',
  'poolMs',
] as const satisfies readonly (keyof ReaperStats)[];

const limit = oneOf('machine', 'group', 'budget');

/** A later client may count more: what is not known here is left out. */
export const reaperStats: Check<ReaperStats> = (value, name) => {
  const given = object(value, name);
  const stats: Record<string, unknown> = {
    limit: limit(given['limit'], 'limit'),
    residentPages: residentPages(given['residentPages'], 'residentPages'),
    kernelReclaimedPages: maybe(measure())(given['kernelReclaimedPages'], 'kernelReclaimedPages'),
    kernelRefaults: maybe(measure())(given['kernelRefaults'], 'kernelRefaults'),
  };
  for (const key of counts) stats[key] = measure()(given[key], key);
  return stats as unknown as ReaperStats;
};
