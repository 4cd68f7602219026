/**
 * Memory that a client fills and the daemon writes from: one memory file for each client that may write, in
 * slots of equal size. The client alone says which slots are free; the daemon believes no number that
 * comes with a request.
 *
 * A client may change a slot while the daemon reads it: what is checksummed must be a copy.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { assert } from '../base/assert.ts';
import { errnoName, invalidArgument, MpoolError } from '../base/errors.ts';
import { binding } from '../native/binding.ts';
import { connectionLost } from './channel.ts';
import { protocolError } from './wire.ts';

export const SLOT_BYTES = 2 ** 18;
export const SLOT_COUNT = 64;

export interface SlotSizes {
  slotBytes: number;
  slotCount: number;
}

/** A range of a request: the first bytes of a slot. */
export interface SlotRange {
  slot: number;
  lengthBytes: number;
}

class Mapping {
  readonly bytes: Uint8Array;
  readonly #address: number;

  constructor(fd: number, lengthBytes: number, access: 'read' | 'write') {
    const address = new Float64Array(1);
    const buffer = binding.mapShared(fd, lengthBytes, access === 'write' ? 1 : 0, address);
    if (typeof buffer === 'number') throw sharedError(buffer, 'mmap');
    this.bytes = new Uint8Array(buffer);
    this.#address = address[0]!;
  }

  close(): void {
    const result = binding.unmapShared(this.#address);
    assert(result === 0, 'memory is unmapped once');
  }
}

function sharedError(errno: number, syscall: string): MpoolError {
  const detail = `shared memory: ${syscall}: ${errnoName(errno)}`;
  return new MpoolError('ERR_MPOOL_LIMIT', detail, { errno, syscall });
}

/** The daemon's side. */
export class SharedMemory {
  readonly slotBytes: number;
  readonly slotCount: number;
  /** To be passed to the client; open until close(). */
  readonly fd: number;
  readonly #mapping: Mapping;
  #open = true;

  /** @throws ERR_MPOOL_LIMIT when there is no memory or no descriptor */
  constructor(
    { slotBytes, slotCount }: SlotSizes = { slotBytes: SLOT_BYTES, slotCount: SLOT_COUNT },
  ) {
    this.slotBytes = slotBytes;
    this.slotCount = slotCount;
    this.fd = binding.memoryFile(slotBytes * slotCount);
    if (this.fd < 0) throw sharedError(this.fd, 'memfd_create');
    try {
      this.#mapping = new Mapping(this.fd, slotBytes * slotCount, 'read');
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  /**
   * Views of what a request names, in its order. They change as the client likes, must not be written to,
   * and are of length 0 after close().
   * @throws ERR_MPOOL_PROTOCOL for anything but ranges within slots; ERR_MPOOL_CONNECTION_LOST once closed
   */
  views(slots: unknown): Uint8Array[] {
    if (!this.#open) throw connectionLost('the shared memory is gone');
    if (!Array.isArray(slots) || slots.length > this.slotCount) {
      throw protocolError('slots: not a list, or longer than there are slots');
    }
    return slots.map((each: unknown) => this.#view(each));
  }

  /** Another descriptor of it, which the caller closes. */
  openAgain(): number {
    return openSync(`/proc/self/fd/${this.fd}`, constants.O_RDWR);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#mapping.close();
    closeSync(this.fd);
  }

  #view(range: unknown): Uint8Array {
    if (typeof range !== 'object' || range === null) throw protocolError('slots: no range');
    const { slot, lengthBytes } = range as Partial<SlotRange>;
    if (!isIndex(slot, this.slotCount - 1) || !isIndex(lengthBytes, this.slotBytes)) {
      throw protocolError('slots: a range that is not within a slot');
    }
    const start = slot * this.slotBytes;
    return this.#mapping.bytes.subarray(start, start + lengthBytes);
  }
}

function isIndex(value: unknown, max: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

interface Waiter {
  count: number;
  resolve: (slots: number[]) => void;
  reject: (error: Error) => void;
}

/** The client's side: hands out slots, first come, first served. */
export class ClientSlots {
  readonly slotBytes: number;
  readonly slotCount: number;
  readonly #mapping: Mapping;
  readonly #free: number[];
  readonly #isFree: Uint8Array;
  readonly #waiters: Waiter[] = [];
  #open = true;

  /**
   * @param fd the daemon's memory file; it may be closed after this
   * @throws ERR_MPOOL_LIMIT when it cannot be mapped, or is not of a fixed length
   */
  constructor(fd: number, { slotBytes, slotCount }: SlotSizes) {
    this.slotBytes = slotBytes;
    this.slotCount = slotCount;
    this.#mapping = new Mapping(fd, slotBytes * slotCount, 'write');
    // The lowest numbers are handed out first, so that little memory is used where little is needed.
    this.#free = Array.from({ length: slotCount }, (_, i) => slotCount - 1 - i);
    this.#isFree = new Uint8Array(slotCount).fill(1);
  }

  get freeCount(): number {
    return this.#free.length;
  }

  /**
   * So many slots, all at once; whoever asked before has them first.
   * @throws ERR_MPOOL_CONNECTION_LOST when closed before; RangeError for more than there are
   */
  async take(count: number): Promise<number[]> {
    if (!Number.isSafeInteger(count) || count < 1 || count > this.slotCount) {
      throw invalidArgument(`1 to ${this.slotCount} slots can be taken, not ${count}`);
    }
    if (!this.#open) throw connectionLost('the shared memory is gone');
    if (this.#waiters.length === 0 && this.#free.length >= count) return this.#grant(count);
    return new Promise((resolve, reject) => this.#waiters.push({ count, resolve, reject }));
  }

  /** The memory of a slot, which the caller took. Of length 0 once closed. */
  bytes(slot: number): Uint8Array {
    assert(this.#isFree[slot] === 0, 'a slot is used by who took it');
    if (!this.#open) return new Uint8Array(0);
    const start = slot * this.slotBytes;
    return this.#mapping.bytes.subarray(start, start + this.slotBytes);
  }

  /** Once the daemon has answered the request that named them. */
  release(slots: readonly number[]): void {
    for (const slot of slots) {
      assert(this.#isFree[slot] === 0, 'a slot is released once, by who took it');
      this.#isFree[slot] = 1;
      this.#free.push(slot);
    }
    while (this.#open && this.#waiters.length > 0) {
      const { count, resolve } = this.#waiters[0]!;
      if (this.#free.length < count) return;
      this.#waiters.shift();
      resolve(this.#grant(count));
    }
  }

  /** Unmaps the memory: views of it have length 0 from now on. Whoever waits is rejected. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const { reject } of this.#waiters.splice(0)) {
      reject(connectionLost('the shared memory is gone'));
    }
    this.#mapping.close();
  }

  #grant(count: number): number[] {
    const slots = this.#free.splice(this.#free.length - count).toReversed();
    for (const slot of slots) this.#isFree[slot] = 0;
    return slots;
  }
}
