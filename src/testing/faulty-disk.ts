import { constants } from 'node:os';
import type { MpoolError } from '../base/errors.ts';
import { below } from '../base/prng.ts';
import type { Prng } from '../base/prng.ts';
import type { Durability } from '../device/device.ts';
import { ioError } from '../device/io-error.ts';
import type { FaultEffect } from './faults.ts';
import { pieceCountOf } from './sim-disk.ts';
import type { Change, SimDisk } from './sim-disk.ts';

const { EIO, ENODEV } = constants.errno;

/** A disk as faults show it: what an operation does to it, or gets from it, that a rule has hit. */
export class FaultyDisk {
  readonly disk: SimDisk;
  readonly #path: string;
  readonly #prng: Prng;
  readonly #nextOrder: () => number;

  constructor(disk: SimDisk, path: string, prng: Prng, nextOrder: () => number) {
    this.disk = disk;
    this.#path = path;
    this.#prng = prng;
    this.#nextOrder = nextOrder;
  }

  read(offsetBytes: number, into: Uint8Array, effect: FaultEffect | undefined): MpoolError | null {
    const error = this.#mediaError('read', offsetBytes, into.length);
    if (error !== null) return error;
    if (effect?.kind === 'error') return this.failure('read', effect);
    if (!this.disk.isReadable(offsetBytes, into.length)) return ioError(-EIO, 'read', this.#path);
    if (effect?.kind === 'stale') this.disk.readStale(offsetBytes, into);
    else this.disk.read(this.#placeOf(offsetBytes, into.length, effect), into);
    if (effect?.kind === 'flip') this.#flip(into, effect.bit);
    return null;
  }

  /** Lands a change, or what the fault leaves of it. */
  change(
    change: Change,
    durability: Durability,
    effect: FaultEffect | undefined,
  ): MpoolError | null {
    const { kind, offsetBytes, lengthBytes } = change;
    const error = effect?.kind === 'error' ? this.failure(kind, effect) : null;
    const mediaError = this.#mediaError(kind, offsetBytes, lengthBytes);
    this.disk.abandon(change);
    if (mediaError !== null) return mediaError;
    const fails = effect?.kind === 'error' && (effect.lands ?? 'none') === 'none';
    if (fails || effect?.kind === 'lost') return error;
    const landing = this.#altered(change, effect);
    const isDurable = durability === 'durable' && effect?.kind !== 'volatile';
    landing.stable = isDurable && error === null;
    this.disk.land(landing, this.#nextOrder());
    if (effect?.kind === 'torn' && effect.acknowledged !== true) {
      return ioError(-EIO, kind, this.#path);
    }
    return error;
  }

  failure(syscall: string, effect: FaultEffect & { kind: 'error' }): MpoolError {
    return ioError(-constants.errno[effect.errno ?? 'EIO'], syscall, this.#path);
  }

  /** Gone, or out of range: also when the disk shrank under the operation. */
  #mediaError(op: string, offsetBytes: number, lengthBytes: number): MpoolError | null {
    if (this.disk.gone) return ioError(-ENODEV, op, this.#path);
    if (offsetBytes + lengthBytes <= this.disk.sizeBytes) return null;
    return ioError(-EIO, op, this.#path, 'past the end of the device');
  }

  /** The change as the fault leaves it. */
  #altered(change: Change, effect: FaultEffect | undefined): Change {
    const { offsetBytes, lengthBytes, data } = change;
    if (effect?.kind === 'torn' || (effect?.kind === 'error' && effect.lands === 'some')) {
      const count = pieceCountOf(change);
      const landed = Array.from({ length: count }, () => below(this.#prng, 2) === 1);
      // Torn means torn: at least one piece is missing.
      landed[below(this.#prng, count)] = false;
      return { ...change, landedPieces: (piece) => landed[piece]! };
    }
    if (effect?.kind === 'flip' && data !== undefined) {
      const flipped = Uint8Array.from(data);
      this.#flip(flipped, effect.bit);
      return { ...change, data: flipped };
    }
    return { ...change, offsetBytes: this.#placeOf(offsetBytes, lengthBytes, effect) };
  }

  #placeOf(offsetBytes: number, lengthBytes: number, effect: FaultEffect | undefined): number {
    if (effect?.kind !== 'misdirected') return offsetBytes;
    if (effect.toOffsetBytes !== undefined) return effect.toOffsetBytes;
    const { sizeBytes, sectorBytes } = this.disk;
    const places = Math.floor((sizeBytes - lengthBytes) / sectorBytes) + 1;
    const place = below(this.#prng, places) * sectorBytes;
    if (place !== offsetBytes || places === 1) return place;
    return ((place / sectorBytes + 1) % places) * sectorBytes;
  }

  #flip(bytes: Uint8Array, bit = below(this.#prng, bytes.length * 8)): void {
    bytes[bit >>> 3]! ^= 1 << (bit & 7);
  }
}
