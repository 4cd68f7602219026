import { basename } from 'node:path';
import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { Daemon, type DaemonOptions } from './daemon.ts';

/**
 * The first daemon of these directories that there is.
 * @throws ERR_MPOOL_NOT_FOUND when none listens
 */
export async function findDaemon(
  rundirs: readonly string[],
  options: Omit<DaemonOptions, 'rundir'>,
  signal?: AbortSignal,
): Promise<Daemon> {
  let refusal: unknown;
  for (const rundir of rundirs) {
    try {
      return await Daemon.connect({ ...options, rundir }, signal);
    } catch (error) {
      if (!isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) throw error;
      refusal ??= error;
    }
  }
  throw refusal ?? new MpoolError('ERR_MPOOL_NOT_FOUND', 'no directory of a daemon');
}

/** What a daemon shows this program as, unless it says something else. */
export function programName(): string {
  return basename(process.argv[1] ?? process.title);
}
