/**
 * Log frame: a header of 64 bytes at a sector boundary, a payload of chunks, zeros to the end of
 * the last sector.
 *
 *    0  4  magic, ASCII 'mpLF'
 *    4  4  CRC of identity ‖ salt u32 ‖ offset of the frame in the extent u64 ‖ bytes 8 … 63
 *    8  8  generation
 *   16  8  sequence: rises from frame to frame, from 1
 *   24  4  payload bytes; header + payload ≤ 262,144
 *   28  4  CRC of payload and padding
 *   32  4  CRC field of the previous frame (0 for the first of a generation)
 *   36  4  flags: bit 0 = closed in good order (the payload is empty)
 *   40  8  durableBytes: offset below which everything was durable when this frame was made
 *   48  8  number of records that are complete before this frame in this generation
 *   56  4  witness: generation of another log, low 32 bits        both zero: no witness; always so in
 *   60  4  and where it was durable when this frame was made, / 512  a pool without the feature
 *
 * Users' logs and MDC 0 bear witness of MDC 1, and MDC 1 of MDC 0.
 *
 * Chunk: u32 = kind × 2^29 + length, then length bytes, with no alignment.
 */
import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { KIB, MIB, roundUp } from '../base/units.ts';
import { LOG_HEADER_BYTES, LOG_IDENTITY_BYTES } from './log-header.ts';
import { getU64, setU64 } from './u64.ts';

export const FRAME_BYTES_MAX = 256 * KIB;
export const FRAME_HEADER_BYTES = 64;
export const FRAME_PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;
/** How far beyond the end of a log leftovers of unacknowledged writes are looked for. */
export const TORN_WINDOW_BYTES = 2 * MIB;
/** Twice what fits into the window, so that leftovers never lie beyond it. */
export const FRAMES_IN_FLIGHT_MAX = 4;
/** No writer comes near it; a hostile one must not leave us without a next sequence. */
export const SEQUENCE_MAX = 2 ** 52;
/** No record is longer: a reader must be able to hold it. */
export const RECORD_BYTES_MAX = 2 ** 30;

export const CHUNK_HEADER_BYTES = 4;
/** As it lies on media. */
export const ChunkKind = {
  whole: 0,
  first: 1,
  middle: 2,
  last: 3,
  compactionStart: 4,
  compactionEnd: 5,
} as const;

const MAGIC = 0x464c706d; // 'mpLF', little-endian
/** The smallest sector: ends of frames are multiples of it. */
const WITNESS_UNIT_BYTES = 512;
/** Flag of a frame: the log was closed in good order; the payload is empty. */
export const FRAME_FLAG_CLOSED = 1;

export interface FrameFields {
  generation: number;
  sequence: number;
  payloadBytes: number;
  /** Of payload and padding. */
  payloadCrc: number;
  /** `crc` of the frame before, 0 for the first of a generation. */
  previousCrc: number;
  /** 0 or FRAME_FLAG_CLOSED. */
  flags: number;
  durableBytes: number;
  /** Records complete before this frame in this generation. */
  recordsBefore: number;
  /** Up to where another log was durable; NO_WITNESS when nothing is said. */
  witness: LogWitness;
}

/** Of a log: below `endBytes` of its extent all frames of the generation are durable. */
export interface LogWitness {
  /** On media only its low 32 bits. */
  generation: number;
  endBytes: number;
}

export const NO_WITNESS: Readonly<LogWitness> = { generation: 0, endBytes: 0 };

export interface FrameHeader extends FrameFields {
  /** Offset of the frame in the extent of the log. */
  offsetBytes: number;
  /** Of header and place: what the next frame carries as `previousCrc`. */
  crc: number;
}

/** Where a frame header is read: what it must agree with. */
export interface FramePlace {
  /** Of frameSeed(). */
  seed: number;
  offsetBytes: number;
  extentBytes: number;
  generation: number;
  sectorBytes: number;
  /** Whether frames of the pool bear witness. */
  witnesses: boolean;
}

export type FrameProblem = 'magic' | 'checksum' | 'content';

export function chunkWord(kind: number, lengthBytes: number): number {
  return kind * 2 ** 29 + lengthBytes;
}

export function chunkKind(word: number): number {
  return word >>> 29;
}

export function chunkLengthBytes(word: number): number {
  return word & 0x1fffffff;
}

/** Header, payload and padding: a whole number of sectors. */
export function frameBytesOf(payloadBytes: number, sectorBytes: number): number {
  return roundUp(FRAME_HEADER_BYTES + payloadBytes, sectorBytes);
}

/** What the checksum of every frame header of one generation of a log begins with. */
export function frameSeed(identity: Uint8Array, salt: number): number {
  assert(identity.length === LOG_IDENTITY_BYTES, 'an identity has 24 bytes');
  scratchView.setUint32(0, salt, true);
  return crc32c(scratch.subarray(0, 4), crc32c(identity));
}

/**
 * Writes the header of a frame.
 * @param bytes its first 64 bytes are written; payload and zeroed padding are the caller's
 * @param seed of frameSeed()
 * @param offsetBytes of the frame in the extent of the log
 * @returns its CRC field, which the next frame carries as `previousCrc`
 */
export function encodeFrameHeader(
  bytes: Uint8Array,
  fields: FrameFields,
  seed: number,
  offsetBytes: number,
): number {
  const { payloadBytes, flags, durableBytes } = fields;
  assert(payloadBytes <= FRAME_PAYLOAD_BYTES_MAX, 'a frame has at most 256 KiB');
  assert(flags === 0 || (flags === FRAME_FLAG_CLOSED && payloadBytes === 0), 'flags are known');
  assert(fields.sequence >= 1 && fields.generation >= 1, 'sequences and generations are from 1');
  assert(durableBytes >= LOG_HEADER_BYTES && durableBytes <= offsetBytes, 'durable lies before');
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC, true);
  setU64(view, 8, fields.generation);
  setU64(view, 16, fields.sequence);
  view.setUint32(24, payloadBytes, true);
  view.setUint32(28, fields.payloadCrc, true);
  view.setUint32(32, fields.previousCrc, true);
  view.setUint32(36, flags, true);
  setU64(view, 40, durableBytes);
  setU64(view, 48, fields.recordsBefore);
  view.setUint32(56, fields.witness.generation % 2 ** 32, true);
  view.setUint32(60, Math.min(fields.witness.endBytes / WITNESS_UNIT_BYTES, 0xffffffff), true);
  const crc = headerCrc(bytes, 0, seed, offsetBytes);
  view.setUint32(4, crc, true);
  return crc;
}

/** A cheap test before decodeFrameHeader(): most sectors that are no frame fail it. */
export function hasFrameMagic(view: DataView, start: number): boolean {
  return view.getUint32(start, true) === MAGIC;
}

/** What of a header can be compared when its checksum is wrong. @param bytes from its first on */
export function frameTraces(bytes: Uint8Array): {
  hasMagic: boolean;
  generation: number;
  previousCrc: number;
} {
  const view = viewOf(bytes);
  return {
    hasMagic: hasFrameMagic(view, 0),
    generation: getU64(view, 8),
    previousCrc: view.getUint32(32, true),
  };
}

/**
 * The header at `start`: magic, checksum, place and ranges. The payload is verified apart.
 * Never throws, whatever the bytes, as long as there are 64 of them.
 */
export function decodeFrameHeader(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  place: FramePlace,
): FrameHeader | FrameProblem {
  if (!hasFrameMagic(view, start)) return 'magic';
  const crc = view.getUint32(start + 4, true);
  if (crc !== headerCrc(bytes, start, place.seed, place.offsetBytes)) return 'checksum';
  const header: FrameHeader = {
    offsetBytes: place.offsetBytes,
    generation: getU64(view, start + 8),
    sequence: getU64(view, start + 16),
    payloadBytes: view.getUint32(start + 24, true),
    payloadCrc: view.getUint32(start + 28, true),
    previousCrc: view.getUint32(start + 32, true),
    flags: view.getUint32(start + 36, true),
    durableBytes: getU64(view, start + 40),
    recordsBefore: getU64(view, start + 48),
    witness: witnessAt(view, start + 56),
    crc,
  };
  const allowed = place.witnesses || header.witness === NO_WITNESS;
  return allowed && isPossible(header, place) ? header : 'content';
}

function witnessAt(view: DataView, start: number): LogWitness {
  const generation = view.getUint32(start, true);
  const endBytes = view.getUint32(start + 4, true) * WITNESS_UNIT_BYTES;
  return generation === 0 && endBytes === 0 ? NO_WITNESS : { generation, endBytes };
}

/**
 * By how much the first generation is above the second, of which one or both may be cut to 32 bits: right
 * as long as they are less than 2^31 apart.
 */
export function generationsAhead(generation: number, of: number): number {
  return ((generation % 2 ** 32) - (of % 2 ** 32)) | 0;
}

/** Which of two things said of one log says more. */
export function laterWitness(a: LogWitness, b: LogWitness): LogWitness {
  if (b.endBytes === 0) return a;
  if (a.endBytes === 0) return b;
  const ahead = generationsAhead(b.generation, a.generation);
  return ahead > 0 || (ahead === 0 && b.endBytes > a.endBytes) ? b : a;
}

/** True when payload and padding are as the header says. All of the frame must be in `bytes`. */
export function payloadIsRight(
  bytes: Uint8Array,
  start: number,
  header: FrameHeader,
  sectorBytes: number,
): boolean {
  const end = start + frameBytesOf(header.payloadBytes, sectorBytes);
  return crc32c(bytes.subarray(start + FRAME_HEADER_BYTES, end)) === header.payloadCrc;
}

function isPossible(header: FrameHeader, place: FramePlace): boolean {
  const { payloadBytes, durableBytes, sequence, recordsBefore, offsetBytes } = header;
  if (header.generation !== place.generation) return false;
  if (!(sequence >= 1 && sequence <= SEQUENCE_MAX)) return false;
  if (payloadBytes > FRAME_PAYLOAD_BYTES_MAX || header.flags > FRAME_FLAG_CLOSED) return false;
  if (header.flags === FRAME_FLAG_CLOSED && payloadBytes !== 0) return false;
  const frameBytes = frameBytesOf(payloadBytes, place.sectorBytes);
  if (offsetBytes + frameBytes > place.extentBytes) return false;
  if (durableBytes < LOG_HEADER_BYTES || durableBytes > offsetBytes) return false;
  return durableBytes % place.sectorBytes === 0 && Number.isSafeInteger(recordsBefore);
}

const scratch = new Uint8Array(8);
const scratchView = viewOf(scratch);

function headerCrc(bytes: Uint8Array, start: number, seed: number, offsetBytes: number): number {
  setU64(scratchView, 0, offsetBytes);
  return crc32c(bytes.subarray(start + 8, start + FRAME_HEADER_BYTES), crc32c(scratch, seed));
}
