/** Verbs that change a whole pool. */
import type { MediaClassOptions } from '../../pool/api.ts';
import { command } from '../command.ts';
import { formatSize } from '../sizes.ts';
import { UsageError } from '../usage-error.ts';
import { POOL, poolJson, withManaged } from './common.ts';
import { tell } from './deed.ts';
import { describeDevice, mediaClassOptions } from './media.ts';
import {
  describeChanges,
  POOL_PARAMETERS,
  poolParameters,
  STAGING_DEVICE,
  STAGING_PARAMETERS,
} from './parameters.ts';

export const destroy = command({
  name: 'destroy',
  summary: 'Destroy a pool: its superblocks are erased, and nothing can be read of it any more',
  positionals: [POOL],
  options: ['dry-run', 'force'],
  details: [
    'Asks nothing. A pool that some process has open is refused. Files stay where they are, with ' +
      'the space that they take: remove them with rm.',
    '-f goes on when the pool cannot be opened: a device is missing, or what it holds is damaged.',
  ],
  examples: ['mpool destroy -n mp1', 'mpool destroy mp1', 'mpool destroy /var/lib/mp1.pool'],
  async run(call, context) {
    const [target = ''] = call.words;
    const store = await context.store();
    const force = call.options.has('force');
    await store.destroy(target, { searchPlaces: context.places, force });
    const content = { pool: target };
    const deed = {
      done: `mpool ${target} destroyed`,
      would: `destroy mpool ${target}`,
    };
    await tell(call, context, 'destroy', content, deed);
  },
});

export const set = command({
  name: 'set',
  summary: 'Change parameters of a pool',
  positionals: [POOL],
  parameters: POOL_PARAMETERS,
  options: ['dry-run'],
  details: ['All the changes of one call are made in one durable step, or none of them.'],
  examples: ['mpool set mp1 label=kv mode=0600', 'mpool set mp1 spare_pct_capacity=10 ra=8'],
  async run(call, context) {
    const [target = ''] = call.words;
    const changes = poolParameters(call.values);
    if (Object.keys(changes).length === 0) {
      throw new UsageError('insufficient arguments, nothing to set, use -h for help');
    }
    const [name, before, parameters] = await withManaged(context, target, async (pool) => {
      const old = await pool.parameters();
      await pool.setParameters(changes);
      return [pool.name, old, await pool.parameters()] as const;
    });
    const content = { pool: name, parameters };
    const deed = {
      done: `parameters set for mpool ${name}`,
      would: `set for mpool ${name}: ${describeChanges(call.values, before, parameters)}`,
    };
    await tell(call, context, 'set', content, deed);
  },
});

export const rename = command({
  name: 'rename',
  summary: 'Give a pool another name',
  positionals: [POOL, { name: 'NEWNAME', meaning: '1 to 31 of A-Z a-z 0-9 . _ -' }],
  options: ['dry-run'],
  details: ['Its UUID stays. The pool must not be open, and no pool found may have the new name.'],
  examples: ['mpool rename mp1 mp2', 'mpool rename 6e9c3c3e-7a0e-4d4b-9a3b-0d4d3c1f2a11 mp2'],
  async run(call, context) {
    const [target = '', newName = ''] = call.words;
    const store = await context.store();
    await store.rename(target, newName, { searchPlaces: context.places });
    const content = { from: target, to: newName };
    const deed = {
      done: `renamed mpool from '${target}' to '${newName}'`,
      would: `rename mpool '${target}' to '${newName}'`,
    };
    await tell(call, context, 'rename', content, deed);
  },
});

export const add = command({
  name: 'add',
  summary: 'Add the staging media class to a pool',
  positionals: [POOL],
  parameters: { stgdev: { ...STAGING_DEVICE, required: true }, ...STAGING_PARAMETERS },
  options: ['discard', 'dry-run', 'force'],
  details: [
    'When nothing is at stgdev, a sparse file is made there, of 4g unless stgsize says ' +
      'otherwise. -f overwrites what the device holds; one in use stays refused.',
  ],
  examples: ['mpool add mp1 stgdev=/dev/nvme0n1', 'mpool add mp1 stgdev=fast.pool stgsize=1g'],
  async run(call, context) {
    const [target = ''] = call.words;
    const { stgdev = '', stgsize, stgsz } = call.values;
    const media: MediaClassOptions = await mediaClassOptions(
      stgdev,
      { sizeBytes: stgsize, mblockSizeBytes: stgsz },
      call.options.has('discard'),
    );
    const info = await withManaged(context, target, async (pool) => {
      await pool.addMediaClass('staging', { ...media, force: call.options.has('force') });
      return pool.info();
    });
    const staging = info.devices.find(({ mediaClass }) => mediaClass === 'staging')!;
    const content = { pool: poolJson(info) };
    const deed = {
      done: `added ${stgdev} to mpool ${info.name}`,
      would: `add to mpool ${info.name}: ${await describeDevice(staging, stgdev)}`,
    };
    await tell(call, context, 'add', content, deed);
  },
});

export const grow = command({
  name: 'grow',
  summary: 'Take in what the devices or files of a pool grew by',
  positionals: [POOL],
  options: ['dry-run'],
  details: [
    'Grow the volume or the file first. A file grows with truncate -s +1g FILE; the pool never ' +
      'shrinks, and a file must not be made shorter.',
  ],
  examples: ['truncate -s +4g /var/lib/mp1.pool && mpool grow mp1'],
  async run(call, context) {
    const [target = ''] = call.words;
    const [name, gainedBytes] = await withManaged(context, target, async (pool) => {
      return [pool.name, await pool.grow()] as const;
    });
    const size = formatSize(gainedBytes);
    const same = { done: `mpool ${name} did not grow`, would: `leave mpool ${name} as it is` };
    const grown = {
      done: `mpool ${name} grew by ${size}`,
      would: `grow mpool ${name} by ${size}`,
    };
    const deed = gainedBytes === 0 ? same : grown;
    await tell(call, context, 'grow', { pool: name, gainedBytes }, deed);
  },
});
