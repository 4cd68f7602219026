import { randomBytes } from 'node:crypto';

/** Random bits, handed in so that a seed replays a whole run of the store. */
export interface Prng {
  /** A uniform integer in 0 … 2^32 - 1. */
  u32(): number;
}

/** For identities and salts: unguessable. */
export const systemPrng: Prng = { u32: () => randomBytes(4).readUInt32LE() };

/** Deterministic: sfc32 (Doty-Humphrey, PractRand), seeded by splitting one integer. */
export class SeededPrng implements Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed >>> 0;
    this.#b = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
    this.#c = 0x6d2b79f5;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const result = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + result;
    return result >>> 0;
  }
}

/** A uniform integer in 0 … limit - 1. */
export function below(prng: Prng, limit: number): number {
  return Math.floor((prng.u32() / 2 ** 32) * limit);
}

/** True with probability `p`. */
export function chance(prng: Prng, p: number): boolean {
  return prng.u32() < p * 2 ** 32;
}

/** 16 random bytes marked as a version 4 UUID (RFC 9562). */
export function randomUuid(prng: Prng): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (let offset = 0; offset < 16; offset += 4) view.setUint32(offset, prng.u32(), true);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}
