import { command } from '../command.ts';
import { UsageError } from '../usage-error.ts';
import { deviceSizeKind, zoneSizeKind } from '../values.ts';
import { poolJson, usePool } from './common.ts';
import { tell } from './deed.ts';
import { describeDevice, mediaClassOptions } from './media.ts';
import { PARAMETER_DEFAULTS } from '../../pool/parameters.ts';
import { ownAccount } from '../system.ts';
import {
  FILE_SIZE_DEFAULT,
  POOL_PARAMETERS,
  poolParameters,
  STAGING_DEVICE,
  STAGING_PARAMETERS,
  ZONE_SIZE_DEFAULT,
} from './parameters.ts';

const DEFAULTS = PARAMETER_DEFAULTS;
/** As for set, and with what a new pool has when nothing is said. */
const NEW_POOL_PARAMETERS = {
  ...POOL_PARAMETERS,
  uid: { ...POOL_PARAMETERS.uid, default: 'you' },
  gid: { ...POOL_PARAMETERS.gid, default: 'yours' },
  mode: { ...POOL_PARAMETERS.mode, default: `0${DEFAULTS.mode.toString(8)}` },
  label: { ...POOL_PARAMETERS.label, default: DEFAULTS.label },
  utype: { ...POOL_PARAMETERS.utype, default: 'all zero' },
  ra: { ...POOL_PARAMETERS.ra, default: String(DEFAULTS.readAheadPages) },
  vma: { ...POOL_PARAMETERS.vma, default: String(DEFAULTS.mappedRegionLog2) },
  spare_pct_capacity: {
    ...POOL_PARAMETERS.spare_pct_capacity,
    default: String(DEFAULTS.sparePercentCapacity),
  },
  spare_pct_staging: {
    ...POOL_PARAMETERS.spare_pct_staging,
    default: String(DEFAULTS.sparePercentStaging),
  },
} as const;

export const create = command({
  name: 'create',
  summary: 'Create a pool on a device or file',
  positionals: [
    { name: 'NAME', meaning: '1 to 31 of A-Z a-z 0-9 . _ -, not starting with -' },
    {
      name: 'DEVICE',
      meaning: 'block device or file of the capacity class',
      candidates: 'file',
    },
  ],
  parameters: {
    size: {
      kind: deviceSizeKind,
      meaning: 'size of the file to be made, or limit of an existing device',
      default: FILE_SIZE_DEFAULT,
    },
    capsz: {
      kind: zoneSizeKind,
      meaning: 'mblock size of the capacity class',
      default: ZONE_SIZE_DEFAULT,
    },
    stgdev: STAGING_DEVICE,
    ...STAGING_PARAMETERS,
    ...NEW_POOL_PARAMETERS,
  },
  options: ['discard', 'dry-run', 'force'],
  details: [
    'When nothing is at DEVICE, a sparse file is made there: it takes only the space that is ' +
      'written. A device or file that holds something is refused unless -f is given; one that is ' +
      'in use is always refused.',
    'capsz and stgsz are MiB unless they have a suffix: a power of two from 1 to 64. Small pools ' +
      'want small mblocks: a 64 MiB file with capsz=1 is a working pool.',
    'When a daemon runs that you may manage, the pool is active in it from then on.',
    '-n tells what DEVICE holds, unless -f says that it does not matter.',
    'label, ra and the others can be changed later with mpool set; capsz and stgsz cannot.',
  ],
  examples: [
    'mpool create mp1 /var/lib/mp1.pool',
    'mpool create mp1 mp1.pool size=64m capsz=1',
    'mpool create mp1 /dev/nvme0n1 uid=hse gid=hse mode=0660 label=kv',
    'mpool create mp1 /dev/sdb stgdev=/dev/nvme0n1 stgsz=8',
    'mpool create -n mp1 /dev/sdb',
  ],
  async run(call, context) {
    const [name = '', device = ''] = call.words;
    const { values, options } = call;
    for (const parameter of ['stgsz', 'stgsize'] as const) {
      if (values[parameter] !== undefined && values.stgdev === undefined) {
        const meant = parameter === 'stgsz' ? 'capsz' : 'size';
        throw new UsageError(`'${parameter}' specified without 'stgdev', did you mean '${meant}'?`);
      }
    }
    const discard = options.has('discard');
    const capacity = await mediaClassOptions(
      device,
      { sizeBytes: values.size, mblockSizeBytes: values.capsz },
      discard,
    );
    const staging =
      values.stgdev === undefined
        ? undefined
        : await mediaClassOptions(
            values.stgdev,
            { sizeBytes: values.stgsize, mblockSizeBytes: values.stgsz },
            discard,
          );
    const store = await context.store();
    const pool = await store.create({
      name,
      capacity,
      staging,
      force: options.has('force'),
      signal: context.signal,
      ...ownAccount(),
      ...poolParameters(values),
    });
    const info = await usePool(pool, (opened) => opened.info());
    const media = await Promise.all(
      info.devices.map((each) => {
        const path = each.mediaClass === 'staging' ? values.stgdev : device;
        return describeDevice(each, path ?? each.path);
      }),
    );
    const active = (await store.active()).some((each) => each.info.uuid === info.uuid);
    const content = { pool: poolJson(info), active };
    const deed = {
      done: active ? `mpool ${name} created, and active` : `mpool ${name} created`,
      would: `create mpool ${name}: ${media.join('; ')}`,
    };
    await tell(call, context, 'create', content, deed);
  },
});
