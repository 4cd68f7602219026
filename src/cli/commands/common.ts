/** What many verbs need: a pool found, opened and closed. */
import { MpoolError } from '../../base/errors.ts';
import type { FoundPool, OpenOptions, Pool, PoolInfo } from '../../pool/api.ts';
import type { Call, Context, Positional } from '../command.ts';
import { describeFailure } from '../failure.ts';
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

/** The same for a pool that is open. */
export async function usePool<T>(pool: Pool, body: (pool: Pool) => Promise<T>): Promise<T> {
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
  if ((await pathExists(word)) && !(await isDirectory(word))) {
    const path = (await realPath(word)) ?? word;
    await withPool(context, path, { readOnly: true }, async () => undefined).catch(
      (error: unknown) => (why = error),
    );
    checkInterrupt(context);
  }
  return describeFailure(why, word).text ?? '';
}

/**
 * Pools that the words name, or all when there are none. A word that is a path is looked at even
 * when it is not among the places.
 */
export async function findPools(
  call: Call,
  context: Context,
): Promise<{ found: FoundPool[]; missing: string[] }> {
  const store = await context.store();
  const paths = await Promise.all(call.words.map(realPath));
  const places = [...context.places, ...paths.filter((path) => path !== undefined)];
  const all = await store.scan({ places, blockDevices: true });
  if (call.words.length === 0) return { found: all, missing: [] };
  const found = new Set<FoundPool>();
  const missing: string[] = [];
  for (const [i, word] of call.words.entries()) {
    const hits = all.filter(
      (pool) =>
        pool.name === word ||
        pool.uuid === word.toLowerCase() ||
        pool.devices.some(({ path }) => path === paths[i]),
    );
    if (hits.length === 0) missing.push(word);
    for (const hit of hits) found.add(hit);
  }
  return { found: [...found], missing };
}
