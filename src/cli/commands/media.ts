import type { DeviceInfo, MediaClassOptions } from '../../pool/api.ts';
import { MpoolError } from '../../base/errors.ts';
import { GIB } from '../../base/units.ts';
import { formatSize } from '../sizes.ts';
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

/**
 * 'capacity a.pool (a new file), 4.00g in mblocks of 32m': of a dry run, in which no file was made.
 * @param path as the user named it
 */
export async function describeDevice(info: DeviceInfo, path: string): Promise<string> {
  const { mediaClass, sizeBytes, mblockSizeBytes } = info;
  const made = (await pathExists(path)) ? '' : ' (a new file)';
  const sizes = `${formatSize(sizeBytes)} in mblocks of ${formatSize(mblockSizeBytes)}`;
  return `${mediaClass} ${path}${made}, ${sizes}`;
}
