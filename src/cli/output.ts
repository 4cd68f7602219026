import type { Writable } from 'node:stream';
import { ClosedOutput } from './usage-error.ts';

const FLUSH_BYTES = 65_536;

/** Standard output: gathers small pieces, waits for a slow reader, and knows when it has left. */
export class Output {
  #stream: Writable;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #failure: Error | undefined;

  constructor(stream: Writable) {
    this.#stream = stream;
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#failure ??= asFailure(error);
    });
  }

  /**
   * @param piece copied before this returns
   * @throws ClosedOutput when the reader is gone; the system's error when the output is full
   */
  async write(piece: string | Uint8Array): Promise<void> {
    this.#pending.push(typeof piece === 'string' ? Buffer.from(piece) : Buffer.from(piece));
    this.#pendingBytes += piece.length;
    if (this.#pendingBytes >= FLUSH_BYTES) await this.flush();
  }

  /** Hands everything so far to the reader. @throws as write() */
  async flush(): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (this.#pending.length === 0) return;
    const bytes = this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(bytes, (error) => {
        if (!error) return resolve();
        this.#failure ??= asFailure(error);
        reject(this.#failure);
      });
    });
  }
}

function asFailure(error: NodeJS.ErrnoException): Error {
  const gone = error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED';
  return gone ? new ClosedOutput() : Object.assign(error, { path: 'standard output' });
}
