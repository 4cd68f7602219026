import { MIB, PAGE_BYTES } from '../../base/units.ts';
import type { Mblock, MediaClass, Pool } from '../../pool/api.ts';
import type { Input } from '../system.ts';

const PIECE_BYTES = MIB;
/** Writes in flight: enough to keep a fast device busy while the next piece is read. */
const WINDOW = 4;

export interface StoredFile {
  mblocks: readonly Mblock[];
  lengthBytes: number;
}

/**
 * Stores the whole of an input as mblocks, filled one after the other, and commits them in one
 * step: all of them or none. Holds at most five pieces of 1 MiB in memory. An empty input makes no
 * mblock.
 * @param options.dryRun take the space and read the input, but write and commit nothing
 */
export async function storeFile(
  pool: Pool,
  input: Input,
  options: { mediaClass: MediaClass | undefined; spare: boolean; dryRun: boolean },
  watch: { signal: AbortSignal; onProgress: (bytes: number) => void },
): Promise<StoredFile> {
  const held: Mblock[] = [];
  const writes = new WriteWindow();
  let lengthBytes = 0;
  try {
    for (;;) {
      watch.signal.throwIfAborted();
      const buffer = await writes.takeBuffer();
      let mblock = held.at(-1);
      let length = 0;
      if (mblock === undefined || writes.bytesOfMblock === mblock.capacityBytes) {
        // Only when there is something to put into it.
        length = await input.read(buffer.subarray(0, PAGE_BYTES));
        if (length === 0) break;
        mblock = await pool.mblocks.alloc(options);
        held.push(mblock);
        writes.bytesOfMblock = 0;
      }
      const wanted = Math.min(PIECE_BYTES, mblock.capacityBytes - writes.bytesOfMblock);
      if (length === 0 || length === PAGE_BYTES) {
        length += await input.read(buffer.subarray(length, wanted));
      }
      if (length === 0) break;
      if (options.dryRun) writes.skip(buffer, length);
      else writes.start(mblock, buffer, length);
      lengthBytes += length;
      watch.onProgress(lengthBytes);
      if (length < wanted) break;
    }
    await writes.finish();
    watch.signal.throwIfAborted();
    if (held.length > 0 && !options.dryRun) await pool.mblocks.commit(held);
  } catch (error) {
    await writes.finish().catch(() => undefined);
    await pool.mblocks.abort(held.filter((mblock) => !mblock.committed)).catch(() => undefined);
    throw error;
  }
  return { mblocks: held, lengthBytes };
}

/** Buffers that go round, and the writes that borrow them. */
class WriteWindow {
  bytesOfMblock = 0;
  #free: Uint8Array[] = [];
  #flying: Promise<Uint8Array>[] = [];

  /** A buffer that no write uses. @throws what the oldest write failed with */
  async takeBuffer(): Promise<Uint8Array> {
    if (this.#flying.length >= WINDOW) this.#free.push(await this.#flying.shift()!);
    return this.#free.pop() ?? new Uint8Array(PIECE_BYTES);
  }

  /** As if it had been written. */
  skip(buffer: Uint8Array, length: number): void {
    this.bytesOfMblock += length;
    this.#free.push(buffer);
  }

  start(mblock: Mblock, buffer: Uint8Array, length: number): void {
    this.bytesOfMblock += length;
    const write = mblock.write(buffer.subarray(0, length)).then(() => buffer);
    // It is awaited later; until then a failure is not an unhandled one.
    write.catch(() => undefined);
    this.#flying.push(write);
  }

  /** Waits for all, whatever becomes of them. @throws the first failure */
  async finish(): Promise<void> {
    const results = await Promise.allSettled(this.#flying);
    this.#flying = [];
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }
}
