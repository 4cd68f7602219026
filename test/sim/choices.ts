// Small things that all actions need.
import { isMpoolError } from '../../src/base/errors.ts';
import { below, chance, type SeededPrng } from '../../src/base/prng.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { MIB } from '../crash/rig.ts';

/** Of an mblock. */
export function lengthOf(prng: SeededPrng): number {
  if (chance(prng, 0.03)) return below(prng, MIB - 2 * PAGE_BYTES);
  return chance(prng, 0.3) ? below(prng, 3) * PAGE_BYTES : below(prng, 6 * PAGE_BYTES);
}

export function take(ids: bigint[], prng: SeededPrng): bigint {
  return ids.splice(below(prng, ids.length), 1)[0]!;
}

export function sameBytes(found: Uint8Array, wanted: Uint8Array, what: string): void {
  if (Buffer.compare(found, wanted) !== 0) throw new Error(`${what} has other bytes`);
}

export function onlyMpoolErrors(error: unknown): void {
  if (!isMpoolError(error)) throw error;
}

/** Of what was done at once, all are over. @throws the worst of what they threw */
export async function allOver(jobs: readonly Promise<unknown>[]): Promise<void> {
  const errors: unknown[] = [];
  for (const result of await Promise.allSettled(jobs)) {
    if (result.status === 'rejected') errors.push(result.reason);
  }
  if (errors.length > 0) throw errors.find((error) => !isMpoolError(error)) ?? errors[0];
}
