import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { KIB } from '../base/units.ts';

/**
 * A file of /proc or of a control group that stays open: read from its start, the kernel writes it anew.
 * One read at a time.
 */
export class KeptFile {
  readonly #path: string;
  #handle: FileHandle | undefined;
  #buffer = Buffer.allocUnsafeSlow(4 * KIB);
  /** It could be read before, and the last time it could not. */
  vanished = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined when it is not there or refuses; the next read looks again. */
  async read(): Promise<string | undefined> {
    try {
      this.#handle ??= await open(this.#path, 'r');
      const length = await this.#readAll(this.#handle);
      this.vanished = false;
      return this.#buffer.toString('latin1', 0, length);
    } catch {
      this.vanished ||= this.#handle !== undefined;
      await this.close();
      return undefined;
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    // A file that was only read has nothing to lose.
    await handle?.close().catch(() => {});
  }

  async #readAll(handle: FileHandle): Promise<number> {
    let length = 0;
    for (;;) {
      if (length === this.#buffer.length) this.#grow();
      const room = this.#buffer.length - length;
      // oxlint-disable-next-line no-await-in-loop -- one part after another
      const { bytesRead } = await handle.read(this.#buffer, length, room, length);
      length += bytesRead;
      // The kernel gives long lists about a page at a time, and what is shorter at once.
      if (bytesRead === 0 || length < 3 * KIB) return length;
    }
  }

  #grow(): void {
    const larger = Buffer.allocUnsafeSlow(this.#buffer.length * 2);
    this.#buffer.copy(larger);
    this.#buffer = larger;
  }
}
