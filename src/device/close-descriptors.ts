import { close } from 'node:fs';
import { promisify } from 'node:util';
import { pathError } from './io-error.ts';

const closeDescriptor = promisify(close);

/**
 * Closes all of them, whatever comes of each: a descriptor, and its claim, is gone also when close(2) tells
 * of a failure, as it does when what serves the file is gone (FUSE, NFS).
 * @throws ERR_MPOOL_IO the first failure
 */
export async function closeDescriptors(
  descriptors: readonly (number | undefined)[],
  path: string,
): Promise<void> {
  const errors: unknown[] = [];
  for (const fd of descriptors) {
    if (fd !== undefined) await closeDescriptor(fd).catch((error: unknown) => errors.push(error));
  }
  if (errors.length > 0) throw pathError(errors[0], path);
}
