import { close, constants as flags, open as openCallback, readFile } from 'node:fs';
import { promisify } from 'node:util';
import { claim } from './claim.ts';

const open = promisify(openCallback);
const closeDescriptor = promisify(close);
const read = promisify(readFile);

/**
 * A loop device is its file by another name: whoever has the one must not give the other away. Claims the
 * file too, as far as it can be seen from here.
 * @param device the device number of the block device
 * @returns a descriptor that holds the claim, or undefined when there is no such file
 * @throws ERR_MPOOL_BUSY naming who has the file
 */
export async function claimBackingFile(
  device: number,
  access: 'read' | 'write',
): Promise<number | undefined> {
  const major = ((device / 2 ** 8) & 0xfff) | 0;
  const minor = (device & 0xff) | ((device / 2 ** 12) & 0xfff00);
  const path = await backingFileOf(`/sys/dev/block/${major}:${minor}`);
  if (path === undefined) return undefined;
  let fd: number;
  try {
    fd = await open(path, flags.O_RDONLY);
  } catch {
    // Unlinked, not ours to read, or in another mount namespace: nobody can name it from here.
    return undefined;
  }
  try {
    await claim(fd, path, access);
    return fd;
  } catch (error) {
    await closeDescriptor(fd);
    throw error;
  }
}

/** Of the loop device, or of the one that a partition is on. */
async function backingFileOf(device: string): Promise<string | undefined> {
  for (const place of [`${device}/loop/backing_file`, `${device}/../loop/backing_file`]) {
    const path = await read(place, 'utf8').catch(() => undefined);
    if (path !== undefined) return path.replace(/\n$/, '');
  }
  return undefined;
}
