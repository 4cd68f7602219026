import { viewOf } from '../base/bytes.ts';
import { isMpoolError, MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { readAsync } from '../device/device.ts';
import {
  decodeFrameHeader,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  frameBytesOf,
  frameSeed,
  payloadIsRight,
  RECORD_BYTES_MAX,
} from '../format/log-frame.ts';
import { LOG_HEADER_BYTES, type LogHeader, LogState } from '../format/log-header.ts';
import type { LogMark } from '../format/log-mark.ts';
import { type MlogId, printObjectId } from '../format/object-id.ts';
import type { Mlog, MlogReader } from './api.ts';
import type { Frame, LogPlace } from './frame-cursor.ts';
import { expectedOf, lossOfFrames, lossOfHeader } from './log-evidence.ts';
import { ChunkParser, readLogHeader, scanLog } from './log-scan.ts';
import { refuseNewerHeader } from './log-pair.ts';
import { checkOptions, integerIn } from './parameters.ts';
import { provenHeader, readHead } from './repair-headers.ts';
import type { Held } from './store.ts';

/** What the reading of a damaged log goes by. */
interface Salvage {
  place: LogPlace;
  header: LogHeader;
  /** Frames from there on do not count; Infinity when only reading tells how far it goes. */
  limitBytes: number;
  /** What is wrong behind the last frame; undefined when the log is whole. */
  damage: string | undefined;
}

/** Frame by frame, each read by itself: what cannot be read must not take what is before it along. */
class Walk {
  readonly #salvage: Salvage;
  readonly #parser: ChunkParser;
  readonly #records: Uint8Array[] = [];
  endBytes = LOG_HEADER_BYTES;
  /** Before what was given last. */
  recordCount = 0;
  #sequence = 0;
  #crc = 0;
  #ended = false;

  constructor(salvage: Salvage) {
    this.#salvage = salvage;
    const visit = (bytes: Uint8Array, start: number, end: number): void => {
      this.#records.push(new Uint8Array(bytes.subarray(start, end)));
    };
    this.#parser = new ChunkParser(visit, RECORD_BYTES_MAX);
  }

  async next(): Promise<Uint8Array | undefined> {
    while (this.#records.length === 0 && !this.#ended) {
      const frame = await this.#frame();
      // A frame whose payload is no row of chunks is damage, with all records in it.
      if (frame === undefined || this.#parser.parse(frame) !== undefined) {
        this.#records.length = 0;
        this.#ended = true;
        break;
      }
      this.endBytes += frame.end;
      this.#sequence = frame.header.sequence;
      this.#crc = frame.header.crc;
    }
    const record = this.#records.shift();
    if (record !== undefined) this.recordCount += 1;
    return record;
  }

  async #frame(): Promise<Frame | undefined> {
    const { place, header, limitBytes } = this.#salvage;
    const { sectorBytes, extent } = place;
    const at = this.endBytes;
    const extentBytes = extent.pageCount * PAGE_BYTES;
    if (at >= Math.min(limitBytes, extentBytes)) return undefined;
    const buffer = place.device.allocate(FRAME_BYTES_MAX);
    try {
      if (!(await this.#read(at, buffer.subarray(0, sectorBytes)))) return undefined;
      const decoded = decodeFrameHeader(buffer, viewOf(buffer), 0, {
        seed: frameSeed(place.identity, header.salt),
        offsetBytes: at,
        extentBytes,
        generation: header.generation,
        sectorBytes,
        witnesses: place.witness !== undefined,
      });
      if (typeof decoded === 'string' || decoded.sequence <= this.#sequence) return undefined;
      if (decoded.previousCrc !== this.#crc) return undefined;
      const lengthBytes = frameBytesOf(decoded.payloadBytes, sectorBytes);
      if (!(await this.#read(at, buffer.subarray(0, lengthBytes)))) return undefined;
      if (!payloadIsRight(buffer, 0, decoded, sectorBytes)) return undefined;
      const bytes = new Uint8Array(buffer.subarray(0, lengthBytes));
      const payloadEnd = FRAME_HEADER_BYTES + decoded.payloadBytes;
      const rest = { end: lengthBytes, offsetBytes: at, header: decoded };
      return { bytes, view: viewOf(bytes), payloadStart: FRAME_HEADER_BYTES, payloadEnd, ...rest };
    } finally {
      place.device.release(buffer);
    }
  }

  async #read(at: number, into: Uint8Array): Promise<boolean> {
    const { device, extent } = this.#salvage.place;
    try {
      await readAsync(device, extent.pageAddress * PAGE_BYTES + at, into);
      return true;
    } catch (error) {
      if (!isMpoolError(error, 'ERR_MPOOL_IO')) throw error;
      return false;
    }
  }
}

/**
 * What to go by for the log at a place.
 * @throws ERR_MPOOL_CORRUPT when nothing tells its header
 */
async function salvageOf(
  place: LogPlace,
  mark: LogMark | undefined,
  name: string,
): Promise<Salvage> {
  const header = await headerOf(place);
  if (header?.state !== LogState.current) {
    throw new MpoolError('ERR_MPOOL_CORRUPT', `${name}: its header is lost`);
  }
  try {
    const end = await scanLog(place, header, undefined, { expected: expectedOf(mark, header) });
    const { verdict, damagedAtBytes, endBytes, detail } = end;
    const limitBytes = damagedAtBytes ?? endBytes;
    const loss = lossOfHeader(mark, header) ?? lossOfFrames(mark, header, end);
    return { place, header, limitBytes, damage: verdict === 'damaged' ? detail : loss?.detail };
  } catch (error) {
    if (!isMpoolError(error, 'ERR_MPOOL_IO')) throw error;
    return { place, header, limitBytes: Infinity, damage: error.message };
  }
}

/** As it is, or as what is left of it tells. */
async function headerOf(place: LogPlace): Promise<LogHeader | undefined> {
  const read = await readLogHeader(place).catch((error: unknown) => {
    if (isMpoolError(error, 'ERR_MPOOL_IO')) return undefined;
    throw error;
  });
  if (read === undefined) return undefined;
  refuseNewerHeader(place, read);
  return read.ok ? read.header : provenHeader(place, await readHead(place));
}

export interface SalvageOwner {
  /** @throws when the pool is closed */
  assertOpen: () => void;
  /** The space of the log stays its own from here on … */
  begin: (held: SalvagedMlog) => void;
  /** … to here. */
  forget: (held: SalvagedMlog) => void;
}

/** A handle on what can be read of a damaged log: its records up to the damage. Nothing is written. */
export class SalvagedMlog implements Mlog, Held {
  readonly id: MlogId;
  usedBytes = 0;
  recordCount = 0;
  readonly #place: LogPlace;
  readonly #owner: SalvageOwner;
  #salvage!: Salvage;
  #closed = false;

  /**
   * @param mark what others say of its end
   * @throws ERR_MPOOL_CORRUPT when its header is lost, ERR_MPOOL_VERSION
   */
  static async open(
    id: MlogId,
    place: LogPlace,
    mark: LogMark | undefined,
    owner: SalvageOwner,
  ): Promise<SalvagedMlog> {
    const log = new SalvagedMlog(id, place, owner);
    owner.begin(log);
    try {
      await log.#look(mark);
      return log;
    } catch (error) {
      await log.release();
      throw error;
    }
  }

  private constructor(id: MlogId, place: LogPlace, owner: SalvageOwner) {
    this.id = id;
    this.#place = place;
    this.#owner = owner;
  }

  async #look(mark: LogMark | undefined): Promise<void> {
    this.#salvage = await salvageOf(this.#place, mark, this.#name);
    const walk = new Walk(this.#salvage);
    while ((await walk.next()) !== undefined) this.#assertOpen();
    this.usedBytes = walk.endBytes - LOG_HEADER_BYTES;
    this.recordCount = walk.recordCount;
  }

  get what(): string {
    return `${this.#name} is open`;
  }
  get generation(): bigint {
    return BigInt(this.#salvage.header.generation);
  }
  get capacityBytes(): number {
    return (this.#place.extent.pageCount - 1) * PAGE_BYTES;
  }

  reader(): MlogReader {
    this.#assertOpen();
    return new SalvageReader(
      () => this.#assertOpen(),
      () => new Walk(this.#salvage),
      (walk) => this.#atEnd(walk),
    );
  }

  async *records(): AsyncIterable<Uint8Array> {
    const reader = this.reader();
    for (let record = await reader.next(); record !== undefined; record = await reader.next()) {
      yield record;
    }
  }

  append = (): Promise<void> => this.#refuse();
  sync = async (): Promise<void> => {};
  erase = (): Promise<void> => this.#refuse();
  startCompaction = (): Promise<void> => this.#refuse();
  endCompaction = (): Promise<void> => this.#refuse();

  close(): Promise<void> {
    return this.release();
  }

  async release(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.forget(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  get #name(): string {
    return `mlog ${printObjectId(this.id)}`;
  }

  async #refuse(): Promise<void> {
    this.#assertOpen();
    throw new MpoolError('ERR_MPOOL_READ_ONLY', `${this.#name}, opened to salvage it`);
  }

  /** @throws ERR_MPOOL_CORRUPT, unless the log ends there */
  #atEnd({ endBytes, recordCount }: Walk): void {
    const { place, damage } = this.#salvage;
    if (damage === undefined) return;
    const { path } = place.device;
    const at = place.extent.pageAddress * PAGE_BYTES + endBytes;
    const which = `records from number ${recordCount + 1} on`;
    const detail = `${this.#name}: ${which}, at byte ${at} of ${path} (${damage})`;
    throw new MpoolError('ERR_MPOOL_CORRUPT', detail, { path });
  }

  #assertOpen(): void {
    this.#owner.assertOpen();
    if (this.#closed) throw new MpoolError('ERR_MPOOL_CLOSED', this.#name);
  }
}

/** As LogReader, of a log that nobody writes. One call at a time. */
class SalvageReader implements MlogReader {
  readonly #check: () => void;
  readonly #begin: () => Walk;
  readonly #atEnd: (walk: Walk) => void;
  #walk: Walk;
  #peeked: Uint8Array | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(check: () => void, begin: () => Walk, atEnd: (walk: Walk) => void) {
    this.#check = check;
    this.#begin = begin;
    this.#atEnd = atEnd;
    this.#walk = begin();
  }

  next(options: { maxBytes?: number | undefined } = {}): Promise<Uint8Array | undefined> {
    return this.#inTurn(async () => {
      checkOptions(options);
      const { maxBytes } = options;
      integerIn('maxBytes', maxBytes, 0, Number.MAX_SAFE_INTEGER);
      const record = await this.#peek();
      if (record === undefined) return undefined;
      this.#refuseLonger(record, maxBytes ?? Infinity);
      this.#peeked = undefined;
      return record;
    });
  }

  skip(lengthBytes: number): Promise<void> {
    return this.#inTurn(async () => {
      integerIn('lengthBytes', lengthBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
      const record = await this.#peek();
      if (record !== undefined) this.#refuseLonger(record, lengthBytes);
      this.#peeked = undefined;
      if (record?.length === lengthBytes) return;
      const what =
        record === undefined ? 'there is no next record' : `it has ${record.length} bytes`;
      throw new MpoolError('ERR_MPOOL_SKIP_MISMATCH', `${lengthBytes} bytes to skip, ${what}`);
    });
  }

  rewind(): void {
    this.#walk = this.#begin();
    this.#peeked = undefined;
  }

  close(): Promise<void> {
    return this.#inTurn(async () => this.rewind());
  }

  async #peek(): Promise<Uint8Array | undefined> {
    this.#check();
    this.#peeked ??= await this.#walk.next();
    if (this.#peeked === undefined) this.#atEnd(this.#walk);
    return this.#peeked;
  }

  #refuseLonger({ length }: Uint8Array, mostBytes: number): void {
    if (length <= mostBytes) return;
    const detail = `the next record has ${length} bytes, the buffer ${mostBytes}`;
    throw new MpoolError('ERR_MPOOL_TOO_LARGE', detail);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }
}
