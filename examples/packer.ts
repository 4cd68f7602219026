import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { allocateBuffer, type Mblock, type Pool, releaseBuffer } from '../src/index.ts';

const BUFFER_BYTES = 2 ** 20;

/** One record of the manifest: where the bytes of a file are. */
export interface Entry {
  path: string;
  sha256: string;
  pieces: { mblock: string; offsetBytes: number; lengthBytes: number }[];
}

/** Fills mblocks with whatever is added, through one buffer that needs no copy on its way to the device. */
export class Packer {
  totalBytes = 0;
  readonly #pool: Pool;
  readonly #full: Mblock[] = [];
  #mblock: Mblock | null = null;
  readonly #buffers = [allocateBuffer(BUFFER_BYTES), allocateBuffer(BUFFER_BYTES)];
  #filled = 0;
  #flushed = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(target: Pool) {
    this.#pool = target;
  }

  async add(path: string): Promise<Entry> {
    const hash = createHash('sha256');
    const pieces: Entry['pieces'] = [];
    await using file = await open(path);
    for (;;) {
      this.#mblock ??= await this.#pool.mblocks.alloc();
      const buffer = this.#buffers[0]!;
      const room =
        Math.min(buffer.length, this.#mblock.capacityBytes - this.#flushed) - this.#filled;
      const { bytesRead } = await file.read(buffer, this.#filled, room);
      if (bytesRead === 0) return { path, sha256: hash.digest('hex'), pieces };
      hash.update(buffer.subarray(this.#filled, this.#filled + bytesRead));
      const mblock = `0x${this.#mblock.id.toString(16)}`;
      const offsetBytes = this.#flushed + this.#filled;
      const last = pieces.at(-1);
      if (last?.mblock === mblock) last.lengthBytes += bytesRead;
      else pieces.push({ mblock, offsetBytes, lengthBytes: bytesRead });
      this.#filled += bytesRead;
      this.totalBytes += bytesRead;
      if (bytesRead === room) await this.#flush();
    }
  }

  async finish(): Promise<Mblock[]> {
    await this.#flush();
    await this.#writing;
    if (this.#mblock !== null) this.#full.push(this.#mblock);
    for (const buffer of this.#buffers) releaseBuffer(buffer);
    return this.#full;
  }

  /** Hands the filled buffer over; the other one is filled meanwhile. */
  async #flush(): Promise<void> {
    const mblock = this.#mblock;
    if (mblock === null || this.#filled === 0) return;
    await this.#writing;
    this.#writing = mblock.write(this.#buffers[0]!.subarray(0, this.#filled));
    this.#buffers.reverse();
    this.#flushed += this.#filled;
    this.#filled = 0;
    if (this.#flushed < mblock.capacityBytes) return;
    this.#full.push(mblock);
    this.#mblock = null;
    this.#flushed = 0;
  }
}
