import { invalidArgument, MpoolError } from '../base/errors.ts';
import { KIB, MIB } from '../base/units.ts';
import type { Host } from './host.ts';
import { matchSignature, SIGNATURES, type MediaEnds } from './signatures.ts';

/** Something found where a blank device has zeros. */
export interface Finding {
  /** For people: 'an ext4 filesystem', 'the mpool "name" (format 2)', 'data'. */
  what: string;
  /** Of its magic, or of the first byte that is not zero. */
  offsetBytes: number;
}

export interface ByteRange {
  offsetBytes: number;
  lengthBytes: number;
}

/** At each end, the part in which signatures lie and in which any byte counts. */
const END_BYTES = MIB;
const PIECE_BYTES = 256 * KIB;
const ZEROS = new Uint8Array(PIECE_BYTES);

/**
 * What a device or file holds, without claiming or changing it: a known format, wherever `ranges`
 * are; or else 'data' when a byte within them is not zero.
 * @param ranges the first and the last MiB by default; clipped to the size, looked at in order
 * @returns undefined when there is nothing: also when the file is empty
 * @throws ERR_MPOOL_NOT_FOUND when nothing is at the path; RangeError for what cannot hold a pool
 * or ranges that are none; and what Host.stat and Host.peek throw
 */
export async function probeContent(
  host: Host,
  path: string,
  ranges?: readonly ByteRange[],
): Promise<Finding | undefined> {
  for (const range of ranges ?? []) checkRange(range);
  const info = await host.stat(path);
  if (info === undefined) throw new MpoolError('ERR_MPOOL_NOT_FOUND', path, { path });
  if (info.kind === 'other') {
    throw invalidArgument(`${path} is neither a file nor a block device`);
  }
  const ends = await Ends.read(host, path, info.sizeBytes);
  return findSignature(ends) ?? (await findData(host, path, ends, ranges ?? ends.ranges));
}

/** The first match of the table, in its order. */
function findSignature(media: MediaEnds): Finding | undefined {
  for (const row of SIGNATURES) {
    for (const offsetBytes of row.offsetsBytes) {
      const found = matchSignature(row, offsetBytes, media);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

async function findData(
  host: Host,
  path: string,
  ends: Ends,
  ranges: readonly ByteRange[],
): Promise<Finding | undefined> {
  for (const range of ranges) {
    const limitBytes = Math.min(range.offsetBytes + range.lengthBytes, ends.sizeBytes);
    for (let at = range.offsetBytes; at < limitBytes; at += PIECE_BYTES) {
      const lengthBytes = Math.min(PIECE_BYTES, limitBytes - at);
      const piece = ends.bytesAt(at, lengthBytes) ?? (await host.peek(path, at, lengthBytes));
      const index = firstNonZero(piece);
      if (index >= 0) return { what: 'data', offsetBytes: at + index };
    }
  }
  return undefined;
}

/** Both ends as read; the whole of what is small. */
class Ends implements MediaEnds {
  readonly sizeBytes: number;
  readonly #head: Uint8Array;
  readonly #tail: Uint8Array;
  readonly #tailOffsetBytes: number;

  private constructor(sizeBytes: number, head: Uint8Array, tail: Uint8Array) {
    this.sizeBytes = sizeBytes;
    this.#head = head;
    this.#tail = tail;
    this.#tailOffsetBytes = sizeBytes - tail.length;
  }

  static async read(host: Host, path: string, sizeBytes: number): Promise<Ends> {
    const tailBytes = sizeBytes > 2 * END_BYTES ? END_BYTES : 0;
    const headBytes = tailBytes > 0 ? END_BYTES : sizeBytes;
    const head = await readPieces(host, path, 0, headBytes);
    const tail = await readPieces(host, path, sizeBytes - tailBytes, tailBytes);
    return new Ends(sizeBytes, head, tail);
  }

  get ranges(): ByteRange[] {
    return [
      { offsetBytes: 0, lengthBytes: this.#head.length },
      { offsetBytes: this.#tailOffsetBytes, lengthBytes: this.#tail.length },
    ];
  }

  bytesAt(offsetBytes: number, lengthBytes: number): Uint8Array | undefined {
    const endBytes = offsetBytes + lengthBytes;
    if (offsetBytes < 0 || endBytes > this.sizeBytes) return undefined;
    if (endBytes <= this.#head.length) return this.#head.subarray(offsetBytes, endBytes);
    const start = offsetBytes - this.#tailOffsetBytes;
    return start < 0 ? undefined : this.#tail.subarray(start, start + lengthBytes);
  }
}

/** Zeros stand for what is gone when a file shrinks meanwhile. */
async function readPieces(
  host: Host,
  path: string,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(lengthBytes);
  for (let at = 0; at < lengthBytes; at += PIECE_BYTES) {
    const pieceBytes = Math.min(PIECE_BYTES, lengthBytes - at);
    bytes.set(await host.peek(path, offsetBytes + at, pieceBytes), at);
  }
  return bytes;
}

/** @returns -1 when all are zero */
function firstNonZero(piece: Uint8Array): number {
  if (Buffer.compare(piece, ZEROS.subarray(0, piece.length)) === 0) return -1;
  return piece.findIndex((byte) => byte !== 0);
}

function checkRange({ offsetBytes, lengthBytes }: ByteRange): void {
  if (!isCount(offsetBytes) || !isCount(lengthBytes)) {
    throw invalidArgument(`no range of bytes: offset ${offsetBytes}, length ${lengthBytes}`);
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
