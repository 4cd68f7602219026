/**
 * Looks at pools for list and get: the daemon tells of those that are active in it, others are opened
 * read-only, just long enough to ask.
 */
import { isMpoolError, MpoolError } from '../../base/errors.ts';
import type { ActivePool } from '../active-pools.ts';
import type { FoundPool, PoolHealth, PoolInfo } from '../../pool/api.ts';
import type { Call, Context } from '../command.ts';
import { describeFailure } from '../failure.ts';
import { checkInterrupt, findPools, type KnownPool, usePool, whyMissing } from './common.ts';

/**
 * optimal: all is well. degraded: it serves, and something is not as it should be. faulted: a device is
 * missing, or it cannot be opened for what it holds. offline: it may not be read. busy: another process
 * has it, and no daemon tells of it.
 */
type Health = PoolHealth | 'offline' | 'busy';

export interface SurveyedPool {
  found: FoundPool;
  active: ActivePool | undefined;
  health: Health;
  /** Unless busy, offline or too damaged to open. */
  info: PoolInfo | undefined;
  /** What is wrong. */
  note: string | undefined;
}

/**
 * The pools that the words name, or all of them, in the order of their names. Words that name none
 * are told, each with why.
 */
export async function survey(
  call: Call,
  context: Context,
  verb: 'list' | 'get',
): Promise<{ pools: SurveyedPool[]; missing: readonly string[] }> {
  const { found, missing } = await findPools(call.words, context);
  for (const word of missing) context.note(`${verb}: ${await whyMissing(word, context)}`);
  const pools: SurveyedPool[] = [];
  for (const pool of found) {
    checkInterrupt(context);
    const surveyed = await look(pool, context);
    const { note, health, info } = surveyed;
    const { name } = pool.found;
    if (note !== undefined && verb === 'get' && call.words.length > 0 && info === undefined) {
      context.note(`get: mpool ${name}: ${note}`);
    } else if (
      note !== undefined &&
      (call.verbosity > 0 || info?.health === health || health === 'faulted')
    ) {
      context.note(`${name}: ${note}`);
    }
    pools.push(surveyed);
  }
  return { pools, missing };
}

async function look({ found, active }: KnownPool, context: Context): Promise<SurveyedPool> {
  if (active !== undefined) {
    const { info } = active;
    return { found, active, info, health: info.health, note: noteOf(info) };
  }
  try {
    return await ask(found, context, false);
  } catch (error) {
    if (isMpoolError(error, 'ERR_MPOOL_NO_DEVICE')) {
      // Without its staging device a pool still tells about itself.
      return ask(found, context, true).catch((second) => unopened(found, second));
    }
    return unopened(found, error);
  }
}

async function ask(found: FoundPool, context: Context, force: boolean): Promise<SurveyedPool> {
  const capacity = found.devices.find(({ mediaClass }) => mediaClass === 'capacity');
  const staging = found.devices.find(({ mediaClass }) => mediaClass === 'staging');
  if (capacity === undefined) {
    throw new MpoolError('ERR_MPOOL_NO_DEVICE', `capacity device of ${found.name}`);
  }
  const store = await context.store();
  const pool = await store.open(capacity.path, {
    readOnly: true,
    force,
    searchPlaces: context.places,
    stagingPath: staging?.path,
    signal: context.signal,
  });
  const info = await usePool(pool, (opened) => opened.info());
  return { found, active: undefined, info, health: info.health, note: noteOf(info) };
}

/** Of a pool that is not optimal, what is worst, and how much more there is. */
export function noteOf({ health, fault, problems }: PoolInfo): string | undefined {
  if (health === 'optimal') return undefined;
  const [worst] = problems;
  const more = problems.length > 1 ? `, and ${problems.length - 1} more` : '';
  return `${fault ?? worst?.message ?? health}${more}`;
}

function unopened(found: FoundPool, error: unknown): SurveyedPool {
  const note = describeFailure(error, found.name).text;
  let health: Health = 'faulted';
  if (isMpoolError(error, 'ERR_MPOOL_BUSY')) health = 'busy';
  else if (isMpoolError(error, 'ERR_MPOOL_ACCESS')) health = 'offline';
  else if (!isMpoolError(error)) throw error;
  return { found, active: undefined, health, info: undefined, note };
}
