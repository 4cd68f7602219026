import type { MediaClassOptions } from '../../pool/api.ts';
import { MpoolError } from '../../base/errors.ts';
import { GIB } from '../../base/units.ts';
import { pathExists } from '../system.ts';

/** What a file gets when nothing else is said: sparse, so that it costs only what is written. */
const FILE_SIZE_DEFAULT_BYTES = 4 * GIB;

/**
 * A device of a pool to be. A path where nothing is becomes a file, but never under /dev: there it
 * is a device that is missing or misspelt.
 */
export async function mediaClassOptions(
  path: string,
  sizes: { sizeBytes: number | undefined; mblockSizeBytes: number | undefined },
  discard: boolean,
): Promise<MediaClassOptions> {
  const { mblockSizeBytes } = sizes;
  let { sizeBytes } = sizes;
  if (!(await pathExists(path))) {
    if (path.startsWith('/dev/') && !path.startsWith('/dev/shm/')) {
      throw new MpoolError('ERR_MPOOL_NOT_FOUND', path, { path });
    }
    sizeBytes ??= FILE_SIZE_DEFAULT_BYTES;
  }
  return { path, sizeBytes, mblockSizeBytes, discard };
}
