import { constants } from 'node:os';
import { errnoName, MpoolError } from '../base/errors.ts';
import type { ErrorCode } from '../base/errors.ts';

const { errno: E } = constants;

/** What the errno of an open, create or stat means; anything else is the device's failure. */
const PATH_CODES: Record<number, ErrorCode> = {
  [E.EACCES]: 'ERR_MPOOL_ACCESS',
  [E.EBUSY]: 'ERR_MPOOL_BUSY',
  [E.EDQUOT]: 'ERR_MPOOL_NO_SPACE',
  [E.EEXIST]: 'ERR_MPOOL_EXISTS',
  [E.ENOENT]: 'ERR_MPOOL_NOT_FOUND',
  [E.ENOSPC]: 'ERR_MPOOL_NO_SPACE',
  [E.ENOTDIR]: 'ERR_MPOOL_NOT_FOUND',
  [E.EPERM]: 'ERR_MPOOL_PERMISSION',
  [E.EROFS]: 'ERR_MPOOL_READ_ONLY',
};

/** The error of I/O on an open device. @param errno negative */
export function ioError(errno: number, syscall: string, path: string, note = ''): MpoolError {
  const full = errno === -E.ENOSPC || errno === -E.EDQUOT;
  return new MpoolError(
    full ? 'ERR_MPOOL_NO_SPACE' : 'ERR_MPOOL_IO',
    `${path}: ${syscall}: ${note === '' ? errnoName(errno) : note}`,
    { errno, syscall, path },
  );
}

/** The negative errno of an error of node:fs; 0 when it has none. */
export function systemErrno(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('errno' in error)) return 0;
  return typeof error.errno === 'number' ? error.errno : 0;
}

/** Turns an error of node:fs on a path into ours. */
export function pathError(error: unknown, path: string): MpoolError {
  if (error instanceof MpoolError) return error;
  const errno = systemErrno(error) || -E.EIO;
  const syscall =
    error instanceof Error && 'syscall' in error && typeof error.syscall === 'string'
      ? error.syscall
      : 'open';
  const code = PATH_CODES[-errno] ?? 'ERR_MPOOL_IO';
  const detail = code === 'ERR_MPOOL_IO' ? `${path}: ${syscall}: ${errnoName(errno)}` : path;
  return new MpoolError(code, detail, { errno, syscall, path, cause: error });
}
