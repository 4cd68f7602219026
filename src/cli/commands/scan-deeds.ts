/** What scan -a and scan -d do with the pools that were found. */
import { pathsOf, refuseLooker, refuseOpen } from '../active-pools.ts';
import type { Call, Context } from '../command.ts';
import { describeFailure } from '../failure.ts';
import { activateIn, tryOut } from './activate.ts';
import { checkInterrupt, type KnownPool } from './common.ts';

type Asked = Pick<Call, 'options' | 'verbosity'>;

interface Deeds {
  /** How many pools it could not be done with; each was told. */
  failed: number;
  /** In a dry run: what would be done. */
  would: string[];
}

export async function activateAll(
  pools: readonly KnownPool[],
  call: Asked,
  context: Context,
): Promise<Deeds> {
  const idle = pools.filter(({ active }) => active === undefined);
  if (call.options.has('dry-run')) {
    const would: string[] = [];
    const failed = await each(idle, 'activate', context, async (pool) => {
      await tryOut(pool, {}, context);
      would.push(`activate mpool ${pool.found.name}`);
    });
    return { failed, would };
  }
  // Where there is nothing to do no daemon need be there.
  const daemon = idle.length === 0 ? undefined : await context.daemons.managed();
  const failed = await each(idle, 'activate', context, async (pool) => {
    const { name, uuid } = pool.found;
    say(call, context, `activating mpool ${name} ${uuid}`);
    await activateIn(daemon!, pool);
  });
  say(call, context, `${pools.length - failed} mpools now active`);
  return { failed, would: [] };
}

export async function deactivateAll(
  pools: readonly KnownPool[],
  call: Asked,
  context: Context,
): Promise<Deeds> {
  const busy = pools.filter(({ active }) => active !== undefined);
  if (call.options.has('dry-run')) {
    const would: string[] = [];
    const failed = await each(busy, 'deactivate', context, async ({ found, active }) => {
      await refuseLooker(active!);
      refuseOpen(active!);
      would.push(`deactivate mpool ${found.name}`);
    });
    return { failed, would };
  }
  const failed = await each(busy, 'deactivate', context, async ({ found, active }) => {
    say(call, context, `deactivating mpool ${found.name} ${found.uuid}`);
    await active!.daemon.deactivate(found.name);
  });
  say(call, context, `${failed} mpools still active`);
  return { failed, would: [] };
}

/** @returns how many failed */
async function each(
  pools: readonly KnownPool[],
  verb: string,
  context: Context,
  work: (pool: KnownPool) => Promise<void>,
): Promise<number> {
  let failed = 0;
  for (const pool of pools) {
    checkInterrupt(context);
    try {
      await work(pool);
    } catch (error) {
      failed += 1;
      const { text = '' } = describeFailure(error, pathsOf(pool.found).capacityPath);
      context.note(`scan: unable to ${verb} mpool ${pool.found.name}: ${text}`);
    }
  }
  return failed;
}

/** On standard error: the listing is what scripts read. */
function say(call: Asked, context: Context, line: string): void {
  if (call.verbosity > 0) context.note(line);
}
