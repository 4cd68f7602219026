/**
 * A block device or file, with direct I/O where the system has it and buffered I/O elsewhere, over
 * any rung of the engine ladder.
 *
 * Invariants
 *  1. Each operation calls back exactly once, never before its call returned.
 *  2. The descriptor is closed, and with it the claim released, only when nothing is in flight.
 *  3. I/O stays inside 0 … sizeBytes; what the kernel did short is continued, never passed on.
 *  4. An operation in flight holds the device and its buffer, so neither can be collected.
 */
import { close, constants as openFlags, open } from 'node:fs';
import { constants } from 'node:os';
import { promisify } from 'node:util';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { roundDown, roundUp } from '../base/units.ts';
import {
  FSYNC_DATASYNC,
  OP_DISCARD,
  OP_FSYNC,
  OP_PUNCH_HOLE,
  OP_READ,
  OP_WRITE,
  RWF_DSYNC,
} from '../native/binding.ts';
import { closeDescriptors } from './close-descriptors.ts';
import type { Device, Done, Durability } from './device.ts';
import type { DeviceLimits } from './device-limits.ts';
import type { DeviceMapping } from './device-mapping.ts';
import { IoOperation } from './io-operation.ts';
import type { EngineName, IoEngine } from './io-engine.ts';
import { ioError, pathError, systemErrno } from './io-error.ts';
import type { IoWatch, WatchedIo } from './io-watch.ts';
import { pageBuffers } from './page-buffers.ts';
import { openMapping } from './system-mapping.ts';
import { threadEngine } from './thread-engine.ts';

const { errno: E } = constants;
/** Answers that mean: this device has no discard. It is advisory, so that is no failure. */
const NO_DISCARD = new Set([E.EOPNOTSUPP, E.ENOTTY, E.ENOSYS, E.EINVAL, E.EPERM]);
const openDescriptor = promisify(open);

export interface DirectDeviceOptions {
  path: string;
  kind: 'file' | 'block';
  fd: number;
  /** Holds the claim of what is behind the device; closed with it. */
  backingFd: number | undefined;
  /** Without O_DIRECT, where the device cannot be opened again by this process; closed with it. */
  bufferedFd?: number | undefined;
  readOnly: boolean;
  limits: DeviceLimits;
  engine: IoEngine;
  /** The engine that was asked for by its name. */
  wanted?: EngineName | undefined;
  /** Looks again at the descriptor. */
  measure: () => Promise<number>;
}

export class DirectDevice implements Device {
  readonly path: string;
  readonly kind: 'file' | 'block';
  readonly readOnly: boolean;
  readonly sectorBytes: number;
  readonly optimalWriteBytes: number;
  ioWatch: IoWatch | undefined;
  readonly #engine: IoEngine;
  readonly #mayBlock: boolean;
  readonly #wanted: EngineName | undefined;
  readonly #fd: number;
  readonly #backingFd: number | undefined;
  readonly #bufferedFd: number | undefined;
  readonly #measure: () => Promise<number>;
  #sizeBytes: number;
  #inFlight = 0;
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(options: DirectDeviceOptions) {
    const { path, kind, fd, backingFd, readOnly, limits, engine, measure } = options;
    this.#bufferedFd = options.bufferedFd;
    this.path = path;
    this.kind = kind;
    this.#wanted = options.wanted;
    this.readOnly = readOnly;
    this.sectorBytes = limits.sectorBytes;
    this.optimalWriteBytes = limits.optimalWriteBytes;
    this.#sizeBytes = limits.sizeBytes;
    this.#engine = engine;
    this.#mayBlock = limits.mayBlock;
    this.#fd = fd;
    this.#backingFd = backingFd;
    this.#measure = measure;
    forgotten.register(this, { fd, backingFd, path }, this);
  }

  get engine(): EngineName {
    return this.#engine.name;
  }

  get engineProblem(): string | undefined {
    if (this.#engine.lost !== undefined) return this.#engine.lost;
    if (this.#wanted === undefined || this.#wanted === this.engine) return undefined;
    return `${this.#wanted} was asked for, and is not to be had: I/O goes by ${this.engine}`;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  allocate(lengthBytes: number): Uint8Array {
    return pageBuffers.allocate(lengthBytes);
  }

  release(buffer: Uint8Array): void {
    pageBuffers.release(buffer);
  }

  canUse(buffer: Uint8Array): boolean {
    const { sectorBytes } = this;
    return (
      buffer.byteOffset % sectorBytes === 0 &&
      buffer.length % sectorBytes === 0 &&
      pageBuffers.addressOf(buffer) !== undefined
    );
  }

  read(offsetBytes: number, buffer: Uint8Array, done: Done): void {
    this.#check(offsetBytes, buffer.length);
    if (!this.#mayStart(offsetBytes, buffer.length, 'read', done)) return;
    const address = this.#addressOf(buffer);
    if (address === undefined) return this.#bounceRead(offsetBytes, buffer, done);
    this.#start(OP_READ, offsetBytes, buffer.length, address, 0, buffer, done);
  }

  write(offsetBytes: number, buffer: Uint8Array, durability: Durability, done: Done): void {
    this.#check(offsetBytes, buffer.length);
    if (this.#refusesWrite(done)) return;
    if (!this.#mayStart(offsetBytes, buffer.length, 'write', done)) return;
    const address = this.#addressOf(buffer);
    if (address === undefined) return this.#bounceWrite(offsetBytes, buffer, durability, done);
    const flags = durability === 'durable' ? RWF_DSYNC : 0;
    this.#start(OP_WRITE, offsetBytes, buffer.length, address, flags, buffer, done);
  }

  flush(done: Done): void {
    if (this.#refusesClosed(done)) return;
    this.#start(OP_FSYNC, 0, 0, 0, FSYNC_DATASYNC, undefined, done);
  }

  discard(offsetBytes: number, lengthBytes: number, done: Done): void {
    if (!isRange(offsetBytes, lengthBytes)) {
      throw invalidArgument(`${this.path}: no range: ${offsetBytes} + ${lengthBytes}`);
    }
    if (this.#refusesWrite(done)) return;
    // Inwards to whole sectors: what lies beside the range is not ours to drop.
    const start = roundUp(offsetBytes, this.sectorBytes);
    const end = roundDown(Math.min(offsetBytes + lengthBytes, this.#sizeBytes), this.sectorBytes);
    const length = Math.max(end - start, 0);
    const op = this.kind === 'block' ? OP_DISCARD : OP_PUNCH_HOLE;
    if (!this.#mayStart(start, length, 'discard', done)) return;
    this.#start(op, start, length, 0, 0, undefined, (error) => {
      done(error !== null && NO_DISCARD.has(-error.errno) ? null : error);
    });
  }

  async refreshSize(): Promise<number> {
    if (this.#closing !== undefined) throw new MpoolError('ERR_MPOOL_CLOSED', this.path);
    this.#inFlight++;
    try {
      this.#sizeBytes = await this.#measure();
      return this.#sizeBytes;
    } finally {
      this.#finished();
    }
  }

  async map(): Promise<DeviceMapping> {
    if (this.#closing !== undefined) throw new MpoolError('ERR_MPOOL_CLOSED', this.path);
    this.#inFlight++;
    try {
      const source = { deviceFd: this.#fd, bufferedFd: this.#bufferedFd };
      return await openMapping(source, this.path, this.#sizeBytes, this.#engine.name);
    } finally {
      this.#finished();
    }
  }

  /**
   * Opens the same file or device once more, only for reading: its flags and place are its own, and it has
   * no part in the claim. The caller closes it.
   * @param options.direct past the page cache, where the file system lets it
   */
  async openReadOnly(options: { direct: boolean }): Promise<number> {
    if (this.#closing !== undefined) throw new MpoolError('ERR_MPOOL_CLOSED', this.path);
    this.#inFlight++;
    try {
      return await openAgain(this.#fd, options.direct);
    } catch (error) {
      throw pathError(error, this.path);
    } finally {
      this.#finished();
    }
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    forgotten.unregister(this);
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    await closeDescriptors([this.#fd, this.#backingFd, this.#bufferedFd], this.path);
  }

  #check(offsetBytes: number, lengthBytes: number): void {
    const { sectorBytes } = this;
    if (
      isRange(offsetBytes, lengthBytes) &&
      offsetBytes % sectorBytes === 0 &&
      lengthBytes % sectorBytes === 0
    ) {
      return;
    }
    throw invalidArgument(
      `${this.path}: offset ${offsetBytes} and length ${lengthBytes} ` +
        `are not multiples of ${sectorBytes}`,
    );
  }

  #refusesClosed(done: Done): boolean {
    if (this.#closing === undefined) return false;
    process.nextTick(done, new MpoolError('ERR_MPOOL_CLOSED', this.path));
    return true;
  }

  #refusesWrite(done: Done): boolean {
    if (this.#refusesClosed(done)) return true;
    if (!this.readOnly) return false;
    process.nextTick(done, new MpoolError('ERR_MPOOL_READ_ONLY', this.path));
    return true;
  }

  /** False when the operation is already over: closed, beyond the end, or nothing to do. */
  #mayStart(offsetBytes: number, lengthBytes: number, syscall: string, done: Done): boolean {
    if (this.#refusesClosed(done)) return false;
    if (offsetBytes + lengthBytes > this.#sizeBytes) {
      const note = `${offsetBytes} + ${lengthBytes} is past the end, ${this.#sizeBytes}`;
      process.nextTick(done, ioError(-E.EIO, syscall, this.path, note));
      return false;
    }
    if (lengthBytes > 0) return true;
    process.nextTick(done, null);
    return false;
  }

  #addressOf(buffer: Uint8Array): number | undefined {
    if (buffer.byteOffset % this.sectorBytes !== 0) return undefined;
    return pageBuffers.addressOf(buffer);
  }

  #start(
    op: number,
    offsetBytes: number,
    lengthBytes: number,
    address: number,
    flags: number,
    buffer: Uint8Array | undefined,
    done: Done,
  ): void {
    this.#inFlight++;
    const watch = this.ioWatch;
    const watched = watch?.began(WATCHED_OPS[op] ?? 'read', offsetBytes, lengthBytes);
    const engine = op === OP_DISCARD || op === OP_PUNCH_HOLE ? threadEngine : this.#engine;
    const operation = new IoOperation(op, this.#fd, address, lengthBytes, offsetBytes, flags);
    operation.mayBlock = this.#mayBlock;
    operation.engine = engine;
    operation.path = this.path;
    operation.buffer = buffer;
    operation.done = (error) => {
      if (watched !== undefined) watch!.ended(watched);
      this.#finished();
      done(error);
    };
    engine.submit(operation);
  }

  #finished(): void {
    this.#inFlight--;
    if (this.#inFlight === 0) this.#onIdle?.();
  }

  /** Any other memory goes through a buffer of ours. */
  #bounceRead(offsetBytes: number, target: Uint8Array, done: Done): void {
    const buffer = pageBuffers.allocate(target.length);
    this.read(offsetBytes, buffer, (error) => {
      if (error === null) target.set(buffer);
      pageBuffers.release(buffer);
      done(error);
    });
  }

  #bounceWrite(offsetBytes: number, source: Uint8Array, durability: Durability, done: Done): void {
    const buffer = pageBuffers.allocate(source.length);
    buffer.set(source);
    this.write(offsetBytes, buffer, durability, (error) => {
      pageBuffers.release(buffer);
      done(error);
    });
  }
}

const WATCHED_OPS: Readonly<Record<number, WatchedIo['op']>> = {
  [OP_READ]: 'read',
  [OP_WRITE]: 'write',
  [OP_FSYNC]: 'flush',
  [OP_DISCARD]: 'discard',
  [OP_PUNCH_HOLE]: 'discard',
};

/** By way of /proc: the path may lead elsewhere by now, or not be open to this process any more. */
async function openAgain(fd: number, direct: boolean): Promise<number> {
  const path = `/proc/self/fd/${fd}`;
  if (!direct) return openDescriptor(path, openFlags.O_RDONLY);
  try {
    return await openDescriptor(path, openFlags.O_RDONLY | openFlags.O_DIRECT);
  } catch (error) {
    if (systemErrno(error) !== -E.EINVAL) throw error;
    return openDescriptor(path, openFlags.O_RDONLY);
  }
}

/** A device that nobody closed: its claim would last as long as the process. */
interface Held {
  fd: number;
  backingFd: number | undefined;
  path: string;
}

const forgotten = new FinalizationRegistry<Held>(({ fd, backingFd, path }) => {
  process.emitWarning(`${path} was collected without close()`, { code: 'MPOOL_NOT_CLOSED' });
  close(fd, () => {});
  if (backingFd !== undefined) close(backingFd, () => {});
});

function isRange(offsetBytes: number, lengthBytes: number): boolean {
  return (
    Number.isSafeInteger(offsetBytes) &&
    Number.isSafeInteger(lengthBytes) &&
    offsetBytes >= 0 &&
    lengthBytes >= 0
  );
}
