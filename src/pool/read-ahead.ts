import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import type { MpoolError } from '../base/errors.ts';
import { MIB, PAGE_BYTES, roundDown, roundUp } from '../base/units.ts';
import type { Device } from '../device/device.ts';

/** One read: large enough that the device, not the call, is the cost. */
const READ_BYTES = MIB;

/**
 * A range of a device in order, with the next read under way while this one is looked at.
 *
 *   buffer:  [ carry room | bytes of one read ]
 *
 * Invariants
 * 1. What advance() made available is contiguous in `bytes`, whichever reads it came by: what is
 *    left over of one buffer is copied into the carry room before the bytes of the next.
 * 2. It goes forward only, and at most two buffers exist.
 * 3. No buffer is released while a read may still fill it.
 */
export class ReadAhead {
  readonly #device: Device;
  readonly #baseBytes: number;
  readonly #endBytes: number;
  readonly #carryBytes: number;
  readonly #readBytes: number;
  #nextReadBytes: number;
  #current: Slot | null = null;
  /** Under way or done but not yet looked at, in order: one, or two before the first turn. */
  readonly #reading: Slot[] = [];

  /**
   * @param range of offsets on the device, taken to whole pages; bytes are then named by their
   *   offset from `baseBytes`
   * @param contiguousBytesMax the largest piece that will be asked for
   */
  constructor(
    device: Device,
    range: { baseBytes: number; fromBytes: number; endBytes: number; contiguousBytesMax: number },
  ) {
    this.#device = device;
    this.#baseBytes = range.baseBytes;
    this.#endBytes = roundUp(range.endBytes, PAGE_BYTES);
    this.#nextReadBytes = roundDown(range.fromBytes, PAGE_BYTES);
    const totalBytes = Math.max(0, this.#endBytes - this.#nextReadBytes);
    this.#readBytes = Math.min(READ_BYTES, totalBytes);
    this.#carryBytes =
      totalBytes > this.#readBytes ? roundUp(range.contiguousBytesMax, PAGE_BYTES) : 0;
  }

  /** Where indexOf() points into. Valid until the next advance() or close(). */
  get bytes(): Uint8Array {
    return this.#slot.bytes;
  }

  get view(): DataView {
    return this.#slot.view;
  }

  /** Index in `bytes` of an offset when so many bytes from there are at hand, else -1. */
  indexOf(offsetBytes: number, lengthBytes: number): number {
    const slot = this.#current;
    if (slot === null || offsetBytes + lengthBytes > slot.fromBytes + slot.lengthBytes) return -1;
    const index = this.#carryBytes + offsetBytes - slot.fromBytes;
    assert(index >= slot.startIndex, 'read-ahead goes forward only');
    return index;
  }

  /**
   * Makes the bytes available: indexOf() then finds them.
   * @returns false when the range ends before
   * @throws ERR_MPOOL_IO when the device cannot read them
   */
  async advance(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    if (offsetBytes + lengthBytes > this.#endBytes) return false;
    while (this.indexOf(offsetBytes, lengthBytes) < 0) {
      // oxlint-disable-next-line no-await-in-loop -- each turn needs the buffer before
      await this.#turn(offsetBytes);
    }
    return true;
  }

  /** Waits for reads under way and gives the memory back. Idempotent. */
  async close(): Promise<void> {
    const slots = this.#reading.splice(0);
    if (this.#current !== null) slots.push(this.#current);
    this.#current = null;
    for (const slot of slots) {
      // oxlint-disable-next-line no-await-in-loop -- two at most
      await settled(slot);
      this.#device.release(slot.bytes);
    }
  }

  get #slot(): Slot {
    assert(this.#current !== null, 'advance() comes first');
    return this.#current;
  }

  /** Takes the next buffer as the current one, and starts a read into the one before. */
  async #turn(offsetBytes: number): Promise<void> {
    const previous = this.#current;
    if (previous === null && this.#reading.length === 0) {
      this.#start(undefined);
      this.#start(undefined);
    }
    const next = this.#reading[0];
    assert(next !== undefined, 'the range has an end, and it is not passed');
    await settled(next);
    if (next.error !== null) throw next.error;
    this.#reading.shift();
    this.#current = next;
    if (previous === null) return;
    const keptEnd = this.#carryBytes + previous.lengthBytes;
    const keptBytes = Math.max(0, previous.fromBytes + previous.lengthBytes - offsetBytes);
    assert(keptBytes <= this.#carryBytes, 'no piece is larger than was said');
    next.startIndex = this.#carryBytes - keptBytes;
    next.bytes.set(previous.bytes.subarray(keptEnd - keptBytes, keptEnd), next.startIndex);
    this.#start(previous.bytes);
  }

  /** Starts the next read, if there is one, into `used` or a new buffer; else gives `used` back. */
  #start(used: Uint8Array | undefined): void {
    const fromBytes = this.#nextReadBytes;
    const lengthBytes = Math.min(this.#readBytes, this.#endBytes - fromBytes);
    if (lengthBytes <= 0) {
      if (used !== undefined) this.#device.release(used);
      return;
    }
    const buffer = used ?? this.#device.allocate(this.#carryBytes + this.#readBytes);
    this.#nextReadBytes = fromBytes + lengthBytes;
    const slot: Slot = {
      bytes: buffer,
      view: viewOf(buffer),
      fromBytes,
      lengthBytes,
      startIndex: this.#carryBytes,
      done: false,
      error: null,
      resume: null,
    };
    this.#reading.push(slot);
    const into = buffer.subarray(this.#carryBytes, this.#carryBytes + lengthBytes);
    this.#device.read(this.#baseBytes + fromBytes, into, (error) => {
      slot.done = true;
      slot.error = error;
      slot.resume?.();
    });
  }
}

interface Slot {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Offset of what the read brings, and how much. */
  readonly fromBytes: number;
  readonly lengthBytes: number;
  /** Where the valid bytes begin, what was carried over included. */
  startIndex: number;
  done: boolean;
  error: MpoolError | null;
  resume: (() => void) | null;
}

function settled(slot: Slot): Promise<void> {
  return new Promise((resolve) => {
    if (slot.done) resolve();
    else slot.resume = resolve;
  });
}
