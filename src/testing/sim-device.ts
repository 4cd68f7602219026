import { constants } from 'node:os';
import { equalBytes } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { MpoolError } from '../base/errors.ts';
import { below } from '../base/prng.ts';
import type { Prng } from '../base/prng.ts';
import type { Device, Done, Durability } from '../device/device.ts';
import type { DeviceMapping } from '../device/device-mapping.ts';
import { ioError } from '../device/io-error.ts';
import type { IoWatch } from '../device/io-watch.ts';
import type { FaultEffect, OperationInfo } from './faults.ts';
import { FaultyDisk } from './faulty-disk.ts';
import type { Action, Operations } from './operations.ts';
import type { SimBuffers } from './sim-buffers.ts';
import type { Change, SimDisk } from './sim-disk.ts';
import { SimMapping } from './sim-mapping.ts';
import type { SimMemory } from './sim-memory.ts';
import type { SimPageCache } from './sim-page-cache.ts';

/** What a device shares with its host. */
export interface DeviceContext {
  operations: Operations;
  buffers: SimBuffers;
  /** For effects: which sectors of a torn write land, what a discard leaves. */
  prng: Prng;
  discardLeaves: 'zeros' | 'anything';
  /** The store did something that no correct one does. */
  violation(message: string): void;
  memory: SimMemory;
  /** view() uses all pages at once. */
  viewsTouch: boolean;
  cacheOf(disk: SimDisk, path: string): SimPageCache;
}

export interface SimDeviceOptions {
  path: string;
  disk: SimDisk;
  readOnly: boolean;
  context: DeviceContext;
  /** Lets the claim go. */
  onClose: () => void;
}

const { EBADF, EINVAL, ENODEV } = constants.errno;
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
  ioWatch: IoWatch | undefined;
  readonly #disk: SimDisk;
  readonly #medium: FaultyDisk;
  readonly #cache: SimPageCache;
  readonly #context: DeviceContext;
  readonly #onClose: () => void;
  #sizeBytes: number;
  #mappingCount = 0;
  #inFlight = 0;
  #closing: Promise<void> | undefined;
  #whenIdle: (() => void) | undefined;

  constructor(options: SimDeviceOptions) {
    this.path = options.path;
    this.readOnly = options.readOnly;
    this.sectorBytes = options.disk.sectorBytes;
    this.#disk = options.disk;
    this.#context = options.context;
    const { operations, prng } = options.context;
    const nextOrder = (): number => operations.nextNumber();
    this.#medium = new FaultyDisk(options.disk, options.path, prng, nextOrder);
    this.#cache = options.context.cacheOf(options.disk, options.path);
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
      perform: (effect) => this.#medium.read(offsetBytes, buffer, effect),
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
      perform: (effect) => this.#performChange(change, durability, effect),
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
          return this.#medium.failure('fsync', effect);
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
      perform: (effect) => this.#performChange(change, 'volatile', effect),
      done,
    });
  }

  async refreshSize(): Promise<number> {
    if (this.#closing !== undefined) throw new MpoolError('ERR_MPOOL_CLOSED', this.path);
    if (this.#disk.gone) throw ioError(-ENODEV, 'ioctl', this.path);
    this.#sizeBytes = this.#disk.sizeBytes;
    return this.#sizeBytes;
  }

  map(): Promise<DeviceMapping> {
    const lengthBytes = this.#sizeBytes;
    const info = this.#info('map', 0, lengthBytes);
    return new Promise((resolve, reject) => {
      this.#start(undefined, {
        info,
        checksum: () => 0,
        begin: () => {},
        perform: (effect) => {
          if (this.#disk.gone) return ioError(-ENODEV, 'mmap', this.path);
          return effect?.kind === 'error' ? this.#medium.failure('mmap', effect) : null;
        },
        done: (error) => (error === null ? resolve(this.#map(lengthBytes)) : reject(error)),
      });
    });
  }

  close(): Promise<void> {
    if (this.#mappingCount > 0) {
      this.#context.violation(`${this.path}: closed before its mappings are`);
    }
    this.#closing ??= new Promise<void>((resolve) => {
      if (this.#inFlight === 0) resolve();
      else this.#whenIdle = resolve;
    }).then(() => this.#onClose());
    return this.#closing;
  }

  #map(lengthBytes: number): DeviceMapping {
    const cache = this.#cache;
    const onClose = (): void => void this.#mappingCount--;
    this.#mappingCount++;
    return new SimMapping({ path: this.path, lengthBytes, cache, context: this.#context, onClose });
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
    const { op, offsetBytes, lengthBytes } = action.info;
    const isWatched = op === 'read' || op === 'write' || op === 'flush' || op === 'discard';
    const watch = isWatched ? this.ioWatch : undefined;
    const watched = isWatched ? watch?.began(op, offsetBytes, lengthBytes) : undefined;
    const done: Done = (error) => {
      if (watched !== undefined) watch!.ended(watched);
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
    if (this.readOnly && op !== 'read' && op !== 'map')
      return ioError(-EBADF, op, this.path, 'opened to read');
    const aligned = offsetBytes % this.sectorBytes === 0 && lengthBytes % this.sectorBytes === 0;
    if (!aligned && op !== 'map') return ioError(-EINVAL, op, this.path, 'not whole sectors');
    if (op !== 'flush' && op !== 'map' && (offsetBytes < 0 || lengthBytes === 0)) {
      return ioError(-EINVAL, op, this.path, 'an empty or negative range');
    }
    if (buffer !== undefined && !this.canUse(buffer)) {
      return ioError(-EINVAL, op, this.path, 'memory that is not fit for direct I/O');
    }
    return null;
  }

  #beginChange(change: Change): void {
    const { offsetBytes, lengthBytes } = change;
    const what = `${this.path}: ${change.kind} at ${offsetBytes}, ${lengthBytes} bytes`;
    if (this.#disk.isBeingChanged(offsetBytes, lengthBytes)) {
      this.#context.violation(`${what}: overlaps another write in flight`);
    }
    const use = this.#cache.useOf(offsetBytes, lengthBytes);
    if (use !== undefined) {
      const user = `a mapped ${use.what} at ${use.offsetBytes}, ${use.lengthBytes} bytes`;
      this.#context.violation(`${what}: in use by ${user}`);
    }
    change.order = this.#context.operations.nextNumber();
    this.#disk.begin(change);
    this.#cache.drop(offsetBytes, lengthBytes);
  }

  #performChange(
    change: Change,
    durability: Durability,
    effect: FaultEffect | undefined,
  ): MpoolError | null {
    const error = this.#medium.change(change, durability, effect);
    // What was read into the page cache meanwhile is as old as what was there before.
    this.#cache.drop(change.offsetBytes, change.lengthBytes);
    return error;
  }
}

function print({ op, disk, offsetBytes, lengthBytes }: OperationInfo): string {
  return `${disk}: ${op} at ${offsetBytes}, ${lengthBytes} bytes`;
}
