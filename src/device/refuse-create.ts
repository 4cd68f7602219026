import { constants as modes } from 'node:fs';
import { access, lstat } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, resolve } from 'node:path';
import { MpoolError } from '../base/errors.ts';
import { pathError, systemErrno } from './io-error.ts';

const { errno: E } = constants;

/**
 * Rejects as making a file at the path would, as far as that can be told without making it: something
 * is there, or its folder is missing, not ours to write in, or on a read-only file system.
 * @throws ERR_MPOOL_EXISTS, ERR_MPOOL_NOT_FOUND, ERR_MPOOL_ACCESS, ERR_MPOOL_READ_ONLY, ERR_MPOOL_IO
 */
export async function refuseCreate(path: string): Promise<void> {
  try {
    if (path.endsWith('/')) {
      throw Object.assign(new Error('a folder'), { errno: -E.EISDIR, syscall: 'open' });
    }
    // A link that leads nowhere is in the way of a new file too.
    if (await isThere(path)) throw new MpoolError('ERR_MPOOL_EXISTS', path, { path });
    // With the slash, what is no folder answers so.
    await access(`${dirname(resolve(path))}/`, modes.W_OK | modes.X_OK);
  } catch (error) {
    throw pathError(error, path);
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemErrno(error) === -E.ENOENT) return false;
    throw error;
  }
}
