import { constants } from 'node:os';

/**
 * Every operating error: its errno, and what a person reads. Sorted; docs/errors.md is made of it.
 * A code never changes its meaning. Only errnos that os.constants.errno knows.
 */
const TABLE = {
  ERR_MPOOL_ABORTED: ['ECANCELED', 'the operation was aborted'],
  ERR_MPOOL_ACCESS: ['EACCES', 'permission denied'],
  ERR_MPOOL_BUSY: ['EBUSY', 'in use'],
  ERR_MPOOL_CHECKSUM: ['EBADMSG', 'stored and computed checksums differ'],
  ERR_MPOOL_CLOSED: ['EBADF', 'the handle is closed'],
  ERR_MPOOL_COMMITTED: ['EALREADY', 'the object is committed, so it can no longer change'],
  ERR_MPOOL_COMPACTING: ['EMSGSIZE', 'the log holds a compaction that was never finished'],
  ERR_MPOOL_CONNECTION_LOST: [
    'ECONNRESET',
    'the connection to the daemon was lost, the outcome is unknown',
  ],
  ERR_MPOOL_CORRUPT: ['ENODATA', 'the content on media contradicts itself'],
  ERR_MPOOL_DEVICE_CHANGED: ['ENXIO', 'the device is not as the pool recorded it'],
  ERR_MPOOL_EXISTS: ['EEXIST', 'already exists'],
  ERR_MPOOL_FAILED: ['EIO', 'an earlier write or flush failed: close and reopen'],
  ERR_MPOOL_INVALID_ARG: ['EINVAL', 'invalid argument'],
  ERR_MPOOL_IO: ['EIO', 'the device failed'],
  ERR_MPOOL_LIMIT: ['ENFILE', 'a limit of the daemon was reached'],
  ERR_MPOOL_LOG_FULL: ['EFBIG', 'no room in the log: compact or erase it'],
  ERR_MPOOL_MAP_TOO_LARGE: ['E2BIG', 'the objects do not fit in one linear region'],
  ERR_MPOOL_NOT_BLANK: ['EBUSY', 'the device holds something: force to overwrite it'],
  ERR_MPOOL_NOT_FOUND: ['ENOENT', 'not found'],
  ERR_MPOOL_NO_DEVICE: ['ENODEV', 'the device of the media class is missing'],
  ERR_MPOOL_NO_SPACE: ['ENOSPC', 'no free space'],
  ERR_MPOOL_PERMISSION: ['EPERM', 'the operation is not permitted'],
  ERR_MPOOL_PROTOCOL: ['EPROTO', 'the other side does not keep to the protocol'],
  ERR_MPOOL_READ_ONLY: ['EROFS', 'opened read-only'],
  ERR_MPOOL_SKIP_MISMATCH: ['ERANGE', 'the record skipped is shorter than was said'],
  ERR_MPOOL_TOO_LARGE: ['EOVERFLOW', 'the record is larger than the buffer or the limit'],
  ERR_MPOOL_UNCOMMITTED: ['ENOENT', 'the object is not committed'],
  ERR_MPOOL_VERSION: ['ENOTSUP', 'written in a format that this version does not know'],
} as const satisfies Record<`ERR_MPOOL_${string}`, readonly [keyof typeof constants.errno, string]>;

export type ErrorCode = keyof typeof TABLE;

/** [code, errno name, meaning] of every error, sorted by code. */
export function errorTable(): [code: ErrorCode, errnoName: string, meaning: string][] {
  return Object.entries(TABLE).map(([code, [name, meaning]]) => [code as ErrorCode, name, meaning]);
}

export interface ErrorDetails {
  /** The underlying error: kept for ever as the first cause of a failed pool or object. */
  cause?: unknown;
  /** The system call that failed. */
  syscall?: string;
  /** The device or file it failed on. */
  path?: string;
  /** Overrides the table's errno, negative: what the kernel answered. */
  errno?: number;
}

const BRAND = Symbol.for('mpool.error');

/** An operating error. `code` never changes meaning; `message` may change in any release. */
export class MpoolError extends Error {
  override readonly name = 'MpoolError';
  readonly code: ErrorCode;
  /** Negative, as in Node's own system errors: -28 for ENOSPC. */
  readonly errno: number;
  declare readonly syscall?: string;
  declare readonly path?: string;

  constructor(code: ErrorCode, detail?: string, details: ErrorDetails = {}) {
    const meaning = TABLE[code][1];
    super(
      detail === undefined ? meaning : `${detail}: ${meaning}`,
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.code = code;
    this.errno = details.errno ?? -constants.errno[TABLE[code][0]];
    if (details.syscall !== undefined) this.syscall = details.syscall;
    if (details.path !== undefined) this.path = details.path;
  }

  get [BRAND](): true {
    return true;
  }

  /** Name of `errno`, as errno(3) spells it: 'ENOSPC'. */
  get errnoName(): string {
    return errnoName(this.errno);
  }
}

/** True for an MpoolError of any copy of this package; with `code`, only for that code. */
export function isMpoolError(error: unknown, code?: ErrorCode): error is MpoolError {
  if (typeof error !== 'object' || error === null || !(BRAND in error)) return false;
  return code === undefined || (error as MpoolError).code === code;
}

/** 'ENOSPC' of -28 or 28; 'E28' where the name is unknown. */
export function errnoName(errno: number): string {
  const positive = Math.abs(errno);
  const found = Object.entries(constants.errno).find(([, value]) => value === positive);
  return found?.[0] ?? `E${positive}`;
}

/** A bad argument: thrown before any I/O, always a RangeError or TypeError with this code. */
export function invalidArgument(message: string, kind: 'range' | 'type' = 'range'): Error {
  const error = kind === 'range' ? new RangeError(message) : new TypeError(message);
  return Object.assign(error, {
    code: 'ERR_MPOOL_INVALID_ARG' as const,
    errno: -constants.errno.EINVAL,
  });
}
