import type { Device, Durability } from '../device/device.ts';
import {
  CHUNK_HEADER_BYTES,
  chunkWord,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
} from '../format/log-frame.ts';

/** A frame on its way to the device. */
export interface SealedFrame {
  /** As allocated; `bytes` is the part that is written. */
  buffer: Uint8Array;
  bytes: Uint8Array;
  readonly offsetBytes: number;
  readonly sequence: number;
  readonly durability: Durability;
  written: boolean;
}

/** The frame of a log that is being filled: memory of the device, as much as it needs. */
export class OpenFrame {
  readonly #device: Device;
  #buffer: Uint8Array | null = null;
  /** Header and chunks; 0 when no frame was begun. */
  usedBytes = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  begin(): void {
    this.usedBytes = FRAME_HEADER_BYTES;
  }

  /** What can be put without more memory. */
  get spareBytes(): number {
    return this.#buffer === null ? 0 : this.#buffer.length - this.usedBytes;
  }

  /** Begins a frame if there is none. There must be room: FRAME_BYTES_MAX in all. */
  put(kind: number, bytes: Uint8Array): void {
    const at = this.usedBytes === 0 ? FRAME_HEADER_BYTES : this.usedBytes;
    const end = at + CHUNK_HEADER_BYTES + bytes.length;
    if (this.#buffer === null || end > this.#buffer.length) this.#grow(end);
    const buffer = this.#buffer!;
    const head = chunkWord(kind, bytes.length);
    buffer[at] = head;
    buffer[at + 1] = head >>> 8;
    buffer[at + 2] = head >>> 16;
    buffer[at + 3] = head >>> 24;
    buffer.set(bytes, at + CHUNK_HEADER_BYTES);
    this.usedBytes = end;
  }

  /** Its memory, which is the caller's from now on; the next frame gets other. */
  take(): Uint8Array {
    if (this.#buffer === null) this.#grow(this.usedBytes);
    const buffer = this.#buffer!;
    this.#buffer = null;
    this.usedBytes = 0;
    return buffer;
  }

  /** Forgets what it holds. */
  release(): void {
    if (this.#buffer !== null) this.#device.release(this.#buffer);
    this.#buffer = null;
    this.usedBytes = 0;
  }

  #grow(neededBytes: number): void {
    const size = neededBytes > SMALL_BUFFER_BYTES ? FRAME_BYTES_MAX : SMALL_BUFFER_BYTES;
    const larger = this.#device.allocate(size);
    if (this.#buffer !== null) {
      larger.set(this.#buffer.subarray(0, this.usedBytes));
      this.#device.release(this.#buffer);
    }
    this.#buffer = larger;
  }
}

/** Most synchronous appends are small; only bulk needs a whole frame of memory. */
const SMALL_BUFFER_BYTES = 16 * 1024;
