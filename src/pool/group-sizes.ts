import type { GroupCounts } from './api.ts';

/** Buckets end at 1, 2, 4 … 1,024 operations; the last one has what is larger. */
const BOUNDED_BUCKETS = 11;

/** How many operations each durable step carried: whether those who come together share it. */
export class GroupSizes {
  readonly #buckets: number[] = Array.from({ length: BOUNDED_BUCKETS + 1 }, () => 0);
  #steps = 0;
  #operations = 0;

  add(size: number): void {
    // The power of two at or above it.
    const bucket = size <= 1 ? 0 : 32 - Math.clz32(size - 1);
    this.#buckets[Math.min(bucket, BOUNDED_BUCKETS)]!++;
    this.#steps += 1;
    this.#operations += size;
  }

  get counts(): GroupCounts {
    return { steps: this.#steps, operations: this.#operations, buckets: [...this.#buckets] };
  }
}

export function sumOfGroups(all: readonly GroupCounts[]): GroupCounts {
  const sum = new GroupSizes().counts;
  for (const { steps, operations, buckets } of all) {
    sum.steps += steps;
    sum.operations += operations;
    for (const [i, count] of buckets.entries()) sum.buckets[i]! += count;
  }
  return sum;
}
