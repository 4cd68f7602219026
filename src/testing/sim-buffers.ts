import { constants } from 'node:os';
import { assert } from '../base/assert.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, roundUp } from '../base/units.ts';

/** What fresh and released memory holds: nothing anyone may count on. */
const FRESH = 0xa5;
const RELEASED = 0xdb;

interface Allocation {
  live: boolean;
  /** Operations that borrow it now. */
  borrowed: number;
}

/**
 * Buffers of simulated devices, strict where real ones are forgiving: released memory is poisoned and
 * never handed out again, so that a use after release reads 0xdb or is refused.
 */
export class SimBuffers {
  readonly #allocations = new WeakMap<ArrayBufferLike, Allocation>();
  #liveCount = 0;
  #untilFailure = Infinity;
  #failures = 0;

  /** Allocated and not released yet: for leak tests. */
  get liveCount(): number {
    return this.#liveCount;
  }

  /** The how-manieth allocation from now on fails, and so many. */
  failAfter(nth: number, times: number): void {
    this.#untilFailure = nth;
    this.#failures = times;
  }

  /** How many of those did not come yet. */
  get failuresLeft(): number {
    return this.#failures;
  }

  /** @throws ERR_MPOOL_IO, ENOMEM, when told to */
  allocate(lengthBytes: number): Uint8Array {
    this.#untilFailure -= 1;
    if (this.#untilFailure <= 0 && this.#failures > 0) {
      this.#failures -= 1;
      throw new MpoolError('ERR_MPOOL_IO', `no memory for a buffer of ${lengthBytes} bytes`, {
        errno: -constants.errno.ENOMEM,
        syscall: 'mmap',
      });
    }
    const capacity = Math.max(PAGE_BYTES, roundUp(lengthBytes, PAGE_BYTES));
    const buffer = new Uint8Array(capacity).fill(FRESH).buffer;
    this.#allocations.set(buffer, { live: true, borrowed: 0 });
    this.#liveCount++;
    return new Uint8Array(buffer, 0, lengthBytes);
  }

  release(view: Uint8Array): void {
    const allocation = this.#allocations.get(view.buffer);
    assert(allocation !== undefined, 'only memory of allocate() is released');
    assert(allocation.live, 'memory is released once');
    assert(allocation.borrowed === 0, 'no I/O uses memory that is released');
    allocation.live = false;
    this.#liveCount--;
    new Uint8Array(view.buffer).fill(RELEASED);
  }

  canUse(view: Uint8Array, alignment: number): boolean {
    const allocation = this.#allocations.get(view.buffer);
    return allocation?.live === true && view.byteOffset % alignment === 0;
  }

  borrow(view: Uint8Array): void {
    this.#allocations.get(view.buffer)!.borrowed++;
  }

  giveBack(view: Uint8Array): void {
    this.#allocations.get(view.buffer)!.borrowed--;
  }
}
