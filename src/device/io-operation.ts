import { constants } from 'node:os';
import { OP_DISCARD, OP_FSYNC, OP_PUNCH_HOLE, OP_READ, OP_WRITE } from '../native/binding.ts';
import type { Done } from './device.ts';
import type { IoEngine, IoRequest } from './io-engine.ts';
import { ioError } from './io-error.ts';
import { threadEngine } from './thread-engine.ts';

const { errno: E } = constants;
/** One entry moves at most so much (its length has 32 bits); the rest is asked for again. */
const LENGTH_BYTES_MAX = 2 ** 30;
const RETRY_COUNT_MAX = 10_000;
/** So many tries go back at once; later ones wait a little. */
const RETRY_AT_ONCE_COUNT = 16;
const RETRY_MS = 1;

/** One operation until it is over: short transfers continued, interrupted ones tried again. */
export class IoOperation implements IoRequest {
  readonly op: number;
  readonly fd: number;
  readonly flags: number;
  address: number;
  lengthBytes: number;
  offsetBytes: number;
  mayBlock = false;
  engine: IoEngine = threadEngine;
  path = '';
  /** Held so that the memory under I/O has an owner. */
  buffer: Uint8Array | undefined;
  done: Done = () => {};
  #leftBytes: number;
  #retryCount = 0;

  constructor(
    op: number,
    fd: number,
    address: number,
    lengthBytes: number,
    offsetBytes: number,
    flags: number,
  ) {
    this.op = op;
    this.fd = fd;
    this.address = address;
    this.offsetBytes = offsetBytes;
    this.flags = flags;
    this.#leftBytes = lengthBytes;
    this.lengthBytes = this.#transfers() ? Math.min(lengthBytes, LENGTH_BYTES_MAX) : lengthBytes;
  }

  complete(result: number): void {
    if (result === this.#leftBytes) this.done(null);
    else if (result < 0) this.#failed(result);
    else if (!this.#transfers()) this.done(null);
    else if (result === 0) this.done(this.#endReached());
    else this.#continue(result);
  }

  #transfers(): boolean {
    return this.op === OP_READ || this.op === OP_WRITE;
  }

  #continue(movedBytes: number): void {
    this.#leftBytes -= movedBytes;
    this.address += movedBytes;
    this.offsetBytes += movedBytes;
    this.lengthBytes = Math.min(this.#leftBytes, LENGTH_BYTES_MAX);
    this.engine.submit(this);
  }

  #failed(result: number): void {
    if (result === -E.EINTR || result === -E.EAGAIN) {
      if (this.#retryCount++ < RETRY_COUNT_MAX) return this.#retry();
    }
    // Before Linux 4.18 AIO has no flush; the thread pool always has.
    const unsupported = result === -E.EINVAL || result === -E.EOPNOTSUPP;
    if (unsupported && this.op === OP_FSYNC && this.engine !== threadEngine) {
      this.engine = threadEngine;
      return this.engine.submit(this);
    }
    this.done(ioError(result, nameOf(this.op), this.path));
  }

  #retry(): void {
    if (this.#retryCount <= RETRY_AT_ONCE_COUNT) this.engine.submit(this);
    else setTimeout(() => this.engine.submit(this), RETRY_MS);
  }

  /** A medium that shrank under us: the kernel moves nothing. */
  #endReached() {
    return ioError(-E.EIO, nameOf(this.op), this.path, `nothing at ${this.offsetBytes}`);
  }
}

function nameOf(op: number): string {
  if (op === OP_READ) return 'read';
  if (op === OP_WRITE) return 'write';
  if (op === OP_FSYNC) return 'fdatasync';
  return op === OP_DISCARD || op === OP_PUNCH_HOLE ? 'discard' : 'io';
}
