/**
 * What leaves a socket: frames of one turn of the event loop go out in one write (writev where payloads are
 * large), because a write costs as much as fifty small frames.
 *
 * Small frames are written one behind the other into a batch. Large payloads go by reference.
 *
 * Invariant: a batch is used again, by whichever writer, only after the kernel took all that was in it.
 */
import type { Socket } from 'node:net';
import { checkLength, HEADER_BYTES, textOfBody, writeHeader } from './wire.ts';

/** Bytes beyond the JSON; several pieces are sent one behind the other. */
export type Payload = Uint8Array | readonly Uint8Array[];

const BATCH_BYTES = 2 ** 16;
/** Of all writers together. New memory for each batch had the collector take a third of a client's time. */
const SPARE_BATCHES_MAX = 32;
/** Beyond it copying a piece of a payload costs more than one more piece in a writev. */
export const COPIED_BYTES_MAX = 2 ** 13;
/** So much leaves at once: waiting for more would not make the write cheaper. */
const FLUSH_BYTES = 2 ** 18;
/** Of UTF-8, for one UTF-16 unit. */
const UTF8_BYTES_MAX = 3;

const NO_PIECES: readonly Uint8Array[] = [];
const NO_BATCH = Buffer.alloc(0);
const spareBatches: Buffer[] = [];

export class FrameWriter {
  readonly #socket: Socket;
  /** Called when the kernel took all of a write. */
  readonly #onFlushed: () => void;
  readonly #onWritten = (): void => {
    this.#reuse();
    this.#onFlushed();
  };
  #batch: Buffer = NO_BATCH;
  /** Bytes of the batch that are in `pieces`, and that are written. */
  #start = 0;
  #end = 0;
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  /** Batches that are full, and that the kernel may not have taken yet. */
  #full: Buffer[] = [];
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
   * @param payload pieces of up to COPIED_BYTES_MAX are copied; others must not change until the kernel
   *   took them
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
      this.#socket.write(last, this.#onWritten);
      if (pieces.length > 0) this.#socket.uncork();
      this.#reuse();
    }
  }

  /** Drops what is queued; nothing is written from now on. */
  end(): void {
    this.#ended = true;
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#start = this.#end;
    this.#full = [];
  }

  #schedule(): void {
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  #append(piece: Uint8Array): void {
    if (piece.length > COPIED_BYTES_MAX) {
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
    if (this.#batch.length === BATCH_BYTES) this.#full.push(this.#batch);
    const isOrdinary = bytes <= BATCH_BYTES;
    const spare = isOrdinary ? spareBatches.pop() : undefined;
    this.#batch = spare ?? Buffer.allocUnsafeSlow(isOrdinary ? BATCH_BYTES : bytes);
    this.#start = 0;
    this.#end = 0;
  }

  /** Gives batches back once nobody looks at them any more, its own too: connections are idle mostly. */
  #reuse(): void {
    const { writableLength, destroyed } = this.#socket;
    if (writableLength !== 0 || destroyed || this.#pieces.length > 0) return;
    for (const batch of this.#full.splice(0)) giveBack(batch);
    if (this.#end > this.#start) return;
    if (this.#batch.length === BATCH_BYTES) giveBack(this.#batch);
    this.#batch = NO_BATCH;
    this.#start = 0;
    this.#end = 0;
  }
}

function giveBack(batch: Buffer): void {
  if (spareBatches.length < SPARE_BATCHES_MAX) spareBatches.push(batch);
}
