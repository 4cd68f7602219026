/**
 * Frames: what goes over a socket, little-endian, as docs/daemon.md has it.
 *
 *   0   u32  bytes that follow, 12 … FRAME_BYTES_MAX
 *   4   u32  id of the request; 0 for what the daemon says unasked
 *   8   u16  kind: of a request its operation, of an answer 0 (done) or 1 (an error), of a notice its number
 *  10   u16  0
 *  12   u32  bytes of the JSON; 0 says {}
 *  16        JSON in UTF-8, always an object; then the payload, which is all the rest
 *
 * The decoder trusts nothing: whatever comes is a frame or an ERR_MPOOL_PROTOCOL, and it never holds more
 * than was received, rounded up to twice that or 64 KiB (a length alone buys no memory).
 */
import { isUtf8 } from 'node:buffer';
import { invalidArgument, MpoolError } from '../base/errors.ts';

/** What follows the length: a payload of 1 MiB with its JSON. */
export const FRAME_BYTES_MAX = 2 ** 20 + 2 ** 16;
/** Before anyone said who he is. */
export const HELLO_BYTES_MAX = 2 ** 14;
const LENGTH_BYTES = 4;
export const HEADER_BYTES = 16;
const AFTER_LENGTH_BYTES = HEADER_BYTES - LENGTH_BYTES;
const GROWTH_BYTES_MIN = 2 ** 16;

/** Kinds of answers. */
export const KIND_DONE = 0;
export const KIND_ERROR = 1;

export interface Frame {
  id: number;
  kind: number;
  body: Readonly<Record<string, unknown>>;
  /** A view of what was received, which nobody else uses. */
  payload: Uint8Array;
  /** Of the whole frame. */
  lengthBytes: number;
}

const NOTHING = Buffer.alloc(0);
const NO_BODY: Readonly<Record<string, unknown>> = Object.freeze({});

export function protocolError(detail: string, cause?: unknown): MpoolError {
  return new MpoolError('ERR_MPOOL_PROTOCOL', detail, { cause });
}

/** Cuts what comes in into frames; push() what was received, then next() until there is none. */
export class FrameDecoder {
  /** Of what follows a length. */
  lengthMax: number;
  #chunk: Buffer = NOTHING;
  #at = 0;
  readonly #later: Buffer[] = [];
  /** A frame that does not lie in one chunk, as far as it came. */
  #partial: Buffer = NOTHING;
  #have = 0;
  /** Of the frame in `partial`, once its length came. */
  #total = 0;

  constructor(lengthMax = FRAME_BYTES_MAX) {
    this.lengthMax = lengthMax;
  }

  /** @param chunk handed over: payloads are views of it */
  push(chunk: Buffer): void {
    if (this.#at === this.#chunk.length && this.#later.length === 0) {
      this.#chunk = chunk;
      this.#at = 0;
    } else {
      this.#later.push(chunk);
    }
  }

  /**
   * The next whole frame, if it came.
   * @throws ERR_MPOOL_PROTOCOL, and then nothing after it can be understood
   */
  next(): Frame | undefined {
    for (;;) {
      const here = this.#chunk.length - this.#at;
      if (this.#have > 0) {
        if (this.#gather(here)) return this.#takePartial();
      } else if (here >= LENGTH_BYTES) {
        const total = this.#totalAt(this.#chunk, this.#at);
        if (here >= total) {
          const start = this.#at;
          this.#at += total;
          return decodeFrame(this.#chunk, start, total);
        }
        this.#gather(here);
      } else if (here > 0) {
        this.#gather(here);
      }
      if (this.#at < this.#chunk.length) continue;
      const chunk = this.#later.shift();
      if (chunk === undefined) return undefined;
      this.#chunk = chunk;
      this.#at = 0;
    }
  }

  #totalAt(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32LE(at);
    if (length < AFTER_LENGTH_BYTES || length > this.lengthMax) {
      throw protocolError(
        `a frame of ${length} bytes (${AFTER_LENGTH_BYTES} … ${this.lengthMax} are possible here)`,
      );
    }
    return LENGTH_BYTES + length;
  }

  /** Moves up to `here` bytes of the chunk to the partial frame. True when it is whole. */
  #gather(here: number): boolean {
    const want = this.#have < LENGTH_BYTES ? LENGTH_BYTES : this.#total;
    const count = Math.min(here, want - this.#have);
    const need = this.#have + count;
    if (this.#partial.length < need) {
      const roomy = Math.max(need, 2 * this.#partial.length, GROWTH_BYTES_MIN);
      const grown = Buffer.allocUnsafeSlow(Math.min(want, roomy));
      this.#partial.copy(grown, 0, 0, this.#have);
      this.#partial = grown;
    }
    this.#chunk.copy(this.#partial, this.#have, this.#at, this.#at + count);
    this.#at += count;
    this.#have = need;
    if (want === LENGTH_BYTES && need === LENGTH_BYTES) {
      this.#total = this.#totalAt(this.#partial, 0);
      return false;
    }
    return need === this.#total && need > LENGTH_BYTES;
  }

  #takePartial(): Frame {
    const bytes = this.#partial;
    this.#partial = NOTHING;
    this.#have = 0;
    return decodeFrame(bytes, 0, this.#total);
  }
}

function decodeFrame(bytes: Buffer, start: number, total: number): Frame {
  const jsonBytes = bytes.readUInt32LE(start + 12);
  const jsonStart = start + HEADER_BYTES;
  const jsonEnd = jsonStart + jsonBytes;
  const end = start + total;
  if (bytes.readUInt16LE(start + 10) !== 0) throw protocolError('bytes 10 and 11 are not zero');
  if (jsonEnd > end) throw protocolError('the JSON is longer than its frame');
  return {
    id: bytes.readUInt32LE(start + 4),
    kind: bytes.readUInt16LE(start + 8),
    body: jsonBytes === 0 ? NO_BODY : decodeBody(bytes, jsonStart, jsonEnd),
    payload: jsonEnd === end ? NOTHING : bytes.subarray(jsonEnd, end),
    lengthBytes: total,
  };
}

function decodeBody(bytes: Buffer, start: number, end: number): Readonly<Record<string, unknown>> {
  const text = bytes.toString('utf8', start, end);
  // What is no UTF-8 becomes this character; so may what is.
  if (text.includes('\ufffd') && !isUtf8(bytes.subarray(start, end))) {
    throw protocolError('the JSON is not UTF-8');
  }
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw protocolError('the JSON cannot be read', error);
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw protocolError('the JSON is not an object');
  }
  return body as Record<string, unknown>;
}

/** The text of a body; '' for one that says nothing. */
export function textOfBody(body: object | undefined): string {
  if (body === undefined) return '';
  const text = JSON.stringify(body);
  return text === '{}' ? '' : text;
}

/** @throws RangeError when a frame of such a JSON and payload is too long */
export function checkLength(jsonBytes: number, payloadBytes: number): void {
  const length = AFTER_LENGTH_BYTES + jsonBytes + payloadBytes;
  if (length > FRAME_BYTES_MAX) {
    throw invalidArgument(
      `a message of ${jsonBytes} bytes of JSON and ${payloadBytes} bytes of data is longer than ` +
        `${FRAME_BYTES_MAX} bytes: ask in several pieces`,
    );
  }
}

export function writeHeader(
  into: Buffer,
  at: number,
  id: number,
  kind: number,
  jsonBytes: number,
  payloadBytes: number,
): void {
  into.writeUInt32LE(AFTER_LENGTH_BYTES + jsonBytes + payloadBytes, at);
  into.writeUInt32LE(id, at + 4);
  into.writeUInt32LE(kind, at + 8);
  into.writeUInt32LE(jsonBytes, at + 12);
}

/** A whole frame without payload, for what goes out beside a channel. */
export function encodeFrame(id: number, kind: number, body: object): Buffer {
  const text = textOfBody(body);
  const jsonBytes = Buffer.byteLength(text);
  checkLength(jsonBytes, 0);
  const bytes = Buffer.alloc(HEADER_BYTES + jsonBytes);
  writeHeader(bytes, 0, id, kind, jsonBytes, 0);
  bytes.write(text, HEADER_BYTES);
  return bytes;
}
