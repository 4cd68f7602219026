/**
 * A mapped device of the machine: the addon's mapping, and what this thread has of it.
 *
 * Invariants
 *  1. Each buffer handed out is in #windows until it is detached; weakly, so that what is forgotten can be
 *     collected.
 *  2. The mapping is let go only when no read and no work of this object is left.
 *  3. Memory stays mapped while any thread has it open, or a buffer over it was moved elsewhere.
 */
import { close, constants as flags, open } from 'node:fs';
import { constants } from 'node:os';
import { promisify } from 'node:util';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { KIB } from '../base/units.ts';
import {
  binding,
  MAP_EVICT,
  MAP_READ_AHEAD,
  MAP_RESIDENT,
  MAP_TOUCHED,
  MAP_ZAP,
  OP_READ,
} from '../native/binding.ts';
import type { DeviceMapping, PageRanges, RegionPart } from './device-mapping.ts';
import type { Done } from './device.ts';
import { chooseEngine } from './engine-ladder.ts';
import type { EngineChoice } from './host.ts';
import type { IoEngine } from './io-engine.ts';
import { ioError, pathError } from './io-error.ts';
import { IoOperation } from './io-operation.ts';
import { pageBuffers } from './page-buffers.ts';

const { errno: E } = constants;
const PAGE_BYTES = 4096;
/**
 * Longer reads go to the thread pool: a ring allocates pages and copies on this thread, 0.5–1 ms a MiB.
 */
const RING_BYTES_MAX = 64 * KIB;
/** Of a buffer without memory, which has no window. */
const NO_WINDOW = -1;
const PART_NUMBERS = 4;
/** What failed, by operation: for messages. */
const SYSCALLS = ['fadvise', 'madvise', 'fadvise', 'cachestat', 'pagemap'];
const openDescriptor = promisify(open);
const closeDescriptor = promisify(close);

/**
 * Maps what is behind a device's descriptor. Opened anew through /proc: the same inode, whatever became of
 * the path, and without O_DIRECT. A descriptor that was passed from another process is duplicated instead.
 * @throws ERR_MPOOL_ACCESS, ERR_MPOOL_IO
 */
export async function openMapping(
  { deviceFd, bufferedFd }: { deviceFd: number; bufferedFd: number | undefined },
  path: string,
  lengthBytes: number,
  choice: EngineChoice,
): Promise<DeviceMapping> {
  const fd = await (bufferedFd === undefined
    ? openAnew(deviceFd, path)
    : binding.duplicate(bufferedFd));
  if (fd < 0) throw ioError(fd, 'fcntl', path);
  const handle = binding.mapOpen(fd, path, lengthBytes);
  if (handle >= 0) return take(handle, path, choice);
  await closeDescriptor(fd);
  throw ioError(handle, 'mmap', path);
}

async function openAnew(deviceFd: number, path: string): Promise<number> {
  try {
    return await openDescriptor(`/proc/self/fd/${deviceFd}`, flags.O_RDONLY);
  } catch (error) {
    throw pathError(error, path);
  }
}

/**
 * A mapping that another thread of this process has open.
 * @param handle its `handle`
 * @throws ERR_MPOOL_CLOSED when nobody has it open any more
 */
export function attachMapping(handle: number, path: string): DeviceMapping {
  if (binding.mapAttach(handle) < 0) throw new MpoolError('ERR_MPOOL_CLOSED', path, { path });
  return take(handle, path, 'auto');
}

/** Makes an object of one open of a handle. */
function take(handle: number, path: string, choice: EngineChoice): DeviceMapping {
  try {
    return new SystemMapping(handle, path, choice);
  } catch (error) {
    binding.mapClose(handle, () => {});
    throw error;
  }
}

class SystemMapping implements DeviceMapping {
  readonly path: string;
  readonly lengthBytes: number;
  readonly readyBits: Uint8Array;
  readonly handle: number;
  readonly #fd: number;
  readonly #engine: IoEngine;
  readonly #windows = new WeakMap<ArrayBuffer, number>();
  readonly #windowOut = new Uint32Array(1);
  readonly #isOver = (): void => this.#finished();
  #workUs = 0;
  #inFlight = 0;
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(handle: number, path: string, choice: EngineChoice) {
    const info = new Float64Array(2);
    binding.mapInfo(handle, info);
    this.handle = handle;
    this.path = path;
    this.lengthBytes = info[0]!;
    this.#fd = info[1]!;
    // Without 'aio', which would block in io_submit.
    this.#engine = chooseEngine(choice, false);
    this.readyBits = new Uint8Array(this.#windowOn(binding.mapBits(handle, this.#windowOut)));
    forgotten.register(this, { handle, path }, this);
  }

  get workMs(): number {
    return this.#workUs / 1000;
  }

  view(offsetBytes: number, lengthBytes: number): ArrayBuffer {
    this.#mustBeOpen();
    if (!isInside(offsetBytes, lengthBytes, this.lengthBytes) || offsetBytes % PAGE_BYTES !== 0) {
      throw invalidArgument(`${this.path}: no view: ${offsetBytes} + ${lengthBytes}`);
    }
    if (lengthBytes === 0) return this.#emptyWindow();
    return this.#windowOn(binding.mapView(this.handle, offsetBytes, lengthBytes, this.#windowOut));
  }

  stitch(parts: readonly RegionPart[], lengthBytes: number): ArrayBuffer {
    this.#mustBeOpen();
    const shown = parts.filter((part) => part.lengthBytes !== 0);
    const numbers = new Float64Array(shown.length * PART_NUMBERS);
    shown.forEach((part, i) => {
      const { mapping, offsetBytes, lengthBytes: partBytes, regionOffsetBytes } = part;
      numbers.set([mapping.handle, offsetBytes, partBytes, regionOffsetBytes], i * PART_NUMBERS);
    });
    if (lengthBytes === 0 && shown.length === 0) return this.#emptyWindow();
    const buffer = binding.mapStitch(numbers, lengthBytes, this.#windowOut);
    if (buffer === -E.EINVAL) {
      throw invalidArgument(
        `${this.path}: parts overlap, or are not in their device or the region`,
      );
    }
    return this.#windowOn(buffer);
  }

  detach(buffer: ArrayBuffer): void {
    const window = this.#windows.get(buffer);
    if (window === undefined) throw invalidArgument(`${this.path}: not a view of this mapping`);
    this.#detach(buffer, window);
  }

  read(offsetBytes: number, buffer: Uint8Array, done: Done): void {
    const { length } = buffer;
    if (!isInside(offsetBytes, 0, Number.MAX_SAFE_INTEGER)) {
      throw invalidArgument(`${this.path}: no offset: ${offsetBytes}`);
    }
    if (this.#closing !== undefined) {
      process.nextTick(done, new MpoolError('ERR_MPOOL_CLOSED', this.path));
    } else if (offsetBytes + length > this.lengthBytes) {
      const note = `${offsetBytes} + ${length} is past the end, ${this.lengthBytes}`;
      process.nextTick(done, ioError(-E.EIO, 'read', this.path, note));
    } else if (length === 0) {
      process.nextTick(done, null);
    } else {
      const address = pageBuffers.addressOf(buffer);
      if (address === undefined) this.#bounce(offsetBytes, buffer, done);
      else this.#start(offsetBytes, address, buffer, done);
    }
  }

  async readAhead(ranges: PageRanges): Promise<void> {
    await this.#work(MAP_READ_AHEAD, ranges);
  }

  async evict(ranges: PageRanges): Promise<void> {
    await this.#work(MAP_EVICT, ranges);
  }

  async zap(ranges: PageRanges): Promise<void> {
    await this.#work(MAP_ZAP, ranges);
  }

  resident(ranges: PageRanges): Promise<Float64Array> {
    return this.#work(MAP_RESIDENT, ranges);
  }

  touched(ranges: PageRanges): Promise<Float64Array> {
    return this.#work(MAP_TOUCHED, ranges);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.#idle();
    this.detach(this.readyBits.buffer as ArrayBuffer);
    await this.#idle();
    forgotten.unregister(this);
    await new Promise<void>((resolve) => {
      if (binding.mapClose(this.handle, resolve) === 0) resolve();
    });
  }

  async #idle(): Promise<void> {
    if (this.#inFlight === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #finished(): void {
    this.#inFlight--;
    if (this.#inFlight === 0) this.#onIdle?.();
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new MpoolError('ERR_MPOOL_CLOSED', this.path);
  }

  #windowOn(buffer: ArrayBuffer | number): ArrayBuffer {
    if (typeof buffer === 'number') throw ioError(buffer, 'mmap', this.path);
    this.#windows.set(buffer, this.#windowOut[0]!);
    return buffer;
  }

  #emptyWindow(): ArrayBuffer {
    const buffer = new ArrayBuffer(0);
    this.#windows.set(buffer, NO_WINDOW);
    return buffer;
  }

  #detach(buffer: ArrayBuffer, window: number): void {
    this.#windows.delete(buffer);
    if (window === NO_WINDOW) return;
    this.#inFlight++;
    // Otherwise over already, or moved away by a stream: then it goes when that is collected.
    if (binding.windowDetach(window, buffer, this.#isOver) !== 1) this.#finished();
  }

  #start(offsetBytes: number, address: number, buffer: Uint8Array, done: Done): void {
    this.#inFlight++;
    const operation = new IoOperation(OP_READ, this.#fd, address, buffer.length, offsetBytes, 0);
    if (buffer.length <= RING_BYTES_MAX) operation.engine = this.#engine;
    operation.path = this.path;
    operation.buffer = buffer;
    operation.done = (error) => {
      this.#finished();
      done(error);
    };
    operation.engine.submit(operation);
  }

  #bounce(offsetBytes: number, target: Uint8Array, done: Done): void {
    const buffer = pageBuffers.allocate(target.length);
    this.read(offsetBytes, buffer, (error) => {
      if (error === null) target.set(buffer);
      pageBuffers.release(buffer);
      done(error);
    });
  }

  /** @returns a number a range: pages, where the operation counts */
  async #work(op: number, ranges: PageRanges): Promise<Float64Array> {
    this.#mustBeOpen();
    const count = ranges.length / 2;
    const out = new Float64Array(Math.floor(count) + 1);
    this.#inFlight++;
    try {
      const result = await new Promise<number>((resolve) => {
        const refused = binding.mapWork(this.handle, op, ranges, out, resolve);
        if (refused === 0) return;
        if (refused !== -E.EINVAL) throw ioError(refused, SYSCALLS[op]!, this.path);
        throw invalidArgument(`${this.path}: ranges are of whole pages inside the device`);
      });
      this.#workUs += out[count]!;
      if (result < 0) throw ioError(result, SYSCALLS[op]!, this.path);
      return out.subarray(0, count);
    } finally {
      this.#finished();
    }
  }
}

function isInside(offsetBytes: number, lengthBytes: number, limitBytes: number): boolean {
  return (
    Number.isSafeInteger(offsetBytes) &&
    Number.isSafeInteger(lengthBytes) &&
    offsetBytes >= 0 &&
    lengthBytes >= 0 &&
    offsetBytes + lengthBytes <= limitBytes
  );
}

interface Held {
  handle: number;
  path: string;
}

/** A mapping that nobody closed. Its windows are collected with it, or hold the memory. */
const forgotten = new FinalizationRegistry<Held>(({ handle, path }) => {
  const message = `the mapping of ${path} was collected without close()`;
  process.emitWarning(message, { code: 'MPOOL_NOT_CLOSED' });
  binding.mapClose(handle, () => {});
});
