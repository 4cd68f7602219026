/** Verbs that give pools to the daemon, and take them back. */
import { MpoolError } from '../../base/errors.ts';
import { pathsOf, refuseLooker, refuseOpen } from '../active-pools.ts';
import type { Daemon } from '../../client.ts';
import { command, type Context } from '../command.ts';
import { realPath } from '../system.ts';
import { UsageError } from '../usage-error.ts';
import { findPools, given, type KnownPool, POOL, usePool, withPool } from './common.ts';
import { tell } from './deed.ts';
import { POOL_PARAMETERS, poolParameters } from './parameters.ts';

export const activate = command({
  name: 'activate',
  about: 'daemon',
  summary: 'Give a pool to the daemon, which serves it to all who may open it',
  positionals: [POOL],
  parameters: POOL_PARAMETERS,
  options: ['dry-run', 'force', 'resize'],
  details: [
    'From then on programs open it through the daemon, each with its own permissions, and ' +
      'the verbs of this tool do so, too. For a pool that is active already only the ' +
      'parameters and -r have an effect. Parameters are recorded, as set does.',
    'When no daemon runs that you may manage, one is started for you. It ends by itself a ' +
      'minute after the last pool was deactivated. Its sockets are in $MPOOL_RUNDIR; or ' +
      '/run/mpool for root, $XDG_RUNTIME_DIR/mpool for others.',
    '-f activates a pool without its staging device, for reading.',
  ],
  examples: [
    'mpool activate mp1',
    'mpool activate /var/lib/mp1.pool uid=hse mode=0600',
    'mpool activate -r mp1',
    'mpool activate -n mp1',
  ],
  async run(call, context) {
    const [target = ''] = call.words;
    const pool = await findOne(target, context);
    const parameters = poolParameters(call.values);
    const { name, uuid } = pool.found;
    const already = pool.active !== undefined;
    const deed = {
      done: already ? `mpool ${name} is active already` : `mpool ${name} now active`,
      would: already ? `leave mpool ${name} active` : `activate mpool ${name}`,
    };
    const force = call.options.has('force');
    const grow = call.options.has('resize');
    if (call.options.has('dry-run')) {
      await tryOut(pool, { force, grow, parameters }, context);
    } else {
      const daemon = pool.active?.daemon ?? (await context.daemons.managed());
      await activateIn(daemon, pool, { force, grow, parameters });
    }
    await tell(call, context, 'activate', { pool: name, uuid, already }, deed);
  },
});

export const deactivate = command({
  name: 'deactivate',
  about: 'daemon',
  summary: 'Take a pool back from the daemon',
  positionals: [POOL],
  options: ['dry-run'],
  details: [
    'A pool that a client has open is refused: mpool clients tells who. Its media can then ' +
      'be changed, moved, or opened by one program of its own.',
  ],
  examples: ['mpool deactivate mp1', 'mpool deactivate -n mp1'],
  async run(call, context) {
    const [target = ''] = call.words;
    const { found, active } = await findOne(target, context);
    const { name, uuid } = found;
    if (active === undefined) {
      throw new MpoolError('ERR_MPOOL_NOT_FOUND', `mpool ${name} is not active`);
    }
    if (call.options.has('dry-run')) {
      await refuseLooker(active);
      refuseOpen(active);
    } else await active.daemon.deactivate(name);
    const deed = { done: `mpool ${name} now inactive`, would: `deactivate mpool ${name}` };
    await tell(call, context, 'deactivate', { pool: name, uuid }, deed);
  },
});

interface Activation {
  force?: boolean;
  grow?: boolean;
  parameters?: ReturnType<typeof poolParameters>;
}

/** The daemon looks elsewhere, and has another current directory: it is told the paths. */
export async function activateIn(
  daemon: Daemon,
  { found, active }: KnownPool,
  { force = false, grow = false, parameters = {} }: Activation = {},
): Promise<void> {
  const { capacityPath, stagingPath } = pathsOf(found);
  await daemon.activate(active === undefined ? capacityPath : found.name, {
    ...given({ stagingPath: active === undefined ? stagingPath : undefined }),
    ...(force && { force }),
    ...(grow && { grow }),
    ...(Object.keys(parameters).length > 0 && { parameters }),
  });
}

/** What activateIn() would be refused for. */
export async function tryOut(pool: KnownPool, wanted: Activation, context: Context): Promise<void> {
  await context.daemons.checkManaged();
  const store = await context.store();
  const { capacityPath, stagingPath } = pathsOf(pool.found);
  const { force = false, grow = false, parameters = {} } = wanted;
  const readOnly = force && !pool.found.complete;
  const opened = await store.open(capacityPath, {
    stagingPath,
    force,
    readOnly,
    signal: context.signal,
  });
  await usePool(opened, async () => {
    if (Object.keys(parameters).length > 0) await opened.setParameters(parameters);
    if (grow) await opened.grow();
  });
}

/** As the library takes a target: a path first, then a name or UUID. @throws as its open() */
async function findOne(target: string, context: Context): Promise<KnownPool> {
  const { found } = await findPools([target], context);
  const path = await realPath(target);
  const [first, second] = found;
  const there = found.find((pool) => pool.found.devices.some((device) => device.path === path));
  if (there !== undefined) return there;
  if (first === undefined) {
    // Only opening it tells why a file that is there is no pool that can be found.
    await withPool(context, target, { readOnly: true }, async () => undefined);
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `mpool ${target}`);
  }
  if (second === undefined) return first;
  const paths = found.map((pool) => pathsOf(pool.found).capacityPath).join(', ');
  throw new UsageError(`'${target}' is the name of several pools: say which by path: ${paths}`);
}
