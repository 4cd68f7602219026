/**
 * What leaves a socket: frames of one turn of the event loop go out in one write (writev where payloads are
 * large), because a write costs as much as fifty small frames.
 *
 * Small frames are written one behind the other into a batch that is never used again, so nothing has to be
 * known about when the kernel took it. Large payloads go by reference.
 */
import type { Socket } from 'node:net';
import { checkLength, HEADER_BYTES, textOfBody, writeHeader } from './wire.ts';

/** Bytes beyond the JSON; several pieces are sent one behind the other. */
export type Payload = Uint8Array | readonly Uint8Array[];

const BATCH_BYTES = 2 ** 16;
/** From here on copying a payload costs more than one more piece in a writev. */
const BY_REFERENCE_BYTES = 2 ** 13;
/** So much leaves at once: waiting for more would not make the write cheaper. */
const FLUSH_BYTES = 2 ** 18;
/** Of UTF-8, for one UTF-16 unit. */
const UTF8_BYTES_MAX = 3;

const NO_PIECES: readonly Uint8Array[] = [];

export class FrameWriter {
  readonly #socket: Socket;
  /** Called when the kernel took all of a write. */
  readonly #onFlushed: () => void;
  #batch: Buffer = Buffer.alloc(0);
  /** Bytes of the batch that are in `pieces`, and that are written. */
  #start = 0;
  #end = 0;
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  #scheduled = false;
  #ended = false;

  constructor(socket: Socket, onFlushed: () => void) {
    this.#socket = socket;
    this.#onFlushed = onFlushed;
  }

  /** Bytes that the kernel did not take yet. */
  get backlogBytes(): number {
    return this.#pieceBytes + this.#end - this.#start + this.#socket.writableLength;
  }

  /**
   * @param payload unchanged until the kernel took it
   * @returns bytes of the frame
   * @throws RangeError when the frame would be too long: nothing is sent then
   */
  frame(id: number, kind: number, body: object | undefined, payload?: Payload): number {
    const text = textOfBody(body);
    const pieces =
      payload === undefined ? NO_PIECES : payload instanceof Uint8Array ? [payload] : payload;
    let payloadBytes = 0;
    for (const piece of pieces) payloadBytes += piece.length;
    const most = text.length * UTF8_BYTES_MAX;
    if (most + payloadBytes > FLUSH_BYTES) checkLength(Buffer.byteLength(text), payloadBytes);
    this.#reserve(HEADER_BYTES + most);
    const at = this.#end;
    const jsonBytes = text === '' ? 0 : this.#batch.write(text, at + HEADER_BYTES);
    writeHeader(this.#batch, at, id, kind, jsonBytes, payloadBytes);
    this.#end = at + HEADER_BYTES + jsonBytes;
    for (const piece of pieces) this.#append(piece);
    if (this.#pieceBytes + this.#end - this.#start >= FLUSH_BYTES) this.flush();
    else if (!this.#scheduled) this.#schedule();
    return HEADER_BYTES + jsonBytes + payloadBytes;
  }

  /** Writes what is queued, now. */
  flush(): void {
    if (this.#ended) return;
    this.#cut();
    const pieces = this.#pieces;
    if (pieces.length > 0) {
      this.#pieces = [];
      this.#pieceBytes = 0;
      const last = pieces.pop()!;
      if (pieces.length > 0) this.#socket.cork();
      for (const piece of pieces) this.#socket.write(piece);
      this.#socket.write(last, this.#onFlushed);
      if (pieces.length > 0) this.#socket.uncork();
    }
  }

  /** Drops what is queued; nothing is written from now on. */
  end(): void {
    this.#ended = true;
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#start = this.#end;
  }

  #schedule(): void {
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  #append(piece: Uint8Array): void {
    if (piece.length >= BY_REFERENCE_BYTES) {
      this.#cut();
      this.#pieces.push(piece);
      this.#pieceBytes += piece.length;
    } else {
      this.#reserve(piece.length);
      this.#batch.set(piece, this.#end);
      this.#end += piece.length;
    }
  }

  /** Ends the piece of the batch that is being filled. */
  #cut(): void {
    if (this.#end === this.#start) return;
    this.#pieces.push(this.#batch.subarray(this.#start, this.#end));
    this.#pieceBytes += this.#end - this.#start;
    this.#start = this.#end;
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#batch.length) return;
    this.#cut();
    this.#batch = Buffer.allocUnsafeSlow(Math.max(bytes, BATCH_BYTES));
    this.#start = 0;
    this.#end = 0;
  }
}
