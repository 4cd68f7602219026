/** The columns of list, get and scan. */
import { MIB } from '../../base/units.ts';
import type { FoundPool, MediaClass, PoolInfo, PoolParameters, Usage } from '../../pool/api.ts';
import { accountName, type AccountKind } from '../accounts.ts';
import { column, reportColumns, sizeColumn, type CellStyle } from '../report-columns.ts';
import { formatPercent } from '../sizes.ts';
import { utcTime } from '../times.ts';
import type { KnownPool } from './common.ts';
import type { SurveyedPool } from './survey.ts';

const ofUsage =
  (value: (usage: Usage) => number) =>
  ({ info }: SurveyedPool): number | undefined =>
    info && value(info.usage);

const ofParameters =
  <Value extends string | number>(value: (parameters: PoolParameters) => Value) =>
  ({ info }: SurveyedPool): Value | undefined =>
    info && value(info.parameters);

const account =
  (kind: AccountKind) =>
  (id: number, style: CellStyle): string =>
    style.resolve ? accountName(kind, id) : String(id);

const yesNo = (what: unknown): string => (what === undefined ? 'no' : 'yes');

const octal = (mode: number): string => (mode === 0 ? '0' : `0${mode.toString(8)}`);

const pathsOf = ({ devices }: FoundPool, only?: MediaClass): string =>
  devices
    .filter(({ mediaClass }) => only === undefined || mediaClass === only)
    .map(({ path }) => path)
    .join(',');

/** Where the device of a class is; undefined without one. */
const pathOf = (pool: FoundPool, only: MediaClass): string | undefined =>
  pathsOf(pool, only) || undefined;

export const LIST_COLUMNS = reportColumns<SurveyedPool>({
  always: [
    column('name', 'MPOOL', 'name of the pool', ({ found }) => found.name),
    sizeColumn(
      'total',
      'TOTAL',
      'what can be used without the spare part',
      ofUsage((usage) => usage.usableBytes),
    ),
    sizeColumn(
      'used',
      'USED',
      'what objects and metadata take',
      ofUsage((usage) => usage.usedBytes),
    ),
    sizeColumn(
      'avail',
      'AVAIL',
      'what of TOTAL is free',
      ofUsage((usage) => usage.freeUsableBytes),
    ),
    column(
      'capacity',
      '>CAPACITY',
      'the used part of TOTAL',
      ofUsage(({ usedBytes, usableBytes }) => (usableBytes === 0 ? 0 : usedBytes / usableBytes)),
      (part) => formatPercent(part, 1),
    ),
    column(
      'label',
      '>LABEL',
      'label, as set',
      ofParameters(({ label }) => label),
    ),
    column('health', '>HEALTH', 'optimal, faulted, offline or busy', ({ health }) => health),
  ],
  verbose: [column('devices', 'DEVICES', 'paths of the devices', ({ found }) => pathsOf(found))],
  asked: [
    column('active', '>ACTIVE', 'yes when a daemon has it active', ({ active }) => yesNo(active)),
    column(
      'clients',
      '>CLIENTS',
      'how many clients have it open',
      ({ active }) => active?.clientCount,
    ),
    column('capdev', 'CAPDEV', 'path of the capacity device', ({ found }) =>
      pathOf(found, 'capacity'),
    ),
    column('stgdev', 'STGDEV', 'path of the staging device', ({ found }) =>
      pathOf(found, 'staging'),
    ),
    column('uuid', 'UUID', 'UUID of the pool', ({ found }) => found.uuid),
    column(
      'format',
      '>FORMAT',
      'version of the on-media format',
      ({ found }) => found.formatVersion,
    ),
    column(
      'features',
      'FEATURES',
      'features of the on-media format that it has',
      ({ info }) =>
        info &&
        Object.values(info.features ?? {})
          .flat()
          .join(','),
    ),
    column(
      'created',
      'CREATED',
      'when it was created, in UTC',
      ({ info }) => info?.createdMs,
      utcTime,
    ),
    sizeColumn(
      'spare',
      'SPARE',
      'what only allocations that ask for it may use',
      ofUsage((usage) => usage.spareBytes),
    ),
    sizeColumn(
      'sparefree',
      'SPAREFREE',
      'what of SPARE is free',
      ofUsage((usage) => usage.freeSpareBytes),
    ),
    sizeColumn(
      'reserved',
      'RESERVED',
      'superblocks, and what is no whole mblock',
      ofUsage((usage) => usage.reservedBytes),
    ),
    sizeColumn(
      'metadata',
      'METADATA',
      "logs of the pool's own metadata",
      ofUsage((usage) => usage.metadataBytes),
    ),
    column(
      'mblocks',
      '>MBLOCKS',
      'number of mblocks',
      ofUsage((usage) => usage.mblockCount),
    ),
    sizeColumn(
      'written',
      'WRITTEN',
      'bytes in mblocks',
      ofUsage((usage) => usage.mblockWrittenBytes),
    ),
    column(
      'mlogs',
      '>MLOGS',
      'number of mlogs, those of MDCs among them',
      ofUsage((usage) => usage.mlogCount),
    ),
    column(
      'uid',
      '>UID',
      'owner',
      ofParameters(({ uid }) => uid),
      account('user'),
    ),
    column(
      'gid',
      '>GID',
      'group',
      ofParameters(({ gid }) => gid),
      account('group'),
    ),
    column(
      'mode',
      '>MODE',
      'permission bits',
      ofParameters(({ mode }) => mode),
      octal,
    ),
  ],
});

const zoneMib =
  (mediaClass: MediaClass) =>
  ({ devices }: PoolInfo): number | undefined => {
    const device = devices.find((each) => each.mediaClass === mediaClass);
    return device && device.mblockSizeBytes / MIB;
  };

const hasStaging = ({ devices }: PoolInfo): boolean =>
  devices.some(({ mediaClass }) => mediaClass === 'staging');

export const GET_COLUMNS = reportColumns<PoolInfo>({
  always: [
    column('name', 'MPOOL', 'name of the pool', ({ name }) => name),
    column('label', '>LABEL', 'label', ({ parameters }) => parameters.label),
    column('uid', '>UID', 'owner', ({ parameters }) => parameters.uid, account('user')),
    column('gid', '>GID', 'group', ({ parameters }) => parameters.gid, account('group')),
    column('mode', '>MODE', 'permission bits', ({ parameters }) => parameters.mode, octal),
    column('ra', '>RA', 'pages to read ahead', ({ parameters }) => parameters.readAheadPages),
    column('stgsz', '>STGSZ', 'mblock size of the staging class, in MiB', zoneMib('staging')),
    column('capsz', '>CAPSZ', 'mblock size of the capacity class, in MiB', zoneMib('capacity')),
    column('stgsp', '>STGSP', 'spare percent of the staging class', (info) =>
      hasStaging(info) ? info.parameters.sparePercentStaging : undefined,
    ),
    column(
      'capsp',
      '>CAPSP',
      'spare percent of the capacity class',
      ({ parameters }) => parameters.sparePercentCapacity,
    ),
  ],
  verbose: [
    column(
      'vma',
      '>VMA',
      'log2 of the bytes of a mapped region',
      ({ parameters }) => parameters.mappedRegionLog2,
    ),
    column(
      'utype',
      '>TYPE',
      'UUID by which an application knows its pools',
      ({ parameters }) => parameters.utype,
    ),
  ],
  asked: [column('uuid', 'UUID', 'UUID of the pool', ({ uuid }) => uuid)],
});

export const SCAN_COLUMNS = reportColumns<KnownPool>({
  always: [
    column('name', 'MPOOL', 'name of the pool', ({ found }) => found.name),
    column('uuid', 'UUID', 'UUID of the pool', ({ found }) => found.uuid),
    sizeColumn('size', 'SIZE', 'what of its devices the pool takes', ({ found }) =>
      found.devices.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    ),
    column('health', '>HEALTH', 'optimal, or faulted: a device was not found', ({ found }) =>
      found.complete ? 'optimal' : 'faulted',
    ),
    column('devices', 'DEVICES', 'paths of the devices that were found', ({ found }) =>
      pathsOf(found),
    ),
  ],
  asked: [
    column('active', '>ACTIVE', 'yes when a daemon has it active', ({ active }) => yesNo(active)),
    column('capdev', 'CAPDEV', 'path of the capacity device', ({ found }) =>
      pathOf(found, 'capacity'),
    ),
    column('stgdev', 'STGDEV', 'path of the staging device', ({ found }) =>
      pathOf(found, 'staging'),
    ),
    column(
      'format',
      '>FORMAT',
      'version of the on-media format',
      ({ found }) => found.formatVersion,
    ),
  ],
});
