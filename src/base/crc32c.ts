/**
 * CRC32C (Castagnoli, reflected 0x82f63b78, initial and final inversion), as in iSCSI (RFC 3720) and
 * libblkid's mpool prober. This plain twin of the native one keeps `base` and `format` pure; the
 * native binding replaces the engine once it is loaded (20 GiB/s against 1).
 */

/** @param seed the checksum so far: 0 to start; crc(b, crc(a)) = crc(ab). */
export type Crc32c = (bytes: Uint8Array, seed: number) => number;

const TABLES: Uint32Array[] = makeTables();

function makeTables(): Uint32Array[] {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    tables[0]![byte] = crc >>> 0;
  }
  for (let byte = 0; byte < 256; byte++) {
    for (let k = 1; k < 8; k++) {
      const previous = tables[k - 1]![byte]!;
      tables[k]![byte] = ((previous >>> 8) ^ tables[0]![previous & 0xff]!) >>> 0;
    }
  }
  return tables;
}

/** Slicing-by-8 in plain TypeScript (Kounavis and Berry, 2005). */
export function crc32cPlain(bytes: Uint8Array, seed: number): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  let crc = ~seed;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      t7[crc & 0xff]! ^
      t6[(crc >>> 8) & 0xff]! ^
      t5[(crc >>> 16) & 0xff]! ^
      t4[crc >>> 24]! ^
      t3[bytes[i + 4]!]! ^
      t2[bytes[i + 5]!]! ^
      t1[bytes[i + 6]!]! ^
      t0[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}

/** Writes one checksum per 4096-byte page of `bytes` into `sums`. */
export type Crc32cPages = (bytes: Uint8Array, sums: Uint32Array) => void;

let engine: Crc32c = crc32cPlain;
let pagesEngine: Crc32cPages = crc32cPagesPlain;

function crc32cPagesPlain(bytes: Uint8Array, sums: Uint32Array): void {
  for (let page = 0; page * 4096 < bytes.length; page++) {
    sums[page] = engine(bytes.subarray(page * 4096, (page + 1) * 4096), 0);
  }
}

export function crc32c(bytes: Uint8Array, seed = 0): number {
  return engine(bytes, seed);
}

/** @param bytes a whole number of 4096-byte pages. @param sums as long as there are pages. */
export function crc32cPages(bytes: Uint8Array, sums: Uint32Array): void {
  pagesEngine(bytes, sums);
}

/** Called once by the native binding. */
export function useCrc32cEngine(bytesEngine: Crc32c, pages: Crc32cPages): void {
  engine = bytesEngine;
  pagesEngine = pages;
}
