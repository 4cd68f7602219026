import type { Device, Durability } from '../device/device.ts';
import { roundUp } from '../base/units.ts';
import { CHUNK_HEADER_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES } from '../format/log-frame.ts';

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

/** Of a log, sealed and not written yet. */
export interface Frame {
  /** As allocated; `bytes` is the part that is written. */
  buffer: Uint8Array;
  bytes: Uint8Array;
  readonly offsetBytes: number;
  readonly sequence: number;
  readonly durability: Durability;
  written: boolean;
}

/**
 * Puts zeros behind a frame's bytes, in one buffer.
 * @returns false, and nothing changed, when there is no memory for it: the frame is whole without them
 */
export function addZeros(device: Device, frame: Frame, zeroBytes: number): boolean {
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
