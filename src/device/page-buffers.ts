/**
 * Memory for direct I/O: aligned, huge-page-backed slabs that are carved into blocks and reused.
 * (A view that is reused costs 70 ns, a new external buffer 5.7 µs; fresh 4 KiB pages halve the
 * bandwidth of large direct I/O.)
 *
 * Invariants
 *  1. A slab holds blocks of one class; a large buffer has a slab of its own.
 *  2. A block is in its slab's free list or handed out, never both; a slab is among the open ones
 *     exactly while it has a free block.
 *  3. A slab is unmapped only when every block of it is free.
 *  4. Free slabs hold at most KEPT_BYTES_MAX, and nothing after IDLE_MS without use.
 *  5. A slab whose ArrayBuffer someone detached (structuredClone, transfer) is never used again and
 *     never unmapped: whoever took it may still look at it.
 */
import { assert } from '../base/assert.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { KIB, MIB, roundUp } from '../base/units.ts';
import { binding } from '../native/binding.ts';

const SLAB_BYTES = 2 * MIB;
const CLASSES_BYTES = [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1 * MIB];
const KEPT_BYTES_MAX = 128 * MIB;
const IDLE_MS = 10_000;

interface Slab {
  readonly buffer: ArrayBuffer;
  readonly address: number;
  readonly lengthBytes: number;
  readonly blockBytes: number;
  /** Whole-block views, made on first use. */
  readonly views: (Uint8Array | undefined)[];
  /** Indexes of free blocks, used as a stack. */
  readonly free: number[];
  readonly taken: Uint8Array;
  /** When the last block came back; meaningless while any is out. */
  freeSinceMs: number;
}

/** What a pool of buffers holds, in bytes. */
export interface BufferStats {
  mappedBytes: number;
  freeSlabBytes: number;
}

export class PageBuffers {
  readonly #slabs = new Map<ArrayBufferLike, Slab>();
  /** Slabs that have a free block, by block size. */
  readonly #open = new Map<number, Slab[]>();
  #mappedBytes = 0;
  #freeSlabBytes = 0;
  #trimTimer: NodeJS.Timeout | undefined;
  readonly #addressOut = new Float64Array(1);
  #lastBuffer: ArrayBufferLike | undefined;
  #lastAddress = 0;

  /** @returns a view exactly `lengthBytes` long, its start aligned to 4096; content unspecified */
  allocate(lengthBytes: number): Uint8Array {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0) {
      throw invalidArgument(`length ${lengthBytes} is not a number of bytes`);
    }
    const blockBytes =
      CLASSES_BYTES.find((size) => size >= lengthBytes) ?? roundUp(lengthBytes, SLAB_BYTES);
    const slab = this.#slabWithRoom(blockBytes);
    if (isFree(slab)) this.#freeSlabBytes -= slab.lengthBytes;
    const block = slab.free.pop()!;
    if (slab.free.length === 0) this.#open.get(blockBytes)!.pop();
    slab.taken[block] = 1;
    const view = (slab.views[block] ??= new Uint8Array(
      slab.buffer,
      block * blockBytes,
      blockBytes,
    ));
    return lengthBytes === blockBytes
      ? view
      : new Uint8Array(slab.buffer, block * blockBytes, lengthBytes);
  }

  /** Gives memory of allocate() back. */
  release(view: Uint8Array): void {
    const slab = this.#slabs.get(view.buffer);
    if (slab === undefined) {
      // Detached while it was out: invariant 5 leaves it to whoever has it.
      if (view.buffer.byteLength === 0) return;
      throw invalidArgument('release() takes memory of allocate()');
    }
    if (slab.buffer.byteLength === 0) return this.#forget(slab);
    const block = Math.floor(view.byteOffset / slab.blockBytes);
    assert(slab.taken[block] === 1, 'a buffer is released once');
    slab.taken[block] = 0;
    slab.free.push(block);
    if (slab.free.length === 1) this.#open.get(slab.blockBytes)!.push(slab);
    if (isFree(slab)) this.#slabFreed(slab);
  }

  /** Where the view's first byte lies; undefined for memory that is not of allocate(). */
  addressOf(view: Uint8Array): number | undefined {
    const { buffer } = view;
    if (buffer !== this.#lastBuffer) {
      const slab = this.#slabs.get(buffer);
      if (slab === undefined) return undefined;
      this.#lastBuffer = buffer;
      this.#lastAddress = slab.address;
    }
    return this.#lastAddress + view.byteOffset;
  }

  stats(): BufferStats {
    return { mappedBytes: this.#mappedBytes, freeSlabBytes: this.#freeSlabBytes };
  }

  /** Unmaps slabs that have been free for `idleMs`. */
  trim(idleMs: number): void {
    const nowMs = performance.now();
    for (const slab of this.#slabs.values()) {
      if (isFree(slab) && nowMs - slab.freeSinceMs >= idleMs) this.#unmap(slab);
    }
  }

  /** The last of the open slabs of that class, so that the others empty. */
  #slabWithRoom(blockBytes: number): Slab {
    let slabs = this.#open.get(blockBytes);
    if (slabs === undefined) this.#open.set(blockBytes, (slabs = []));
    for (let slab = slabs.at(-1); slab !== undefined; slab = slabs.at(-1)) {
      if (slab.buffer.byteLength > 0) return slab;
      this.#forget(slab);
    }
    const slab = this.#map(blockBytes);
    slabs.push(slab);
    return slab;
  }

  #map(blockBytes: number): Slab {
    const lengthBytes = Math.max(SLAB_BYTES, blockBytes);
    const buffer = binding.slabMap(lengthBytes, this.#addressOut);
    if (typeof buffer === 'number') {
      throw new MpoolError('ERR_MPOOL_IO', `no memory for a buffer of ${lengthBytes} bytes`, {
        errno: buffer,
        syscall: 'mmap',
      });
    }
    // Not marked as untransferable: current Node.js aborts when native code detaches such a buffer.
    const count = lengthBytes / blockBytes;
    const slab: Slab = {
      buffer,
      address: this.#addressOut[0]!,
      lengthBytes,
      blockBytes,
      views: Array.from({ length: count }),
      free: Array.from({ length: count }, (_, i) => count - 1 - i),
      taken: new Uint8Array(count),
      freeSinceMs: performance.now(),
    };
    this.#slabs.set(buffer, slab);
    this.#mappedBytes += lengthBytes;
    this.#freeSlabBytes += lengthBytes;
    return slab;
  }

  #slabFreed(slab: Slab): void {
    slab.freeSinceMs = performance.now();
    this.#freeSlabBytes += slab.lengthBytes;
    if (this.#freeSlabBytes > KEPT_BYTES_MAX) this.#unmap(slab);
    else this.#scheduleTrim();
  }

  #scheduleTrim(): void {
    if (this.#trimTimer !== undefined) return;
    this.#trimTimer = setTimeout(() => {
      this.#trimTimer = undefined;
      this.trim(IDLE_MS);
      if (this.#freeSlabBytes > 0) this.#scheduleTrim();
    }, IDLE_MS);
    this.#trimTimer.unref();
  }

  #unmap(slab: Slab): void {
    const detached = slab.buffer.byteLength === 0;
    this.#forget(slab);
    if (!detached) binding.slabUnmap(slab.address);
  }

  #forget(slab: Slab): void {
    if (isFree(slab)) this.#freeSlabBytes -= slab.lengthBytes;
    this.#mappedBytes -= slab.lengthBytes;
    this.#slabs.delete(slab.buffer);
    const open = this.#open.get(slab.blockBytes)!;
    const at = open.indexOf(slab);
    if (at >= 0) open.splice(at, 1);
    if (this.#lastBuffer === slab.buffer) this.#lastBuffer = undefined;
  }
}

function isFree(slab: Slab): boolean {
  return slab.free.length === slab.views.length;
}

/** The thread's one pool: slabs are shared by all its devices. */
export const pageBuffers = new PageBuffers();
