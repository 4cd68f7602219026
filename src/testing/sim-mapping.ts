import { constants } from 'node:os';
import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Done } from '../device/device.ts';
import type { DeviceMapping, PageRanges, RegionPart } from '../device/device-mapping.ts';
import { ioError } from '../device/io-error.ts';
import type { FaultEffect, OperationInfo } from './faults.ts';
import type { Action } from './operations.ts';
import type { DeviceContext } from './sim-device.ts';
import { pagesIn } from './sim-page-cache.ts';
import type { PageSpan, SimPageCache, Use, Window } from './sim-page-cache.ts';

const { EINVAL, EIO } = constants.errno;

export interface SimMappingOptions {
  path: string;
  lengthBytes: number;
  cache: SimPageCache;
  context: DeviceContext;
  onClose: () => void;
}

interface Work extends Pick<Action, 'info' | 'perform' | 'done'> {
  refusal: MpoolError | null;
  /** Of what was read. */
  checksum?: () => number;
}

const NOTHING: PageSpan = { first: 0, end: 0 };
let handles = 0;

/**
 * A simulated mapping. Windows are copies, kept like the page cache; whoever changes what a window or a
 * read in flight looks at commits a violation. What reaches the disk is an operation 'read', what only
 * concerns the cache a 'cache': rules and traces see both.
 */
export class SimMapping implements DeviceMapping {
  readonly path: string;
  readonly lengthBytes: number;
  readonly readyBits: Uint8Array;
  readonly handle = ++handles;
  /** Nothing simulated keeps a thread busy. */
  readonly workMs = 0;
  readonly #cache: SimPageCache;
  readonly #context: DeviceContext;
  readonly #windows = new Map<ArrayBuffer, { cache: SimPageCache; window: Window }[]>();
  readonly #onClose: () => void;
  #inFlight = 0;
  #closing: Promise<void> | undefined;
  #whenIdle: (() => void) | undefined;

  constructor(options: SimMappingOptions) {
    this.path = options.path;
    this.lengthBytes = options.lengthBytes;
    this.#cache = options.cache;
    this.#context = options.context;
    this.#onClose = options.onClose;
    this.readyBits = this.#cache.shareReadyBits(this.lengthBytes);
  }

  view(offsetBytes: number, lengthBytes: number): ArrayBuffer {
    const error = this.#refusal(offsetBytes, lengthBytes);
    if (error !== null) throw error;
    return this.#open(new ArrayBuffer(lengthBytes), [
      { mapping: this, offsetBytes, lengthBytes, regionOffsetBytes: 0 },
    ]);
  }

  stitch(parts: readonly RegionPart[], lengthBytes: number): ArrayBuffer {
    const whole = parts.map((part) => ({
      ...part,
      lengthBytes: Math.ceil(part.lengthBytes / PAGE_BYTES) * PAGE_BYTES,
    }));
    for (const part of whole) {
      const error = asSimulated(part.mapping).#refusal(part.offsetBytes, part.lengthBytes);
      if (error !== null) throw error;
      const end = part.regionOffsetBytes + part.lengthBytes;
      const fits = part.regionOffsetBytes % PAGE_BYTES === 0 && end <= lengthBytes;
      if (!fits) throw ioError(-EINVAL, 'mmap', this.path, 'a part outside its region');
    }
    return this.#open(new ArrayBuffer(lengthBytes), whole);
  }

  detach(buffer: ArrayBuffer): void {
    const windows = this.#windows.get(buffer);
    if (windows === undefined) {
      return this.#context.violation(`${this.path}: a view that is not there is detached`);
    }
    this.#windows.delete(buffer);
    for (const { cache, window } of windows) cache.closeWindow(window);
    structuredClone(buffer, { transfer: [buffer] });
  }

  read(offsetBytes: number, buffer: Uint8Array, done: Done): void {
    const { buffers } = this.#context;
    const use: Use = { what: 'read', offsetBytes, lengthBytes: buffer.length };
    const refusal = this.#refusal(offsetBytes, buffer.length, 1);
    const missing = this.#cache.missing(offsetBytes, buffer.length);
    const span = missing ?? pagesIn(offsetBytes, buffer.length);
    const isOurs = buffers.canUse(buffer, 1);
    if (isOurs) buffers.borrow(buffer);
    if (refusal === null) this.#cache.hold(use);
    let checksum = 0;
    this.#start({
      info: this.#infoOf(missing === undefined ? 'cache' : 'read', span),
      refusal,
      perform: (effect) => {
        const error = this.#performRead(offsetBytes, buffer, effect);
        if (error === null) checksum = crc32c(buffer);
        return error;
      },
      done: (error) => {
        if (isOurs) buffers.giveBack(buffer);
        this.#cache.letGo(use);
        done(error);
      },
      checksum: () => checksum,
    });
  }

  async readAhead(ranges: PageRanges): Promise<void> {
    await this.#inCache(ranges, (offsetBytes, lengthBytes) => {
      const span = this.#cache.missing(offsetBytes, lengthBytes);
      if (span !== undefined) this.#readAhead(span);
      return 0;
    });
  }

  async evict(ranges: PageRanges): Promise<void> {
    const { onEvict } = this.#context.memory;
    for (let i = 0; i < ranges.length; i += 2) onEvict?.(this.path, ranges[i]!, ranges[i + 1]!);
    await this.#inCache(ranges, (offsetBytes, lengthBytes) => {
      this.#cache.drop(offsetBytes, lengthBytes);
      return 0;
    });
  }

  async zap(ranges: PageRanges): Promise<void> {
    await this.#inCache(ranges, (offsetBytes, lengthBytes) => {
      this.#cache.zap(offsetBytes, lengthBytes);
      return 0;
    });
  }

  resident(ranges: PageRanges): Promise<Float64Array> {
    return this.#inCache(ranges, (at, length) => this.#cache.residentPages(at, length));
  }

  touched(ranges: PageRanges): Promise<Float64Array> {
    return this.#inCache(ranges, (at, length) => this.#cache.touchedPages(at, length));
  }

  close(): Promise<void> {
    this.#closing ??= new Promise<void>((resolve) => {
      if (this.#inFlight === 0) resolve();
      else this.#whenIdle = resolve;
    }).then(() => {
      for (const buffer of this.#windows.keys()) this.detach(buffer);
      this.#cache.releaseReadyBits(this.lengthBytes);
      this.#onClose();
    });
    return this.#closing;
  }

  #open(buffer: ArrayBuffer, parts: readonly RegionPart[]): ArrayBuffer {
    const windows = parts.map(({ mapping, offsetBytes, lengthBytes, regionOffsetBytes }) => {
      const part = asSimulated(mapping);
      if (this.#context.viewsTouch) {
        touchPages(this.#context, part.#cache, part.path, offsetBytes, lengthBytes);
      }
      const bytes = new Uint8Array(buffer, regionOffsetBytes, lengthBytes);
      const window: Window = { what: 'view', offsetBytes, lengthBytes, bytes };
      return { cache: part.#cache, window };
    });
    for (const { cache, window } of windows) cache.openWindow(window);
    this.#windows.set(buffer, windows);
    return buffer;
  }

  #performRead(
    offsetBytes: number,
    buffer: Uint8Array,
    effect: FaultEffect | undefined,
  ): MpoolError | null {
    // Pages may have come and gone since the submission.
    const span = this.#cache.missing(offsetBytes, buffer.length);
    if (span === undefined && effect?.kind === 'error') return this.#failure(effect);
    const error = span === undefined ? null : this.#cache.load(span, effect);
    if (error !== null) return error;
    this.#cache.copy(offsetBytes, buffer);
    this.#context.memory.makeRoom();
    return null;
  }

  /** What fails is read again by whoever needs it: the kernel tells nobody. */
  #readAhead(span: PageSpan): void {
    const perform = (effect: FaultEffect | undefined): MpoolError | null => {
      const error = this.#cache.load(span, effect);
      this.#context.memory.makeRoom();
      return error;
    };
    this.#start({ info: this.#infoOf('read', span), refusal: null, perform, done: () => {} });
  }

  /** Does something for each range, as one operation. @returns what it gives for each */
  #inCache(
    ranges: PageRanges,
    each: (offsetBytes: number, lengthBytes: number) => number,
  ): Promise<Float64Array> {
    const copied = Float64Array.from(ranges);
    const results = new Float64Array(Math.floor(copied.length / 2));
    const perform = (effect: FaultEffect | undefined): MpoolError | null => {
      if (effect?.kind === 'error') return this.#failure(effect);
      if (effect?.kind === 'lost') return null;
      results.forEach((_, i) => (results[i] = each(copied[2 * i]!, copied[2 * i + 1]!)));
      return null;
    };
    return new Promise((resolve, reject) => {
      this.#start({
        info: this.#infoOf('cache', hull(copied)),
        refusal: this.#refusalOfRanges(copied),
        perform,
        done: (error) => (error === null ? resolve(results) : reject(error)),
      });
    });
  }

  #start(work: Work): void {
    const { operations } = this.#context;
    const { info, refusal, perform, checksum = () => 0 } = work;
    const done: Done = (error) => {
      this.#inFlight--;
      try {
        work.done(error);
      } finally {
        if (this.#inFlight === 0) this.#whenIdle?.();
      }
    };
    this.#inFlight++;
    const action: Action = { info, checksum, begin: () => {}, perform, done };
    if (refusal === null) operations.start(action);
    else operations.refuse(action, refusal);
  }

  #infoOf(op: 'read' | 'cache', span: PageSpan): OperationInfo {
    return { op, disk: this.path, ...bytesOf(span) };
  }

  #failure(effect: FaultEffect & { kind: 'error' }): MpoolError {
    return ioError(-constants.errno[effect.errno ?? 'EIO'], 'mapping', this.path);
  }

  #refusalOfRanges(ranges: PageRanges): MpoolError | null {
    const arePages = ranges.every((each) => each % PAGE_BYTES === 0) && ranges.length % 2 === 0;
    let refusal = arePages ? null : ioError(-EINVAL, 'mapping', this.path, 'not whole pages');
    for (let i = 0; i < ranges.length; i += 2) {
      refusal ??= this.#refusal(ranges[i]!, ranges[i + 1]!);
    }
    return refusal;
  }

  #refusal(offsetBytes: number, lengthBytes: number, alignment = PAGE_BYTES): MpoolError | null {
    if (this.#closing !== undefined) return new MpoolError('ERR_MPOOL_CLOSED', this.path);
    const isPlace = offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes % alignment === 0;
    if (!isPlace) return ioError(-EINVAL, 'mapping', this.path, 'not a place in it');
    const end = Math.ceil(this.lengthBytes / alignment) * alignment;
    if (offsetBytes + lengthBytes <= end) return null;
    return ioError(-EIO, 'mapping', this.path, 'past the end of the mapping');
  }
}

/**
 * A program uses pages that it sees in a window: at once, as page faults are served.
 * @throws what it would die of
 */
export function touchPages(
  context: DeviceContext,
  cache: SimPageCache,
  path: string,
  offsetBytes: number,
  lengthBytes: number,
): void {
  const span = cache.missing(offsetBytes, lengthBytes);
  if (span !== undefined) {
    const error = context.operations.runNow({
      info: { op: 'read', disk: path, ...bytesOf(span) },
      checksum: () => 0,
      begin: () => {},
      perform: (effect) => cache.load(span, effect),
      done: () => {},
    });
    if (error !== null) throw error;
  }
  cache.touch(offsetBytes, lengthBytes);
  context.memory.makeRoom();
}

function bytesOf({ first, end }: PageSpan): { offsetBytes: number; lengthBytes: number } {
  return { offsetBytes: first * PAGE_BYTES, lengthBytes: (end - first) * PAGE_BYTES };
}

/** From the first page of any range to the last. */
function hull(ranges: PageRanges): PageSpan {
  if (ranges.length < 2) return NOTHING;
  let first = Infinity;
  let end = 0;
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    first = Math.min(first, Math.floor(ranges[i]! / PAGE_BYTES));
    end = Math.max(end, Math.ceil((ranges[i]! + ranges[i + 1]!) / PAGE_BYTES));
  }
  return { first, end };
}

function asSimulated(mapping: DeviceMapping): SimMapping {
  assert(mapping instanceof SimMapping, 'simulated regions are of simulated devices');
  return mapping;
}
