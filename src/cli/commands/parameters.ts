/** Parameters that several verbs share. */
import type { PoolParameters } from '../../pool/api.ts';
import type { Parameters, ValuesOf } from '../command.ts';
import {
  accountKind,
  classKind,
  integerKind,
  modeKind,
  pathKind,
  deviceSizeKind,
  textKind,
  uuidKind,
  zoneSizeKind,
} from '../values.ts';
import { given } from './common.ts';

/** Of an object. */
export const CLASS = { kind: classKind, meaning: 'capacity or staging' } as const;

/** As the library chooses it, and as mediaClassOptions() does. */
export const ZONE_SIZE_DEFAULT = '32; on devices below 1g less, down to 1, for at least 32 mblocks';
export const FILE_SIZE_DEFAULT = '4g for a new file, all of what exists';

/** What create and set can say of a pool. */
export const POOL_PARAMETERS = {
  uid: { kind: accountKind('user'), meaning: 'owner: a name or a number' },
  gid: { kind: accountKind('group'), meaning: 'group: a name or a number' },
  mode: {
    kind: modeKind,
    meaning:
      'permission bits, at most 0777; uid, gid and mode are enforced by the daemon: ' +
      'without it, access to the device or file decides',
  },
  label: { kind: textKind, meaning: 'at most 63 of A-Z a-z 0-9 . _ -' },
  utype: { kind: uuidKind, meaning: 'by which an application knows its pools' },
  ra: { kind: integerKind(0, 32), meaning: 'pages to read ahead, 0 to 32' },
  vma: { kind: integerKind(27, 32), meaning: 'log2 of the bytes of a mapped region, 27 to 32' },
  spare_pct_capacity: {
    kind: integerKind(0, 100),
    meaning: 'percent of the capacity class kept spare',
  },
  spare_pct_staging: {
    kind: integerKind(0, 100),
    meaning: 'percent of the staging class kept spare',
  },
} as const satisfies Parameters;

export const STAGING_PARAMETERS = {
  stgsz: {
    kind: zoneSizeKind,
    meaning: 'mblock size of the staging class',
    default: ZONE_SIZE_DEFAULT,
  },
  stgsize: {
    kind: deviceSizeKind,
    meaning: 'size of the staging file to be made, or limit of an existing device',
    default: FILE_SIZE_DEFAULT,
  },
} as const satisfies Parameters;

export const STAGING_DEVICE = {
  kind: pathKind,
  meaning: 'device or file of the staging class',
} as const;

/** How the library calls them. */
const LIBRARY_NAMES = {
  uid: 'uid',
  gid: 'gid',
  mode: 'mode',
  label: 'label',
  utype: 'utype',
  ra: 'readAheadPages',
  vma: 'mappedRegionLog2',
  spare_pct_capacity: 'sparePercentCapacity',
  spare_pct_staging: 'sparePercentStaging',
} as const satisfies Record<keyof typeof POOL_PARAMETERS, keyof PoolParameters>;

type ParameterName = keyof typeof LIBRARY_NAMES;
const PARAMETER_NAMES = Object.keys(LIBRARY_NAMES) as ParameterName[];

/** What was given of them, in the library's words. */
export function poolParameters(values: ValuesOf<typeof POOL_PARAMETERS>): Partial<PoolParameters> {
  const entries = PARAMETER_NAMES.map((name) => [LIBRARY_NAMES[name], values[name]]);
  return given(Object.fromEntries(entries) as Partial<PoolParameters>);
}

/** 'label=kv (was raw), ra=8 (as it was)' of those that were given. */
export function describeChanges(
  values: ValuesOf<typeof POOL_PARAMETERS>,
  before: PoolParameters,
  after: PoolParameters,
): string {
  return PARAMETER_NAMES.filter((name) => values[name] !== undefined)
    .map((name) => {
      const [old, now] = [before, after].map((all) => show(name, all[LIBRARY_NAMES[name]]));
      return `${name}=${now} (${old === now ? 'as it was' : `was ${old}`})`;
    })
    .join(', ');
}

function show(name: ParameterName, value: string | number): string {
  return name === 'mode' ? `0${value.toString(8)}` : String(value);
}
