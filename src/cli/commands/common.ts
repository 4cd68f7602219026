/** What many verbs need: a pool found, opened and closed. */
import { isMpoolError, MpoolError } from '../../base/errors.ts';
import type { FoundPool, OpenOptions, Pool, PoolInfo } from '../../pool/api.ts';
import type { ActivePool } from '../active-pools.ts';
import type { Context, Positional } from '../command.ts';
import { describeFailure } from '../failure.ts';
import type { ManagedPool } from '../managed-pool.ts';
import { isDirectory, pathExists, realPath } from '../system.ts';
import { printMdcId } from './ids.ts';

export const POOL: Positional = {
  name: 'POOL',
  candidates: 'pool',
  meaning:
    "path of the pool's device or file, its name, or its UUID. A word with / is a path (./mp1); a " +
    'bare word is first a file of that name that holds a pool, then a pool of that name. Names ' +
    'are looked for in the files of the current directory and on block devices; $MPOOL_PATH, ' +
    'when set, says which files and directories instead of the current one',
};

/** For the help of verbs that take several pools. */
export const ALL_THAT_FIT =
  'A bare word that is the file of one pool and the name of another stands for both here.';

/** For the help of verbs whose table has columns to choose. */
export const JSON_IS_WHOLE =
  'Columns are chosen of the table only: JSON and YAML are always whole, in the order of --sort. A ' +
  "value that is not known is '-', and sorted last.";

/** Opens, hands over, and closes whatever happens; uncommitted objects are aborted. */
export async function withPool<T>(
  context: Context,
  target: string,
  options: OpenOptions,
  body: (pool: Pool) => Promise<T>,
): Promise<T> {
  const store = await context.store();
  const pool = await store.open(target, {
    searchPlaces: context.places,
    signal: context.signal,
    ...options,
  });
  return usePool(pool, body);
}

/** The same for what is done to the pool itself. */
export async function withManaged<T>(
  context: Context,
  target: string,
  body: (pool: ManagedPool) => Promise<T>,
): Promise<T> {
  const store = await context.store();
  const options = { searchPlaces: context.places, signal: context.signal };
  return usePool(await store.manage(target, options), body);
}

/** The same for a pool that is open. */
export async function usePool<P extends Pick<Pool, 'close'>, T>(
  pool: P,
  body: (pool: P) => Promise<T>,
): Promise<T> {
  let result: T;
  try {
    result = await body(pool);
  } catch (error) {
    // The first error is the one to tell: closing a failed pool may well fail too.
    await pool.close({ force: true }).catch(() => undefined);
    throw error;
  }
  await pool.close({ force: true });
  return result;
}

/** @throws AbortError after Ctrl-C */
export function checkInterrupt(context: Context): void {
  context.signal.throwIfAborted();
}

/** A pool as --json tells of it: whether this very call may write is not its property. */
export function poolJson(info: PoolInfo): object {
  const { readOnly: _, rootMdc, ...rest } = info;
  return { ...rest, rootMdc: printMdcId(rootMdc) };
}

/** Leaves out what was not given: optional properties are absent, never undefined. */
export function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/**
 * Why a word stands for no pool that was found, 'what: why (ERRNO)': what is at a path may be a pool
 * that cannot be read.
 */
export async function whyMissing(word: string, context: Context): Promise<string> {
  let why: unknown = new MpoolError('ERR_MPOOL_NOT_FOUND', `mpool ${word}`);
  const isFile = (await pathExists(word)) && !(await isDirectory(word));
  const path = isFile ? ((await realPath(word)) ?? word) : word;
  await withPool(context, path, { readOnly: true }, async () => undefined).catch(
    (error: unknown) => {
      if (isFile || isMpoolError(error, 'ERR_MPOOL_VERSION')) why = error;
    },
  );
  checkInterrupt(context);
  return describeFailure(why, word).text ?? '';
}

/** A pool that was found on media, or of which a daemon told. */
export interface KnownPool {
  readonly found: FoundPool;
  /** As the daemon has it that it is active in. */
  readonly active: ActivePool | undefined;
}

/**
 * All pools in the places and in the daemons, by name. The media of an active pool need not be among the
 * places, nor be readable for this user.
 */
export async function knownPools(
  context: Context,
  where: { places: readonly string[]; blockDevices: boolean },
): Promise<KnownPool[]> {
  const store = await context.store();
  const [found, active] = await Promise.all([store.scan(where), store.active()]);
  const activeOn = ({ devices }: FoundPool): ActivePool | undefined =>
    active.find(({ info }) =>
      info.devices.some(({ path }) => devices.some((device) => device.path === path)),
    );
  const known: KnownPool[] = found.map((pool) => ({ found: pool, active: activeOn(pool) }));
  for (const each of active) {
    if (known.some((pool) => pool.active === each)) continue;
    known.push({ found: foundOf(each), active: each });
  }
  return known.toSorted((a, b) => compareText(a.found.name, b.found.name));
}

/** What a scan would have told of it. */
function foundOf({ info }: ActivePool): FoundPool {
  const { name, uuid, formatVersion } = info;
  const devices = info.devices.map(({ path, mediaClass, sizeBytes }) => {
    return { path, mediaClass, sizeBytes };
  });
  const complete = info.devices.every(({ status }) => status !== 'missing');
  return { name, uuid, formatVersion, devices, complete };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Pools that the words name, or all when there are none. A word that is a path is looked at even
 * when it is not among the places.
 */
export async function findPools(
  words: readonly string[],
  context: Context,
): Promise<{ found: KnownPool[]; missing: string[] }> {
  const paths = await Promise.all(words.map(realPath));
  const places = [...context.places, ...paths.filter((path) => path !== undefined)];
  const all = await knownPools(context, { places, blockDevices: true });
  if (words.length === 0) return { found: all, missing: [] };
  const hits = new Set<KnownPool>();
  const missing: string[] = [];
  for (const [i, word] of words.entries()) {
    const fitting = all.filter(
      ({ found }) =>
        found.name === word ||
        found.uuid === word.toLowerCase() ||
        found.devices.some(({ path }) => path === paths[i]),
    );
    if (fitting.length === 0) missing.push(word);
    for (const pool of fitting) hits.add(pool);
  }
  return { found: [...hits], missing };
}
