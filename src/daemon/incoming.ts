import type { Operation } from './operations.ts';
import type { Frame } from './wire.ts';

/** A request as it came: nothing in `body` is checked yet. */
export class Incoming {
  readonly operation: Operation;
  /** Let go of by whoever took what it needs: parsed JSON may take twenty times the bytes of the frame. */
  body: Readonly<Record<string, unknown>>;
  /** The receiver's own; empty when there was none. */
  readonly payload: Uint8Array;
  /** For the channel: id, bytes of the frame, and what room() gave. */
  readonly id: number;
  readonly lengthBytes: number;
  reservedBytes = 0;
  readonly #reserve: (request: Incoming, answerBytes: number) => Promise<void>;

  constructor(
    operation: Operation,
    frame: Frame,
    reserve: (request: Incoming, answerBytes: number) => Promise<void>,
  ) {
    this.operation = operation;
    this.body = frame.body;
    this.payload = frame.payload;
    this.id = frame.id;
    this.lengthBytes = frame.lengthBytes;
    this.#reserve = reserve;
  }

  /**
   * Waits until the peer has taken so much that an answer of so many bytes may be made. For answers of
   * more than a few KiB: without it a peer that does not read makes the daemon hold them all.
   * @throws ERR_MPOOL_CONNECTION_LOST when the connection ends first
   */
  room(answerBytes: number): Promise<void> {
    return this.#reserve(this, answerBytes);
  }
}
