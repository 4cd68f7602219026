import { viewOf } from '../base/bytes.ts';
import { isMpoolError } from '../base/errors.ts';
import { MIB, PAGE_BYTES } from '../base/units.ts';
import { readAsync, type Device } from '../device/device.ts';
import { saltOfFrame } from '../format/frame-salt.ts';
import {
  CHUNK_HEADER_BYTES,
  ChunkKind,
  chunkKind,
  chunkLengthBytes,
  decodeFrameHeader,
  FRAME_FLAG_CLOSED,
  FRAME_HEADER_BYTES,
  frameBytesOf,
  frameSeed,
  frameTraces,
  hasFrameMagic,
  laterWitness,
  type LogWitness,
  NO_WITNESS,
  payloadIsRight,
  RECORD_BYTES_MAX,
  type FrameHeader,
} from '../format/log-frame.ts';
import { LOG_HEADER_BYTES, type LogHeader } from '../format/log-header.ts';
import type { Frame, LogPlace } from './frame-cursor.ts';
import { ChunkParser, type RecordVisitor } from './log-scan.ts';

/** A part of a log, in bytes of its extent, of which no frame can be read. */
export interface Gap {
  fromBytes: number;
  toBytes: number;
  /** Records that end in it; undefined when no frame after it says so. */
  recordCount: number | undefined;
}

/** What can be read of a log, however much of it is damaged. */
export interface Salvaged {
  /** Acknowledged parts that cannot be read. */
  gaps: Gap[];
  /** End of the frames that follow from the first without a gap, and the whole records in them. */
  prefixBytes: number;
  prefixRecords: number;
  /** End of the last frame that counts. */
  endBytes: number;
  /** Records read. */
  recordCount: number;
  /** Frames whose count of the records before them is wrong. */
  miscounts: number;
  /** The last frame says that the log was closed in good order. */
  closed: boolean;
  /** The most that any of its frames says of another log. */
  witness: LogWitness;
}

/** The bytes of a log; sectors that cannot be read are zeros, and told of. */
export interface LogBytes {
  bytes: Uint8Array;
  unreadable: Set<number>;
}

/** Reads what can be read of a range, sector by sector where it must. Takes as much memory as that has. */
export async function readTolerant(
  device: Device,
  offsetBytes: number,
  lengthBytes: number,
): Promise<LogBytes> {
  const bytes = new Uint8Array(lengthBytes);
  const unreadable = new Set<number>();
  const buffer = device.allocate(Math.min(MIB, lengthBytes));
  const read = async (at: number, length: number): Promise<boolean> => {
    const part = buffer.subarray(0, length);
    try {
      await readAsync(device, offsetBytes + at, part);
    } catch (error) {
      if (!isMpoolError(error)) throw error;
      return false;
    }
    bytes.set(part, at);
    return true;
  };
  try {
    for (let at = 0; at < lengthBytes; at += MIB) {
      const length = Math.min(MIB, lengthBytes - at);
      if (await read(at, length)) continue;
      for (let sector = at; sector < at + length; sector += device.sectorBytes) {
        if (!(await read(sector, device.sectorBytes))) unreadable.add(sector);
      }
    }
  } finally {
    device.release(buffer);
  }
  return { bytes, unreadable };
}

export function readLogTolerant({ device, extent }: LogPlace): Promise<LogBytes> {
  return readTolerant(device, extent.pageAddress * PAGE_BYTES, extent.pageCount * PAGE_BYTES);
}

/**
 * The salt of a log whose header is lost, from any of its frames that is whole.
 * @returns undefined when there is none of that generation
 */
export function findSalt(
  bytes: Uint8Array,
  place: LogPlace,
  generation: number,
): number | undefined {
  const view = viewOf(bytes);
  for (let at = LOG_HEADER_BYTES; at < bytes.length; at += place.sectorBytes) {
    if (!hasFrameMagic(view, at)) continue;
    const header = bytes.subarray(at, at + FRAME_HEADER_BYTES);
    if (frameTraces(header).generation !== generation) continue;
    const salt = saltOfFrame(place.identity, header, at);
    if (frameAt(bytes, view, at, place, { generation, salt }) !== undefined) return salt;
  }
  return undefined;
}

/**
 * Gives every record of a log that can be read, those behind damage too. A frame counts when it follows from
 * the first without a break, or when any frame (or the header) says that it was durable, or when it follows
 * from one that counts.
 */
export function salvageLog(
  bytes: Uint8Array,
  place: LogPlace,
  header: LogHeader,
  visit?: RecordVisitor,
): Salvaged {
  const found = allFrames(bytes, place, header);
  let durableBytes = header.committedBytes;
  for (const { header: each } of found) durableBytes = Math.max(durableBytes, each.durableBytes);
  const walk = new SalvageWalk(bytes, visit);
  for (const { header: each, linked, endBytes } of found) {
    const follows = linked && walk.endBytes === each.offsetBytes;
    if (follows || each.offsetBytes < durableBytes) walk.frame(each, endBytes);
  }
  walk.end(durableBytes);
  const { gaps, prefixBytes, prefixRecords, endBytes, recordCount, miscounts, closed } = walk;
  const witness = found.reduce(
    (most, frame) => laterWitness(most, frame.header.witness),
    NO_WITNESS,
  );
  return { gaps, prefixBytes, prefixRecords, endBytes, recordCount, miscounts, closed, witness };
}

/** Where headers of this generation are from an offset on, whatever became of their frames. */
export function headersFrom(
  bytes: Uint8Array,
  place: LogPlace,
  header: LogHeader,
  fromBytes: number,
): number[] {
  const view = viewOf(bytes);
  const found: number[] = [];
  for (let at = fromBytes; at + place.sectorBytes <= bytes.length; at += place.sectorBytes) {
    if (headerAt(bytes, view, at, place, header) !== undefined) found.push(at);
  }
  return found;
}

interface FoundFrame {
  header: FrameHeader;
  /** It follows from the frame found before it. */
  linked: boolean;
  endBytes: number;
}

function allFrames(bytes: Uint8Array, place: LogPlace, header: LogHeader): FoundFrame[] {
  const view = viewOf(bytes);
  const found: FoundFrame[] = [];
  let [sequence, crc, linked] = [0, 0, true];
  for (let at = LOG_HEADER_BYTES; at + place.sectorBytes <= bytes.length;) {
    const frame = frameAt(bytes, view, at, place, header);
    if (frame === undefined || frame.sequence <= sequence) {
      linked = false;
      at += place.sectorBytes;
      continue;
    }
    at += frameBytesOf(frame.payloadBytes, place.sectorBytes);
    found.push({ header: frame, linked: linked && frame.previousCrc === crc, endBytes: at });
    ({ sequence, crc } = frame);
    linked = true;
  }
  return found;
}

function frameAt(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  place: LogPlace,
  of: Pick<LogHeader, 'generation' | 'salt'>,
): FrameHeader | undefined {
  const header = headerAt(bytes, view, at, place, of);
  if (header === undefined) return undefined;
  return payloadIsRight(bytes, at, header, place.sectorBytes) ? header : undefined;
}

function headerAt(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  place: LogPlace,
  { generation, salt }: Pick<LogHeader, 'generation' | 'salt'>,
): FrameHeader | undefined {
  if (!hasFrameMagic(view, at)) return undefined;
  const { sectorBytes } = place;
  const header = decodeFrameHeader(bytes, view, at, {
    seed: frameSeed(place.identity, salt),
    offsetBytes: at,
    extentBytes: bytes.length,
    generation,
    sectorBytes,
    witnesses: place.witness !== undefined,
  });
  return typeof header === 'string' ? undefined : header;
}

/** Puts the frames that count together, and knows what is missing between them. */
class SalvageWalk {
  readonly gaps: Gap[] = [];
  endBytes = LOG_HEADER_BYTES;
  prefixBytes = LOG_HEADER_BYTES;
  prefixRecords = 0;
  recordCount = 0;
  miscounts = 0;
  closed = false;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #visit: RecordVisitor | undefined;
  #parser: ChunkParser;
  /** Records up to `endBytes` as the log counted them, those in gaps included. */
  #count = 0;
  /** What comes first is the rest of a record whose beginning is missing. */
  #skipping = false;
  /** A gap that began and has no end yet. */
  #gapFrom: number | undefined;

  constructor(bytes: Uint8Array, visit: RecordVisitor | undefined) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#visit = visit;
    this.#parser = new ChunkParser(visit, RECORD_BYTES_MAX);
  }

  frame(header: FrameHeader, endBytes: number): void {
    const { offsetBytes, recordsBefore, payloadBytes } = header;
    if (offsetBytes > this.endBytes) this.#gapFrom ??= this.endBytes;
    if (this.#gapFrom !== undefined) this.#endGap(offsetBytes, recordsBefore);
    else if (recordsBefore !== this.#count) this.miscounts += 1;
    const payloadStart = offsetBytes + FRAME_HEADER_BYTES;
    const frame: Frame = {
      bytes: this.#bytes,
      view: this.#view,
      payloadStart,
      payloadEnd: payloadStart + payloadBytes,
      end: endBytes,
      offsetBytes,
      header,
    };
    if (this.#skipping) this.#skipPieces(frame);
    const before = this.#parser.recordCount;
    const problem = this.#skipping ? undefined : this.#parser.parse(frame);
    const records = this.#parser.recordCount - before;
    this.recordCount += records;
    this.#count += records;
    this.endBytes = endBytes;
    this.closed = header.flags === FRAME_FLAG_CLOSED;
    if (problem !== undefined) this.#gapFrom = offsetBytes;
    else if (this.gaps.length === 0) {
      this.prefixBytes = endBytes;
      this.prefixRecords = this.recordCount;
    }
  }

  end(durableBytes: number): void {
    if (this.endBytes < durableBytes) this.#gapFrom ??= this.endBytes;
    if (this.#gapFrom === undefined) return;
    const toBytes = Math.max(durableBytes, this.endBytes);
    this.gaps.push({ fromBytes: this.#gapFrom, toBytes, recordCount: undefined });
  }

  #endGap(toBytes: number, recordsBefore: number): void {
    const recordCount = Math.max(0, recordsBefore - this.#count);
    this.gaps.push({ fromBytes: this.#gapFrom!, toBytes, recordCount });
    this.#gapFrom = undefined;
    this.#count = recordsBefore;
    this.#skipping = true;
    this.#parser = new ChunkParser(this.#visit, RECORD_BYTES_MAX);
  }

  /** The pieces at the beginning that go on with a record of the gap. */
  #skipPieces(frame: Frame): void {
    let at = frame.payloadStart;
    while (at + CHUNK_HEADER_BYTES <= frame.payloadEnd) {
      const word = frame.view.getUint32(at, true);
      const kind = chunkKind(word);
      if (kind !== ChunkKind.middle && kind !== ChunkKind.last) {
        this.#skipping = false;
        break;
      }
      at += CHUNK_HEADER_BYTES + chunkLengthBytes(word);
      if (kind !== ChunkKind.last) continue;
      // It is among the records that the gap took.
      const gap = this.gaps.at(-1)!;
      gap.recordCount = (gap.recordCount ?? 0) + 1;
      this.#count += 1;
    }
    frame.payloadStart = Math.min(at, frame.payloadEnd);
  }
}
