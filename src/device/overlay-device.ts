/** A device that is read as it is and written only in memory; or one that is in memory only. */
import { constants } from 'node:os';
import { assert } from '../base/assert.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Device, Done, Durability } from './device.ts';
import { ioError } from './io-error.ts';
import type { Overlay } from './overlay.ts';

export class OverlayDevice implements Device {
  readonly path: string;
  readonly kind: Device['kind'];
  readonly engine: string;
  readonly readOnly: boolean;
  readonly sectorBytes: number;
  readonly optimalWriteBytes: number;
  readonly #overlay: Overlay;
  /** Undefined: nothing is below, and what was not written is zero. */
  readonly #below: Device | undefined;
  #closed = false;

  constructor(path: string, access: 'read' | 'write', overlay: Overlay, below?: Device) {
    this.path = path;
    this.kind = below?.kind ?? 'file';
    this.engine = below?.engine ?? 'memory';
    this.readOnly = access === 'read';
    this.sectorBytes = below?.sectorBytes ?? PAGE_BYTES;
    this.optimalWriteBytes = below?.optimalWriteBytes ?? PAGE_BYTES;
    this.#overlay = overlay;
    this.#below = below;
  }

  get sizeBytes(): number {
    return Math.max(this.#below?.sizeBytes ?? 0, this.#overlay.sizeBytes);
  }

  allocate(lengthBytes: number): Uint8Array {
    return this.#below?.allocate(lengthBytes) ?? new Uint8Array(lengthBytes);
  }

  release(buffer: Uint8Array): void {
    this.#below?.release(buffer);
  }

  canUse(buffer: Uint8Array): boolean {
    return this.#below?.canUse(buffer) ?? buffer.length % this.sectorBytes === 0;
  }

  read(offsetBytes: number, buffer: Uint8Array, done: Done): void {
    if (!this.#mayStart(offsetBytes, buffer.length, 'read', done)) return;
    const below = this.#below;
    const room = (below?.sizeBytes ?? 0) - offsetBytes;
    const belowBytes = Math.min(buffer.length, Math.max(0, room));
    const finish: Done = (error) => {
      if (error === null) this.#overlay.cover(offsetBytes, buffer);
      done(error);
    };
    buffer.fill(0, belowBytes);
    if (below === undefined || belowBytes === 0) process.nextTick(finish, null);
    else below.read(offsetBytes, buffer.subarray(0, belowBytes), finish);
  }

  write(offsetBytes: number, buffer: Uint8Array, _durability: Durability, done: Done): void {
    if (this.#refusesWrite(done)) return;
    if (!this.#mayStart(offsetBytes, buffer.length, 'write', done)) return;
    this.#overlay.write(offsetBytes, buffer);
    process.nextTick(done, null);
  }

  flush(done: Done): void {
    if (!this.#refusesClosed(done)) process.nextTick(done, null);
  }

  /** What is discarded may hold anything: here, what it held. */
  discard(_offsetBytes: number, _lengthBytes: number, done: Done): void {
    if (!this.#refusesWrite(done)) process.nextTick(done, null);
  }

  async refreshSize(): Promise<number> {
    await this.#below?.refreshSize();
    return this.sizeBytes;
  }

  /** The page cache has what is below, not what was written here. */
  map(): Promise<never> {
    const { path } = this;
    const error = new MpoolError('ERR_MPOOL_PERMISSION', `${path}: map in a dry run`, { path });
    return Promise.reject(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#below?.close();
  }

  #refusesClosed(done: Done): boolean {
    if (!this.#closed) return false;
    process.nextTick(done, new MpoolError('ERR_MPOOL_CLOSED', this.path));
    return true;
  }

  #refusesWrite(done: Done): boolean {
    if (this.#refusesClosed(done)) return true;
    if (!this.readOnly) return false;
    process.nextTick(done, new MpoolError('ERR_MPOOL_READ_ONLY', this.path));
    return true;
  }

  #mayStart(offsetBytes: number, lengthBytes: number, syscall: string, done: Done): boolean {
    const { sectorBytes, sizeBytes, path } = this;
    const whole = offsetBytes % sectorBytes === 0 && lengthBytes % sectorBytes === 0;
    assert(whole, `${path}: offset ${offsetBytes} and length ${lengthBytes} are whole sectors`);
    if (this.#refusesClosed(done)) return false;
    if (offsetBytes + lengthBytes <= sizeBytes) return true;
    const note = `${offsetBytes} + ${lengthBytes} is past the end, ${sizeBytes}`;
    process.nextTick(done, ioError(-constants.errno.EIO, syscall, path, note));
    return false;
  }
}
