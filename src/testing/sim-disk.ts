/**
 * The medium behind a simulated device, at the granularity of 512-byte sectors.
 *
 * Invariants:
 * 1. `#current` is what reads see: the stable content with every landed change applied, in the order in
 *    which they landed.
 * 2. `#landed` holds, in that order, the changes that are not yet all stable: from the first that a
 *    power cut may undo on. A change that is stable by itself (a durable write) waits there behind
 *    older ones, so that a later flush of those never covers it up.
 * 3. `#inFlight` holds changes between submission and completion; a power cut may keep any sectors
 *    of them.
 */
import { assert } from '../base/assert.ts';
import { SparseBytes } from './sparse-bytes.ts';

/** Storage keeps or loses whole sectors of this size, never less. */
const ATOM_BYTES = 512;
/** Pieces into which a power cut may tear a long discard: more would only be slow. */
const DISCARD_PIECES = 256;

/** A write or discard on its way to stable media. Its bytes never change. */
export interface Change {
  readonly kind: 'write' | 'discard';
  /** Rises with submission; after landing, with landing: the order in which changes apply. */
  order: number;
  inFlight: boolean;
  stable: boolean;
  /** A flush of it failed: it may be gone from every cache, so that no later flush makes it stable. */
  doomed: boolean;
  offsetBytes: number;
  readonly lengthBytes: number;
  /** undefined: all bytes are `fill`; and then `fill` undefined: the content stays. */
  readonly data: Uint8Array | undefined;
  readonly fill: number | undefined;
  /** The pieces of it that reached the device at all; undefined: all. */
  landedPieces: ((piece: number) => boolean) | undefined;
}

export interface SimDiskOptions {
  sizeBytes: number;
  /** 512 or 4096; 512 by default. */
  sectorBytes?: 512 | 4096 | undefined;
  /** How it presents itself; a block device by default. */
  kind?: 'file' | 'block' | undefined;
}

export class SimDisk {
  readonly kind: 'file' | 'block';
  readonly sectorBytes: number;
  #sizeBytes: number;
  #stable = new SparseBytes();
  #current = new SparseBytes();
  /** Each page as it was before the last change to it: for stale reads. */
  #previous = new SparseBytes();
  #landed: Change[] = [];
  #inFlight = new Set<Change>();
  readonly #badAtoms = new Set<number>();
  #gone = false;

  constructor(options: SimDiskOptions) {
    const { sizeBytes, sectorBytes = 512, kind = 'block' } = options;
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, 'a size is a number of bytes');
    assert(kind === 'file' || sizeBytes % sectorBytes === 0, 'a block device has whole sectors');
    this.kind = kind;
    this.sectorBytes = sectorBytes;
    this.#sizeBytes = sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** True once it was pulled out: all I/O fails. */
  get gone(): boolean {
    return this.#gone;
  }

  pullOut(): void {
    this.#gone = true;
  }

  /** Grows or shrinks it under whoever has it open. What is beyond the end is lost. */
  resize(sizeBytes: number): void {
    const cut = this.#sizeBytes - sizeBytes;
    if (cut > 0) this.poke(sizeBytes, { fill: 0, lengthBytes: cut });
    this.#sizeBytes = sizeBytes;
  }

  /** What a read would give, without a trace and without faults; a copy. */
  bytes(offsetBytes: number, lengthBytes: number): Uint8Array {
    const into = new Uint8Array(lengthBytes);
    this.#current.read(offsetBytes, into);
    return into;
  }

  /** Changes the medium behind everyone's back, at once and for good. Any offset and length. */
  poke(offsetBytes: number, content: Uint8Array | { fill: number; lengthBytes: number }): void {
    const isBytes = content instanceof Uint8Array;
    const lengthBytes = isBytes ? content.length : content.lengthBytes;
    assert(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.#sizeBytes, 'inside the disk');
    const change: Change = {
      kind: 'write',
      order: this.#landed.at(-1)?.order ?? 0,
      inFlight: false,
      stable: true,
      doomed: false,
      offsetBytes,
      lengthBytes,
      data: isBytes ? Uint8Array.from(content) : undefined,
      fill: isBytes ? undefined : content.fill,
      landedPieces: undefined,
    };
    this.#apply(change);
  }

  /** Bit rot. @param bit 0–7 */
  flipBit(offsetBytes: number, bit = 0): void {
    const byte = this.bytes(offsetBytes, 1);
    byte[0]! ^= 1 << bit;
    this.poke(offsetBytes, byte);
  }

  /** Makes sectors unreadable (EIO) until they are written again. */
  failSectors(offsetBytes: number, lengthBytes: number): void {
    const end = Math.ceil((offsetBytes + lengthBytes) / ATOM_BYTES);
    for (let atom = Math.floor(offsetBytes / ATOM_BYTES); atom < end; atom++) {
      this.#badAtoms.add(atom);
    }
  }

  isReadable(offsetBytes: number, lengthBytes: number): boolean {
    return this.#badAtomsIn(offsetBytes, lengthBytes).length === 0;
  }

  readStale(offsetBytes: number, into: Uint8Array): void {
    this.#previous.read(offsetBytes, into);
  }

  read(offsetBytes: number, into: Uint8Array): void {
    this.#current.read(offsetBytes, into);
  }

  begin(change: Change): void {
    this.#inFlight.add(change);
  }

  /** The change never reached the device. */
  abandon(change: Change): void {
    this.#inFlight.delete(change);
  }

  /** The change reached the device; it is stable when the change says so. */
  land(change: Change, order: number): void {
    this.#inFlight.delete(change);
    change.inFlight = false;
    change.order = order;
    this.#apply(change);
  }

  /** What a flush that begins now has to make stable. */
  captureUnstable(): Change[] {
    return this.#landed.filter((change) => !change.stable && !change.doomed);
  }

  makeStable(changes: readonly Change[]): void {
    for (const change of changes) change.stable = true;
    this.#drain();
  }

  /** A flush of these failed: see Change. */
  doom(changes: readonly Change[]): void {
    for (const change of changes) change.doomed = true;
  }

  /** True when a change in flight touches the range. */
  isBeingChanged(offsetBytes: number, lengthBytes: number): boolean {
    for (const change of this.#inFlight) {
      const end = change.offsetBytes + change.lengthBytes;
      if (change.offsetBytes < offsetBytes + lengthBytes && offsetBytes < end) return true;
    }
    return false;
  }

  /** What a power cut may undo, in no particular order. */
  volatileChanges(): Change[] {
    return [...this.#landed.filter((change) => !change.stable), ...this.#inFlight];
  }

  /** The disk after a power cut. */
  afterPowerCut(survives: (change: Change, piece: number) => boolean): SimDisk {
    const image = this.#sibling();
    image.#stable = this.#stable.clone();
    const inFlight = [...this.#inFlight].toSorted((a, b) => a.order - b.order);
    for (const change of [...this.#landed, ...inFlight]) {
      const keep = change.stable ? undefined : (piece: number) => survives(change, piece);
      applyTo(image.#stable, change, keep);
    }
    image.#current = image.#stable.clone();
    image.#previous = image.#stable.clone();
    return image;
  }

  /** A copy with the same unflushed state. Nothing may be in flight. */
  clone(): SimDisk {
    assert(this.#inFlight.size === 0, 'a disk with I/O in flight cannot be cloned');
    const copy = this.#sibling();
    copy.#stable = this.#stable.clone();
    copy.#current = this.#current.clone();
    copy.#previous = this.#previous.clone();
    copy.#landed = this.#landed.map((change) => ({ ...change }));
    return copy;
  }

  #badAtomsIn(offsetBytes: number, lengthBytes: number): number[] {
    const first = Math.floor(offsetBytes / ATOM_BYTES);
    const end = Math.ceil((offsetBytes + lengthBytes) / ATOM_BYTES);
    return [...this.#badAtoms].filter((atom) => atom >= first && atom < end);
  }

  #sibling(): SimDisk {
    const sectorBytes = this.sectorBytes === 512 ? 512 : 4096;
    const copy = new SimDisk({ sizeBytes: this.#sizeBytes, sectorBytes, kind: this.kind });
    for (const atom of this.#badAtoms) copy.#badAtoms.add(atom);
    copy.#gone = this.#gone;
    return copy;
  }

  #apply(change: Change): void {
    const { offsetBytes, lengthBytes } = change;
    if (change.kind === 'write') {
      for (const atom of this.#badAtomsIn(offsetBytes, lengthBytes)) this.#badAtoms.delete(atom);
      this.#previous.copyPages(this.#current, offsetBytes, lengthBytes);
    }
    applyTo(this.#current, change, undefined);
    this.#landed.push(change);
    this.#drain();
  }

  #drain(): void {
    let count = 0;
    for (const change of this.#landed) {
      if (!change.stable) break;
      applyTo(this.#stable, change, undefined);
      count++;
    }
    if (count > 0) this.#landed.splice(0, count);
  }
}

export function pieceBytesOf(change: { kind: string; lengthBytes: number }): number {
  if (change.kind !== 'discard') return ATOM_BYTES;
  const atoms = Math.ceil(change.lengthBytes / ATOM_BYTES / DISCARD_PIECES);
  return Math.max(1, atoms) * ATOM_BYTES;
}

export function pieceCountOf(change: { kind: string; lengthBytes: number }): number {
  return Math.ceil(change.lengthBytes / pieceBytesOf(change));
}

/** Applies the pieces of a change that landed and that `keep` keeps (undefined: all), in runs. */
function applyTo(
  bytes: SparseBytes,
  change: Change,
  keep: ((piece: number) => boolean) | undefined,
): void {
  const { landedPieces } = change;
  const isWhole = landedPieces === undefined && keep === undefined;
  const pieceBytes = isWhole ? change.lengthBytes : pieceBytesOf(change);
  const count = isWhole ? 1 : pieceCountOf(change);
  const wanted = (piece: number): boolean =>
    landedPieces?.(piece) !== false && keep?.(piece) !== false;
  for (let piece = 0; piece < count;) {
    const first = piece;
    while (piece < count && wanted(piece)) piece++;
    if (piece === first) {
      piece++;
      continue;
    }
    const start = first * pieceBytes;
    const end = Math.min(piece * pieceBytes, change.lengthBytes);
    if (change.data !== undefined) {
      bytes.write(change.offsetBytes + start, change.data.subarray(start, end));
    } else if (change.fill !== undefined) {
      bytes.fill(change.offsetBytes + start, end - start, change.fill);
    }
  }
}
