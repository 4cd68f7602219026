import { below, SeededPrng } from '../base/prng.ts';

/** Something a power cut may undo, wholly or in part. */
export interface VolatileOperation {
  /** Its place in the list, which is in the order in which the operations take effect. */
  index: number;
  op: 'write' | 'discard' | 'create' | 'grow' | 'remove';
  disk: string;
  offsetBytes: number;
  lengthBytes: number;
  /** Pieces that survive or not by themselves: 512-byte sectors of a write; 1 for files' names. */
  pieceCount: number;
  /** Not acknowledged yet when the power went. */
  inFlight: boolean;
}

/** Chooses what of the volatile operations is there after a power cut. */
export interface SurvivorPolicy {
  /** For messages: names the very choice, so that it can be made again. */
  readonly name: string;
  survives(operation: VolatileOperation, piece: number): boolean;
}

export const noneSurvive: SurvivorPolicy = { name: 'none', survives: () => false };
export const allSurvive: SurvivorPolicy = { name: 'all', survives: () => true };

/** The first operations whole, then the first pieces of the next, and nothing else. */
export function prefixSurvives(operationCount: number, pieceCount = 0): SurvivorPolicy {
  return {
    name: `prefix ${operationCount}+${pieceCount}`,
    survives: ({ index }, piece) =>
      index < operationCount || (index === operationCount && piece < pieceCount),
  };
}

/** These operations whole, by index, and nothing else. */
export function onlySurvive(indices: readonly number[]): SurvivorPolicy {
  const kept = new Set(indices);
  return { name: `only ${indices.join(',')}`, survives: ({ index }) => kept.has(index) };
}

/** All but these operations. */
export function allSurviveBut(indices: readonly number[]): SurvivorPolicy {
  const lost = new Set(indices);
  return { name: `all but ${indices.join(',')}`, survives: ({ index }) => !lost.has(index) };
}

/** Just these (operation, piece) pairs, as a bit string over all pieces in order. */
export function piecesSurvive(
  operations: readonly VolatileOperation[],
  bits: bigint,
): SurvivorPolicy {
  const starts = new Map<number, number>();
  let start = 0;
  for (const { index, pieceCount } of operations) {
    starts.set(index, start);
    start += pieceCount;
  }
  return {
    name: `pieces ${bits.toString(2).padStart(start, '0')}`,
    survives: ({ index }, piece) => ((bits >> BigInt(starts.get(index)! + piece)) & 1n) === 1n,
  };
}

/** Each operation at random: lost, whole, a prefix of its pieces, or any subset of them. */
export function randomSurvive(seed: number): SurvivorPolicy {
  const choices = new Map<number, (piece: number) => boolean>();
  return {
    name: `random ${seed}`,
    survives(operation, piece) {
      let choice = choices.get(operation.index);
      if (choice === undefined) {
        choice = randomPieces(seed, operation);
        choices.set(operation.index, choice);
      }
      return choice(piece);
    },
  };
}

function randomPieces(seed: number, { index, pieceCount }: VolatileOperation) {
  const prng = new SeededPrng(Math.imul(seed, 0x9e3779b1) + index);
  const whole = below(prng, 4);
  if (whole === 0) return () => false;
  if (whole === 1) return () => true;
  const prefix = below(prng, pieceCount + 1);
  if (whole === 2) return (piece: number) => piece < prefix;
  const kept = Array.from({ length: pieceCount }, () => below(prng, 2) === 1);
  return (piece: number) => kept[piece]!;
}

/**
 * At most `limit` policies for these operations, the most telling first. When there are few enough,
 * every subset of all their pieces; else every subset of whole operations followed by torn ones at
 * random; else none, all, every prefix, each one alone or lost alone, and random ones.
 */
export function* survivorPolicies(
  operations: readonly VolatileOperation[],
  options: { limit: number; seed: number },
): Generator<SurvivorPolicy> {
  const { limit, seed } = options;
  let left = limit;
  for (const policy of candidates(operations, limit, seed)) {
    if (left-- <= 0) return;
    yield policy;
  }
}

function* candidates(
  operations: readonly VolatileOperation[],
  limit: number,
  seed: number,
): Generator<SurvivorPolicy> {
  yield noneSurvive;
  if (operations.length === 0) return;
  yield allSurvive;
  const pieces = operations.reduce((sum, { pieceCount }) => sum + pieceCount, 0);
  if (2 ** pieces <= limit) {
    const end = 1n << BigInt(pieces);
    for (let bits = 1n; bits < end - 1n; bits++) yield piecesSurvive(operations, bits);
    return;
  }
  const count = operations.length;
  if (2 ** count <= limit) {
    for (let bits = 1; bits < 2 ** count - 1; bits++) {
      yield onlySurvive(operations.filter((_, i) => (bits >> i) & 1).map(({ index }) => index));
    }
  } else {
    yield* interleave(count);
  }
  for (let i = 0; ; i++) yield randomSurvive(Math.imul(seed, 0x01000193) + i);
}

/** Half of the choices at random, so that a low limit still tears something. */
function* interleave(count: number): Generator<SurvivorPolicy> {
  for (let i = 0; i < count; i++) {
    yield randomSurvive(-1 - i);
    if (i > 0) yield prefixSurvives(i);
    yield onlySurvive([count - 1 - i]);
    yield allSurviveBut([i]);
  }
}
