/**
 * A sorted table, as it lies in one mblock. All numbers are little-endian.
 *
 *   block × n   4,096 bytes: entries from the front (u16 key length, u16 value length, key, value);
 *               from the back u16 entry count, then u16 offset of each entry
 *   index       u16 length and bytes of each block's first key; then of the table's last key
 *   footer      u32 'tbl1', u32 block count, u32 entry count, u32 index bytes
 *
 * There are no checksums here: whatever the store gives was verified.
 */
import type { MblockId } from '../src/index.ts';

/** A page of the store: one page is what a lookup waits for, so no entry may straddle two. */
export const BLOCK_BYTES = 4096;
export const FOOTER_BYTES = 16;
/** What a key and its value have together, at most. */
export const ENTRY_BYTES_MAX = BLOCK_BYTES - 8;
const MAGIC = 0x316c6274;
/** In place of a value's length: the key is deleted, which hides what older tables say of it. */
const TOMBSTONE = 0xffff;

export interface Entry {
  key: Uint8Array;
  /** null: deleted. */
  value: Uint8Array | null;
}

/** What is kept in memory of a table: 1/30 of it or so. */
export interface Table {
  id: MblockId;
  entryCount: number;
  firstKeys: readonly Uint8Array[];
  lastKey: Uint8Array;
}

/** Lays a table out in memory as large as its mblock, to be written in one go. */
export class TableBuilder {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #firstKeys: Uint8Array[] = [];
  #lastKey: Uint8Array = new Uint8Array();
  #indexBytes = 0;
  #entryCount = 0;
  /** Of the block being filled: its end, where its next entry goes, how many it has. */
  #blockEnd = 0;
  #at = 0;
  #count = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get entryCount(): number {
    return this.#entryCount;
  }

  /**
   * @param entry its key is beyond all keys before; the memory must stay as it is until finish()
   * @returns false when the table is full and the entry not in it
   */
  add({ key, value }: Entry): boolean {
    const valueBytes = value === null ? 0 : value.length;
    if (key.length + valueBytes > ENTRY_BYTES_MAX) {
      throw new RangeError(`an entry of ${key.length + valueBytes} bytes: ${ENTRY_BYTES_MAX} fit`);
    }
    const neededBytes = 4 + key.length + valueBytes;
    const fits = this.#at + neededBytes <= this.#blockEnd - 4 - 2 * this.#count;
    const blockEnd = fits ? this.#blockEnd : this.#blockEnd + BLOCK_BYTES;
    const indexBytes = this.#indexBytes + (fits ? 0 : 2 + key.length);
    const lastKeyBytes = 2 + key.length;
    if (blockEnd + indexBytes + lastKeyBytes + FOOTER_BYTES > this.#bytes.length) return false;
    if (!fits) this.#beginBlock(key);
    this.#view.setUint16(this.#at, key.length, true);
    this.#view.setUint16(this.#at + 2, value === null ? TOMBSTONE : valueBytes, true);
    this.#bytes.set(key, this.#at + 4);
    if (value !== null) this.#bytes.set(value, this.#at + 4 + key.length);
    this.#view.setUint16(this.#blockEnd - 4 - 2 * this.#count, this.#at % BLOCK_BYTES, true);
    this.#count += 1;
    this.#view.setUint16(this.#blockEnd - 2, this.#count, true);
    this.#at += neededBytes;
    this.#entryCount += 1;
    this.#lastKey = key;
    return true;
  }

  /** @returns the part of the memory to be written; the builder is empty again */
  finish(): Uint8Array {
    let at = this.#blockEnd;
    for (const key of [...this.#firstKeys, this.#lastKey]) {
      this.#view.setUint16(at, key.length, true);
      this.#bytes.set(key, at + 2);
      at += 2 + key.length;
    }
    const footer = [MAGIC, this.#firstKeys.length, this.#entryCount, at - this.#blockEnd];
    footer.forEach((number, i) => this.#view.setUint32(at + 4 * i, number, true));
    this.#firstKeys.length = 0;
    this.#indexBytes = this.#entryCount = this.#blockEnd = this.#at = this.#count = 0;
    return this.#bytes.subarray(0, at + FOOTER_BYTES);
  }

  #beginBlock(firstKey: Uint8Array): void {
    this.#firstKeys.push(firstKey);
    this.#indexBytes += 2 + firstKey.length;
    this.#at = this.#blockEnd;
    this.#blockEnd += BLOCK_BYTES;
    this.#count = 0;
    // The memory had other tables before: what lies between entries is not to be found on the device.
    this.#bytes.fill(0, this.#at, this.#blockEnd);
  }
}

/** @throws Error when these are not the last bytes of a table */
export function blockCountOf(footer: Uint8Array): number {
  const at = footer.length - FOOTER_BYTES;
  if (at >= 0 && u16(footer, at) + u16(footer, at + 2) * 65_536 === MAGIC) {
    return u16(footer, at + 4) + u16(footer, at + 6) * 65_536;
  }
  throw new Error('an mblock that is no table');
}

/** @param tail the bytes behind the blocks, which the table keeps */
export function tableOf(id: MblockId, tail: Uint8Array): Table {
  const keys: Uint8Array[] = [];
  for (let at = 0; at < tail.length - FOOTER_BYTES; at += 2 + keys.at(-1)!.length) {
    keys.push(tail.subarray(at + 2, at + 2 + u16(tail, at)));
  }
  const lastKey = keys.pop();
  if (lastKey === undefined || keys.length !== blockCountOf(tail)) {
    throw new Error(`mblock 0x${id.toString(16)} has an index that does not fit its footer`);
  }
  const at = tail.length - 8;
  return { id, entryCount: u16(tail, at) + u16(tail, at + 2) * 65_536, firstKeys: keys, lastKey };
}

/** Where the one block is that may have the key; undefined when none may. */
export function blockOffsetFor(table: Table, key: Uint8Array): number | undefined {
  if (compareKeys(key, table.lastKey) > 0) return undefined;
  const block = lastNotAfter(table.firstKeys, (firstKey) => compareKeys(firstKey, key));
  return block < 0 ? undefined : block * BLOCK_BYTES;
}

/** The last that compares as at most 0, of what rises; -1 when none does. */
export function lastNotAfter<T>(rising: readonly T[], compare: (each: T) => number): number {
  let low = -1;
  for (let high = rising.length; high - low > 1;) {
    const middle = (low + high) >> 1;
    if (compare(rising[middle]!) <= 0) low = middle;
    else high = middle;
  }
  return low;
}

/** @returns a view into the block; null when the key is deleted, undefined when it is not there */
export function findInBlock(block: Uint8Array, key: Uint8Array): Uint8Array | null | undefined {
  let low = 0;
  for (let high = u16(block, BLOCK_BYTES - 2); low < high;) {
    const middle = (low + high) >> 1;
    const at = u16(block, BLOCK_BYTES - 4 - 2 * middle);
    const order = compareAt(block, at + 4, u16(block, at), key);
    if (order === 0) return entryAt(block, at).value;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return undefined;
}

/** All entries, in order: views into the block. */
export function entriesOf(block: Uint8Array): Entry[] {
  return Array.from({ length: u16(block, BLOCK_BYTES - 2) }, (_, i) =>
    entryAt(block, u16(block, BLOCK_BYTES - 4 - 2 * i)),
  );
}

function entryAt(block: Uint8Array, at: number): Entry {
  const keyEnd = at + 4 + u16(block, at);
  const valueBytes = u16(block, at + 2);
  const value = valueBytes === TOMBSTONE ? null : block.subarray(keyEnd, keyEnd + valueBytes);
  return { key: block.subarray(at + 4, keyEnd), value };
}

/** As Buffer.compare(), which costs several times as much for keys of some bytes. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  return compareAt(a, 0, a.length, b);
}

function compareAt(block: Uint8Array, at: number, lengthBytes: number, key: Uint8Array): number {
  const sharedBytes = Math.min(lengthBytes, key.length);
  for (let i = 0; i < sharedBytes; i++) {
    const difference = block[at + i]! - key[i]!;
    if (difference !== 0) return difference;
  }
  return lengthBytes - key.length;
}

function u16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}
