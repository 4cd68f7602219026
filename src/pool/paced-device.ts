import { assert } from '../base/assert.ts';
import type { MpoolError } from '../base/errors.ts';
import type { DeviceMapping } from '../device/device-mapping.ts';
import type { Device, Done } from '../device/device.ts';
import type { Pace } from './pace.ts';

/** A device for reading only, at a bounded rate: reads wait for their turn. */
export class PacedDevice implements Device {
  readonly #below: Device;
  readonly #pace: Pace;

  constructor(below: Device, pace: Pace) {
    this.#below = below;
    this.#pace = pace;
  }

  get path(): string {
    return this.#below.path;
  }
  get kind(): Device['kind'] {
    return this.#below.kind;
  }
  get engine(): string {
    return this.#below.engine;
  }
  get readOnly(): boolean {
    return true;
  }
  get sectorBytes(): number {
    return this.#below.sectorBytes;
  }
  get optimalWriteBytes(): number {
    return this.#below.optimalWriteBytes;
  }
  get sizeBytes(): number {
    return this.#below.sizeBytes;
  }

  allocate(lengthBytes: number): Uint8Array {
    return this.#below.allocate(lengthBytes);
  }
  release(buffer: Uint8Array): void {
    this.#below.release(buffer);
  }
  canUse(buffer: Uint8Array): boolean {
    return this.#below.canUse(buffer);
  }

  read(offsetBytes: number, buffer: Uint8Array, done: Done): void {
    this.#pace.take(buffer.length).then(
      () => this.#below.read(offsetBytes, buffer, done),
      (error: MpoolError) => done(error),
    );
  }

  write(): void {
    this.#refuse();
  }
  flush(): void {
    this.#refuse();
  }
  discard(): void {
    this.#refuse();
  }
  refreshSize(): Promise<number> {
    return this.#refuse();
  }
  map(): Promise<DeviceMapping> {
    return this.#refuse();
  }
  close(): Promise<void> {
    return this.#refuse();
  }

  #refuse(): never {
    assert(false, 'it is only read by this way');
  }
}
