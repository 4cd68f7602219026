/**
 * What the tool needs of files that are not media: input to store, account names, its own version.
 * The only file of the room that reads files.
 */
import { readFileSync } from 'node:fs';
import { access, constants, open, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file to be stored, or standard input. */
export interface Input extends AsyncDisposable {
  /** As the user named it. */
  readonly name: string;
  /** Known only of regular files. */
  readonly sizeBytes: number | undefined;
  /** Fills `buffer` from its start. @returns bytes filled: fewer than asked only at the end */
  read(buffer: Uint8Array): Promise<number>;
}

/** Opens a file for reading. @throws the system's error */
export async function openInput(name: string): Promise<Input> {
  const handle = await open(name, 'r');
  const info = await handle.stat();
  return {
    name,
    sizeBytes: info.isFile() ? info.size : undefined,
    async read(buffer) {
      let filled = 0;
      while (filled < buffer.length) {
        const { bytesRead } = await handle
          .read(buffer, filled, buffer.length - filled, null)
          .catch((error: Error) => {
            // Node's message of a failed read does not say which file.
            throw Object.assign(error, { path: name });
          });
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return filled;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Without opening it: a pipe must be opened once only. @throws the system's error */
export async function checkReadable(name: string): Promise<void> {
  await access(name, constants.R_OK);
}

/** The same over a stream of chunks. */
export function streamInput(name: string, chunks: AsyncIterable<Uint8Array>): Input {
  const iterator = chunks[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  return {
    name,
    sizeBytes: undefined,
    async read(buffer) {
      let filled = 0;
      while (filled < buffer.length) {
        if (rest.length === 0) {
          const { done, value } = await iterator.next();
          if (done === true) break;
          rest = value;
        }
        const part = rest.subarray(0, buffer.length - filled);
        buffer.set(part, filled);
        filled += part.length;
        rest = rest.subarray(part.length);
      }
      return filled;
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.();
    },
  };
}

/** True when something is at the path, whatever it is. */
export async function pathExists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  );
}

export async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );
}

/** The absolute path with its links resolved; undefined when nothing is there. */
export async function realPath(path: string): Promise<string | undefined> {
  return realpath(path).catch(() => undefined);
}

/** Text of a small file, empty when it cannot be read. */
export function readTextOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The version in the package.json that this program belongs to. */
export function packageVersion(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (folder !== dirname(folder)) {
    const text = readTextOrNothing(join(folder, 'package.json'));
    const found =
      text === '' ? undefined : (JSON.parse(text) as { name?: string; version?: string });
    if (found?.name === 'mpool' && found.version !== undefined) return found.version;
    folder = dirname(folder);
  }
  return 'unknown';
}

/** Whose process this is. */
export function ownAccount(): { uid: number; gid: number } {
  return { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
}
