import type { Device, Done } from '../device/device.ts';
import { roundUp } from '../base/units.ts';
import { CHUNK_HEADER_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES } from '../format/log-frame.ts';
import type { SealedFrame } from './open-frame.ts';

/** Where a log stands. */
export interface LogRoom {
  /** What the open frame (or the next) can still take, chunk headers included. */
  roomBytes: number;
  /** What the open frame holds; 0 when there is none. */
  usedBytes: number;
  /** Where it begins, and where the extent ends. */
  tailBytes: number;
  extentBytes: number;
  sectorBytes: number;
}

/**
 * How many zeros a frame takes with it. A file's blocks that no one wrote before cost each durable write a
 * transaction of the file system, ten times what the write itself costs; so a small frame brings those of
 * the next ones with it.
 * @param touchedBytes up to where the file has its blocks
 */
export function zerosBehind(
  log: { place: { device: Device }; extentBytes: number },
  frame: { offsetBytes: number; bytes: Uint8Array },
  touchedBytes: number,
): number {
  const endBytes = frame.offsetBytes + frame.bytes.length;
  if (endBytes <= touchedBytes || frame.bytes.length > ZERO_BEHIND_BYTES_MAX) return 0;
  if (log.place.device.kind === 'block') return 0;
  return Math.min(frame.offsetBytes + ZERO_AHEAD_BYTES, log.extentBytes) - endBytes;
}

/** So that of small appends one in fifty pays. */
const ZERO_AHEAD_BYTES = FRAME_BYTES_MAX;
/** Larger frames are bound by bandwidth: zeros would double what they write. */
const ZERO_BEHIND_BYTES_MAX = 32 * 1024;

/** Whether a record fits: whole into the open frame, or in pieces that fill it and frames of their own. */
export function recordFits(lengthBytes: number, at: LogRoom): boolean {
  if (CHUNK_HEADER_BYTES + lengthBytes <= at.roomBytes) return true;
  const overhead = FRAME_HEADER_BYTES + CHUNK_HEADER_BYTES;
  let left = lengthBytes;
  let next = at.tailBytes;
  if (at.usedBytes > 0) {
    const takesPiece = at.roomBytes > CHUNK_HEADER_BYTES;
    if (takesPiece) left -= at.roomBytes - CHUNK_HEADER_BYTES;
    next += takesPiece ? at.usedBytes + at.roomBytes : roundUp(at.usedBytes, at.sectorBytes);
  }
  const rest = at.extentBytes - next;
  if (lengthBytes === 0) return rest >= overhead;
  const lastFrame = Math.max(0, (rest % FRAME_BYTES_MAX) - overhead);
  return left <= Math.floor(rest / FRAME_BYTES_MAX) * (FRAME_BYTES_MAX - overhead) + lastFrame;
}

/**
 * Puts zeros behind a frame's bytes, in one buffer.
 * @returns false, and nothing changed, when there is no memory for it: the frame is whole without them
 */
export function addZeros(device: Device, frame: SealedFrame, zeroBytes: number): boolean {
  const frameBytes = frame.bytes.length;
  let larger: Uint8Array;
  try {
    larger = device.allocate(frameBytes + zeroBytes);
  } catch {
    return false;
  }
  larger.set(frame.bytes);
  larger.fill(0, frameBytes);
  device.release(frame.buffer);
  frame.buffer = larger;
  frame.bytes = larger;
  return true;
}

/**
 * Writes a frame and the zeros behind it; when there is no space for these, the frame alone: a full file
 * system may still have its blocks, and deleting must not need new ones.
 * @param at.frameBytes of the frame without its zeros
 * @param at.mayRetry whether it may be written once more
 */
export function writeZeroed(
  device: Device,
  { bytes, durability }: SealedFrame,
  at: { offsetBytes: number; frameBytes: number; mayRetry: () => boolean },
  done: Done,
): void {
  const { offsetBytes, frameBytes, mayRetry } = at;
  device.write(offsetBytes, bytes, durability, (error) => {
    const isFull = error?.code === 'ERR_MPOOL_NO_SPACE' && frameBytes < bytes.length;
    if (!isFull || !mayRetry()) return done(error);
    device.write(offsetBytes, bytes.subarray(0, frameBytes), durability, done);
  });
}
