import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { readAsync } from '../device/device.ts';
import {
  CHUNK_HEADER_BYTES,
  ChunkKind,
  chunkKind,
  chunkLengthBytes,
  FRAME_FLAG_CLOSED,
  laterWitness,
  type LogWitness,
  NO_WITNESS,
  RECORD_BYTES_MAX,
} from '../format/log-frame.ts';
import {
  decodeLogHeader,
  LOG_HEADER_BYTES,
  type LogHeader,
  type LogHeaderDecoded,
} from '../format/log-header.ts';
import { zeroBetween } from '../format/u64.ts';
import {
  FIRST_POSITION,
  FrameCursor,
  type Frame,
  type FramePosition,
  type Leftovers,
  type LogPlace,
} from './frame-cursor.ts';

export type { LogPlace } from './frame-cursor.ts';

/**
 * One record. `bytes` are lent: they are reused after the call. `view` is of the same bytes, so
 * that a visitor need not make one; `frameOffsetBytes` is of the frame in which the record ends.
 */
export type RecordVisitor = (
  bytes: Uint8Array,
  start: number,
  end: number,
  view: DataView,
  frameOffsetBytes: number,
) => void;

/** Where a log ends, and what is to be thought of what follows. */
export interface LogEnd {
  /** Offset in the extent where the next frame goes. */
  endBytes: number;
  /** Of the last frame; 0 when there is none. */
  lastSequence: number;
  lastCrc: number;
  /** Leftovers included: the next frame's sequence must be above it. */
  sequenceSeenMax: number;
  /** Whole records, and frames. */
  recordCount: number;
  frameCount: number;
  /** Below it everything was acknowledged: of the header and of the frames before the end. */
  durableBytes: number;
  /** The last frame says that the log was closed in good order. */
  closed: boolean;
  /** Where the closing frame is, when the log ends with one. */
  beforeClose?: FramePosition | undefined;
  /** The most that frames say of another log, those included that were never acknowledged. */
  witness: LogWitness;
  /** Whether the frames passed the boundary that was expected. */
  passedExpected: boolean;
  /** Markers seen; `compacting` when the last one says started. */
  compactionStarts: number;
  compactionEnds: number;
  compacting: boolean;
  /**
   * clean: no frame of this generation follows (the header of a torn one may be unrecognizable).
   * torn: frames follow that were never acknowledged and do not exist.
   * damaged: acknowledged frames, or the payload of a whole one, cannot be read.
   */
  verdict: 'clean' | 'torn' | 'damaged';
  damagedAtBytes?: number | undefined;
  /** For people: why the verdict is torn or damaged. */
  detail?: string | undefined;
}

export interface ScanOptions {
  /**
   * Longer records are damage: what the reader is ready to assemble. RECORD_BYTES_MAX by default.
   */
  recordBytesMax?: number | undefined;
  /** Each frame before its records; `recordCount` of the records before it. */
  onFrame?: ((frame: Frame, recordCount: number) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** A boundary at which a frame should end. */
  expected?: FramePosition | undefined;
}

/**
 * The header of the log that should be there.
 * @throws ERR_MPOOL_IO when it cannot be read
 */
export async function readLogHeader(place: LogPlace): Promise<LogHeaderDecoded> {
  const buffer = place.device.allocate(LOG_HEADER_BYTES);
  try {
    await readAsync(place.device, place.extent.pageAddress * PAGE_BYTES, buffer);
    return decodeLogHeader(buffer, {
      identity: place.identity,
      sectorBytes: place.sectorBytes,
      extentBytes: place.extent.pageCount * PAGE_BYTES,
    });
  } finally {
    place.device.release(buffer);
  }
}

/**
 * Reads a log from its first frame to its end and judges what follows (docs/format.md §3).
 * Memory is bounded by a few frames, and by the longest record that is in pieces.
 * @param visit each whole record in order; without it pieces are not even assembled
 * @throws ERR_MPOOL_IO when the device cannot read; ERR_MPOOL_ABORTED; what `visit` throws
 */
export async function scanLog(
  place: LogPlace,
  header: LogHeader,
  visit?: RecordVisitor,
  options: ScanOptions = {},
): Promise<LogEnd> {
  const cursor = new FrameCursor(place, header);
  const chunks = new ChunkParser(visit, options.recordBytesMax ?? RECORD_BYTES_MAX);
  let durableBytes = header.committedBytes;
  let frameCount = 0;
  let closed = false;
  let beforeClose: FramePosition | undefined;
  let witness = NO_WITNESS;
  const { expected } = options;
  let passedExpected = isSame(expected, FIRST_POSITION);
  let damaged: Pick<LogEnd, 'damagedAtBytes' | 'detail'> | undefined;
  let before = cursor.position;
  try {
    for (;;) {
      before = cursor.position;
      // oxlint-disable-next-line no-await-in-loop -- frames are a chain
      const frame = await cursor.next();
      if (frame === undefined) break;
      if (options.signal?.aborted === true) throw new MpoolError('ERR_MPOOL_ABORTED');
      options.onFrame?.(frame, chunks.recordCount);
      const problem = chunks.parse(frame);
      if (problem !== undefined) {
        damaged = { damagedAtBytes: frame.offsetBytes, detail: problem };
        break;
      }
      frameCount += 1;
      // Read-ahead may be so far ahead that no read is waited for: others must run all the same.
      if (frameCount % FRAMES_PER_SLICE === 0) await new Promise(setImmediate);
      durableBytes = Math.max(durableBytes, frame.header.durableBytes);
      closed = frame.header.flags === FRAME_FLAG_CLOSED;
      beforeClose = closed ? before : undefined;
      witness = laterWitness(witness, frame.header.witness);
      passedExpected ||= isSame(expected, cursor.position);
    }
    const position = damaged === undefined ? cursor.position : before;
    const end = {
      endBytes: position.offsetBytes,
      lastSequence: position.sequence,
      lastCrc: position.crc,
      recordCount: chunks.recordCount,
      frameCount,
      durableBytes,
      closed,
      beforeClose,
      witness,
      passedExpected,
      compactionStarts: chunks.compactionStarts,
      compactionEnds: chunks.compactionEnds,
      compacting: chunks.compacting,
    };
    if (damaged !== undefined) {
      return { ...end, sequenceSeenMax: cursor.position.sequence, verdict: 'damaged', ...damaged };
    }
    const left = await cursor.leftovers();
    const verdict = judge(cursor, left, durableBytes);
    return { ...end, witness: laterWitness(witness, left.witness), ...verdict };
  } finally {
    await cursor.close();
  }
}

function isSame(a: FramePosition | undefined, b: FramePosition): boolean {
  return a?.offsetBytes === b.offsetBytes && a.sequence === b.sequence && a.crc === b.crc;
}

/** A full frame holds some 6,000 records: a millisecond or two of work. */
const FRAMES_PER_SLICE = 4;

/** Tells a torn tail from damage: by what was durable according to any frame of this generation. */
function judge(
  cursor: FrameCursor,
  left: Leftovers,
  durableBytes: number,
): Pick<LogEnd, 'sequenceSeenMax' | 'verdict' | 'damagedAtBytes' | 'detail'> {
  const { offsetBytes } = cursor.position;
  const sequenceSeenMax = left.sequenceMax;
  const known = Math.max(durableBytes, left.durableBytes);
  if (known > offsetBytes) {
    const detail = `bytes up to ${known} were durable, no frame at ${offsetBytes} (${cursor.stop})`;
    return { sequenceSeenMax, verdict: 'damaged', damagedAtBytes: offsetBytes, detail };
  }
  if (left.count > 0) {
    const detail = `${left.count} frames after ${offsetBytes} were never acknowledged`;
    return { sequenceSeenMax, verdict: 'torn', detail };
  }
  return { sequenceSeenMax, verdict: 'clean' };
}

/** Walks the chunks of frames, given in order, and puts records in pieces together. */
export class ChunkParser {
  recordCount = 0;
  compactionStarts = 0;
  compactionEnds = 0;
  compacting = false;
  readonly #visit: RecordVisitor | undefined;
  readonly #recordBytesMax: number;
  /** Copies, in order, of the pieces so far; undefined between records. */
  #pieces: Uint8Array[] | undefined;
  #pieceBytes = 0;

  constructor(visit: RecordVisitor | undefined, recordBytesMax: number) {
    this.#visit = visit;
    this.#recordBytesMax = recordBytesMax;
  }

  /** @returns why the payload is no row of chunks, or undefined */
  parse(frame: Frame): string | undefined {
    const { bytes, view, payloadEnd, offsetBytes } = frame;
    const visit = this.#visit;
    let at = frame.payloadStart;
    while (at < payloadEnd) {
      if (at + CHUNK_HEADER_BYTES > payloadEnd) return 'a chunk has no header';
      const word = view.getUint32(at, true);
      const start = at + CHUNK_HEADER_BYTES;
      const end = start + chunkLengthBytes(word);
      if (end > payloadEnd) return 'a chunk passes the end of its frame';
      at = end;
      const kind = chunkKind(word);
      if (kind === ChunkKind.whole) {
        this.#pieces = undefined;
        if (end - start > this.#recordBytesMax) return 'a record is too long';
        if (visit !== undefined) visit(bytes, start, end, view, offsetBytes);
        this.recordCount += 1;
      } else {
        const problem = this.#uncommon(kind, frame, start, end);
        if (problem !== undefined) return problem;
      }
    }
    return zeroBetween(bytes, payloadEnd, frame.end) ? undefined : 'the padding is not zero';
  }

  #uncommon(kind: number, frame: Frame, start: number, end: number): string | undefined {
    switch (kind) {
      case ChunkKind.first:
        this.#pieces = [];
        this.#pieceBytes = 0;
        return this.#piece(frame.bytes, start, end);
      case ChunkKind.middle:
        return this.#piece(frame.bytes, start, end);
      case ChunkKind.last: {
        const problem = this.#piece(frame.bytes, start, end);
        if (problem === undefined) this.#assembled(frame.offsetBytes);
        return problem;
      }
      case ChunkKind.compactionStart:
      case ChunkKind.compactionEnd:
        return start === end ? this.#marker(kind) : 'a marker has a length';
      default:
        return `a chunk of kind ${kind}`;
    }
  }

  #piece(bytes: Uint8Array, start: number, end: number): string | undefined {
    if (this.#pieces === undefined) return 'a piece of a record without its first';
    this.#pieceBytes += end - start;
    if (this.#pieceBytes > this.#recordBytesMax) return 'a record is too long';
    if (this.#visit !== undefined && end > start) this.#pieces.push(bytes.slice(start, end));
    return undefined;
  }

  #assembled(frameOffsetBytes: number): void {
    const pieces = this.#pieces!;
    this.#pieces = undefined;
    this.recordCount += 1;
    if (this.#visit === undefined) return;
    const record = new Uint8Array(this.#pieceBytes);
    let at = 0;
    for (const piece of pieces) {
      record.set(piece, at);
      at += piece.length;
    }
    this.#visit(record, 0, record.length, new DataView(record.buffer), frameOffsetBytes);
  }

  #marker(kind: number): undefined {
    this.#pieces = undefined;
    this.compacting = kind === ChunkKind.compactionStart;
    if (this.compacting) this.compactionStarts += 1;
    else this.compactionEnds += 1;
    return undefined;
  }
}
