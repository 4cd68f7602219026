import { invalidArgument } from '../../base/errors.ts';

/** Reads on through several pieces as if they were one. */
export class Gatherer {
  readonly #pieces: readonly Uint8Array[];
  #index = 0;
  #offset = 0;

  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces;
  }

  /** @throws TypeError when a piece lost its memory meanwhile */
  copyTo(target: Uint8Array, lengthBytes: number): void {
    let at = 0;
    while (at < lengthBytes) {
      while (this.#offset === this.#pieces[this.#index]?.length) {
        this.#index += 1;
        this.#offset = 0;
      }
      const piece = this.#pieces[this.#index]!;
      const part = piece.subarray(this.#offset, this.#offset + lengthBytes - at);
      if (part.length === 0) {
        throw invalidArgument('data was taken away while it was being written');
      }
      target.set(part, at);
      at += part.length;
      this.#offset += part.length;
    }
  }
}
