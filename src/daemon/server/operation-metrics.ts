import type { Operation } from '../operations.ts';

/** Upper bounds of latency buckets in seconds: 1–2–5 from 10 µs to 10 s, then the rest. */
export const LATENCY_BOUNDS_S = [
  1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, 2, 5,
  10,
];

/** One kind of request: how many, how long they took, how they failed. */
export class OperationMetrics {
  readonly buckets = new Float64Array(LATENCY_BOUNDS_S.length + 1);
  readonly errors = new Map<string, number>();
  count = 0;
  seconds = 0;
  /** Begun, and not counted yet. */
  underWay = 0;

  add(seconds: number, errorCode: string | undefined): void {
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS_S.length && seconds > LATENCY_BOUNDS_S[bucket]!) bucket += 1;
    this.buckets[bucket]!++;
    this.underWay -= 1;
    this.count += 1;
    this.seconds += seconds;
    if (errorCode === undefined) return;
    this.errors.set(errorCode, (this.errors.get(errorCode) ?? 0) + 1);
  }

  /** One is begun; add() ends it. */
  begin(): void {
    this.underWay += 1;
  }

  /** Upper bound of the bucket where the quantile lies, in seconds; Infinity beyond the last. */
  quantile(q: number): number {
    let rest = q * this.count;
    for (const [i, count] of this.buckets.entries()) {
      rest -= count;
      if (rest <= 0) return LATENCY_BOUNDS_S[i] ?? Infinity;
    }
    return Infinity;
  }
}

/** All requests since the daemon began. */
export class RequestMetrics {
  readonly operations = new Map<Operation, OperationMetrics>();

  of(operation: Operation): OperationMetrics {
    let metrics = this.operations.get(operation);
    if (metrics === undefined) this.operations.set(operation, (metrics = new OperationMetrics()));
    return metrics;
  }
}
