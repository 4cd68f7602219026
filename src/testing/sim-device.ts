import { constants } from 'node:os';
import { equalBytes } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { MpoolError } from '../base/errors.ts';
import { below } from '../base/prng.ts';
import type { Prng } from '../base/prng.ts';
import type { Device, Done, Durability } from '../device/device.ts';
import { ioError } from '../device/io-error.ts';
import type { FaultEffect, OperationInfo } from './faults.ts';
import type { Action, Operations } from './operations.ts';
import type { SimBuffers } from './sim-buffers.ts';
import { pieceCountOf } from './sim-disk.ts';
import type { Change, SimDisk } from './sim-disk.ts';

/** What a device shares with its host. */
export interface DeviceContext {
  operations: Operations;
  buffers: SimBuffers;
  /** For effects: which sectors of a torn write land, what a discard leaves. */
  prng: Prng;
  discardLeaves: 'zeros' | 'anything';
  /** The store did something that no correct one does. */
  violation(message: string): void;
}

export interface SimDeviceOptions {
  path: string;
  disk: SimDisk;
  readOnly: boolean;
  context: DeviceContext;
  /** Lets the claim go. */
  onClose: () => void;
}

const { EBADF, EINVAL, EIO, ENODEV } = constants.errno;
const GARBAGE = 0xdd;

/**
 * A simulated device: strict about what a real one with direct I/O refuses or breaks on. Buffers must
 * be of allocate() and aligned, ranges whole sectors inside the device, a written buffer unchanged
 * until it is done, and no two changes of the same place in flight at once.
 */
export class SimDevice implements Device {
  readonly path: string;
  readonly kind = 'simulated';
  readonly engine = 'simulated';
  readonly readOnly: boolean;
  readonly sectorBytes: number;
  readonly optimalWriteBytes = 65_536;
  readonly #disk: SimDisk;
  readonly #context: DeviceContext;
  readonly #onClose: () => void;
  #sizeBytes: number;
  #inFlight = 0;
  #closing: Promise<void> | undefined;
  #whenIdle: (() => void) | undefined;

  constructor(options: SimDeviceOptions) {
    this.path = options.path;
    this.readOnly = options.readOnly;
    this.sectorBytes = options.disk.sectorBytes;
    this.#disk = options.disk;
    this.#context = options.context;
    this.#onClose = options.onClose;
    this.#sizeBytes = options.disk.sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  allocate(lengthBytes: number): Uint8Array {
    return this.#context.buffers.allocate(lengthBytes);
  }

  release(buffer: Uint8Array): void {
    this.#context.buffers.release(buffer);
  }

  canUse(buffer: Uint8Array): boolean {
    return this.#context.buffers.canUse(buffer, this.sectorBytes);
  }

  read(offsetBytes: number, buffer: Uint8Array, done: Done): void {
    const info = this.#info('read', offsetBytes, buffer.length);
    this.#start(buffer, {
      info,
      checksum: () => crc32c(buffer),
      begin: () => {},
      perform: (effect) => this.#performRead(info, buffer, effect),
      done,
    });
  }

  write(offsetBytes: number, buffer: Uint8Array, durability: Durability, done: Done): void {
    const info = { ...this.#info('write', offsetBytes, buffer.length), durability };
    const data = Uint8Array.from(buffer);
    const change = this.#change(info, { data, fill: undefined });
    this.#start(buffer, {
      info,
      checksum: () => crc32c(data),
      begin: () => this.#beginChange(change),
      perform: (effect) => this.#performWrite(change, durability, effect),
      done: (error) => {
        if (!equalBytes(data, buffer)) {
          this.#context.violation(`${print(info)}: the buffer changed while it was in flight`);
        }
        done(error);
      },
    });
  }

  flush(done: Done): void {
    const info = this.#info('flush', 0, 0);
    let captured: Change[] = [];
    this.#start(undefined, {
      info,
      checksum: () => 0,
      begin: () => (captured = this.#disk.captureUnstable()),
      perform: (effect) => {
        if (this.#disk.gone) return ioError(-ENODEV, 'fsync', this.path);
        if (effect?.kind === 'lost') return null;
        if (effect?.kind === 'error') {
          this.#disk.doom(captured);
          return this.#failure('fsync', effect);
        }
        this.#disk.makeStable(captured);
        return null;
      },
      done,
    });
  }

  discard(offsetBytes: number, lengthBytes: number, done: Done): void {
    const info = this.#info('discard', offsetBytes, lengthBytes);
    const { discardLeaves, prng } = this.#context;
    const fills = discardLeaves === 'zeros' ? [0] : [0, GARBAGE, undefined];
    const change = this.#change(info, { data: undefined, fill: fills[below(prng, fills.length)] });
    this.#start(undefined, {
      info,
      checksum: () => 0,
      begin: () => this.#beginChange(change),
      perform: (effect) => this.#performWrite(change, 'volatile', effect),
      done,
    });
  }

  async refreshSize(): Promise<number> {
    if (this.#closing !== undefined) throw new MpoolError('ERR_MPOOL_CLOSED', this.path);
    if (this.#disk.gone) throw ioError(-ENODEV, 'ioctl', this.path);
    this.#sizeBytes = this.#disk.sizeBytes;
    return this.#sizeBytes;
  }

  close(): Promise<void> {
    this.#closing ??= new Promise<void>((resolve) => {
      if (this.#inFlight === 0) resolve();
      else this.#whenIdle = resolve;
    }).then(() => this.#onClose());
    return this.#closing;
  }

  #info(op: OperationInfo['op'], offsetBytes: number, lengthBytes: number): OperationInfo {
    return { op, disk: this.path, offsetBytes, lengthBytes };
  }

  #change(info: OperationInfo, content: Pick<Change, 'data' | 'fill'>): Change {
    return {
      kind: info.op === 'discard' ? 'discard' : 'write',
      order: 0,
      inFlight: true,
      stable: false,
      doomed: false,
      offsetBytes: info.offsetBytes,
      lengthBytes: info.lengthBytes,
      landedPieces: undefined,
      ...content,
    };
  }

  #start(buffer: Uint8Array | undefined, action: Action): void {
    const { operations, buffers } = this.#context;
    const refusal = this.#refusal(action.info, buffer);
    const usable = buffer !== undefined && this.canUse(buffer);
    if (usable) buffers.borrow(buffer);
    this.#inFlight++;
    const done: Done = (error) => {
      if (usable) buffers.giveBack(buffer);
      this.#inFlight--;
      try {
        action.done(error);
      } finally {
        if (this.#inFlight === 0) this.#whenIdle?.();
      }
    };
    if (refusal === null) operations.start({ ...action, done });
    else operations.refuse({ ...action, done }, refusal);
  }

  /** What the kernel would say at once. */
  #refusal(info: OperationInfo, buffer: Uint8Array | undefined): MpoolError | null {
    const { op, offsetBytes, lengthBytes } = info;
    if (this.#closing !== undefined) return new MpoolError('ERR_MPOOL_CLOSED', this.path);
    if (this.readOnly && op !== 'read') return ioError(-EBADF, op, this.path, 'opened to read');
    const aligned = offsetBytes % this.sectorBytes === 0 && lengthBytes % this.sectorBytes === 0;
    if (!aligned) return ioError(-EINVAL, op, this.path, 'not whole sectors');
    if (op !== 'flush' && (offsetBytes < 0 || lengthBytes === 0)) {
      return ioError(-EINVAL, op, this.path, 'an empty or negative range');
    }
    if (buffer !== undefined && !this.canUse(buffer)) {
      return ioError(-EINVAL, op, this.path, 'memory that is not fit for direct I/O');
    }
    return null;
  }

  #beginChange(change: Change): void {
    const { offsetBytes, lengthBytes } = change;
    if (this.#disk.isBeingChanged(offsetBytes, lengthBytes)) {
      const what = `${this.path}: ${change.kind} at ${offsetBytes}, ${lengthBytes} bytes`;
      this.#context.violation(`${what}: overlaps another write in flight`);
    }
    change.order = this.#context.operations.nextNumber();
    this.#disk.begin(change);
  }

  /** Gone, or out of range: also when the disk shrank under the operation. */
  #mediaError(op: string, offsetBytes: number, lengthBytes: number): MpoolError | null {
    if (this.#disk.gone) return ioError(-ENODEV, op, this.path);
    if (offsetBytes + lengthBytes <= this.#disk.sizeBytes) return null;
    return ioError(-EIO, op, this.path, 'past the end of the device');
  }

  #performRead(
    info: OperationInfo,
    buffer: Uint8Array,
    effect: FaultEffect | undefined,
  ): MpoolError | null {
    const { offsetBytes, lengthBytes } = info;
    const error = this.#mediaError('read', offsetBytes, lengthBytes);
    if (error !== null) return error;
    if (effect?.kind === 'error') return this.#failure('read', effect);
    if (!this.#disk.isReadable(offsetBytes, lengthBytes)) return ioError(-EIO, 'read', this.path);
    if (effect?.kind === 'stale') this.#disk.readStale(offsetBytes, buffer);
    else this.#disk.read(this.#placeOf(offsetBytes, lengthBytes, effect), buffer);
    if (effect?.kind === 'flip') this.#flip(buffer, effect.bit);
    return null;
  }

  #performWrite(
    change: Change,
    durability: Durability,
    effect: FaultEffect | undefined,
  ): MpoolError | null {
    const { kind, offsetBytes, lengthBytes } = change;
    const error = effect?.kind === 'error' ? this.#failure(kind, effect) : null;
    const mediaError = this.#mediaError(kind, offsetBytes, lengthBytes);
    this.#disk.abandon(change);
    if (mediaError !== null) return mediaError;
    const fails = effect?.kind === 'error' && (effect.lands ?? 'none') === 'none';
    if (fails || effect?.kind === 'lost') return error;
    const landing = this.#altered(change, effect);
    landing.stable = durability === 'durable' && error === null;
    this.#disk.land(landing, this.#context.operations.nextNumber());
    if (effect?.kind === 'torn' && effect.acknowledged !== true) {
      return ioError(-EIO, kind, this.path);
    }
    return error;
  }

  /** The change as the fault leaves it. */
  #altered(change: Change, effect: FaultEffect | undefined): Change {
    const { offsetBytes, lengthBytes, data } = change;
    if (effect?.kind === 'torn' || (effect?.kind === 'error' && effect.lands === 'some')) {
      const count = pieceCountOf(change);
      const landed = Array.from({ length: count }, () => below(this.#context.prng, 2) === 1);
      // Torn means torn: at least one piece is missing.
      landed[below(this.#context.prng, count)] = false;
      return { ...change, landedPieces: (piece) => landed[piece]! };
    }
    if (effect?.kind === 'flip' && data !== undefined) {
      const flipped = Uint8Array.from(data);
      this.#flip(flipped, effect.bit);
      return { ...change, data: flipped };
    }
    return { ...change, offsetBytes: this.#placeOf(offsetBytes, lengthBytes, effect) };
  }

  #placeOf(offsetBytes: number, lengthBytes: number, effect: FaultEffect | undefined): number {
    if (effect?.kind !== 'misdirected') return offsetBytes;
    if (effect.toOffsetBytes !== undefined) return effect.toOffsetBytes;
    const places = Math.floor((this.#disk.sizeBytes - lengthBytes) / this.sectorBytes) + 1;
    const place = below(this.#context.prng, places) * this.sectorBytes;
    if (place !== offsetBytes || places === 1) return place;
    return ((place / this.sectorBytes + 1) % places) * this.sectorBytes;
  }

  #flip(bytes: Uint8Array, bit = below(this.#context.prng, bytes.length * 8)): void {
    bytes[bit >>> 3]! ^= 1 << (bit & 7);
  }

  #failure(syscall: string, effect: FaultEffect & { kind: 'error' }): MpoolError {
    return ioError(-constants.errno[effect.errno ?? 'EIO'], syscall, this.path);
  }
}

function print({ op, disk, offsetBytes, lengthBytes }: OperationInfo): string {
  return `${disk}: ${op} at ${offsetBytes}, ${lengthBytes} bytes`;
}
