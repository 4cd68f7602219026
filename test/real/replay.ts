/**
 * What can be on a medium at any moment of its write log, if the power goes then.
 *
 * 1. What is covered is there: writes that were done when a flush began that ended well, and durable writes that ended.
 * 2. Of all others each 512-byte sector is there or not, one by one, as a policy chooses.
 * 3. What is there lies on each other in the order in which it was written.
 * 4. What a failed flush should have covered no later one does.
 */
import type { SurvivorPolicy, VolatileOperation } from '../../src/testing/survivors.ts';
import type { LogRecord } from './write-log.ts';

const SECTOR_BYTES = 512;

interface Change {
  operation: number;
  kind: 'write' | 'discard';
  offsetBytes: number;
  lengthBytes: number;
  data: Uint8Array;
  /** A write that its own end covers. */
  durable: boolean;
  done: boolean;
  covered: boolean;
  dropped: boolean;
}

export class Replay {
  /** All changes up to the first that is not covered. */
  #base: Buffer = Buffer.alloc(0);
  #image: Buffer = Buffer.alloc(0);
  /** Those after it, in order. */
  readonly #changes: Change[] = [];
  /** By flush under way: what it covers. */
  readonly #flushes = new Map<number, Change[]>();

  /** @returns whether more is covered than before: a flush boundary */
  take(record: LogRecord): boolean {
    const { kind, operation } = record;
    if (kind === 'event') return false;
    if (kind === 'done') return this.#end(operation);
    if (kind === 'flush') {
      this.#flushes.set(
        operation,
        this.#changes.filter(({ done, covered }) => done && !covered),
      );
    } else if (kind === 'flushFailed') {
      for (const change of this.#changes) change.dropped ||= !change.covered;
    } else if (kind === 'resize') this.#resize(record);
    else this.#change(kind, record);
    return false;
  }

  get volatile(): VolatileOperation[] {
    return this.#changes
      .filter(({ covered }) => !covered)
      .map(({ kind, offsetBytes, lengthBytes, done }, index) => ({
        index,
        op: kind,
        disk: 'medium',
        offsetBytes,
        lengthBytes,
        pieceCount: Math.ceil(lengthBytes / SECTOR_BYTES),
        inFlight: !done,
      }));
  }

  /** Good until the next is asked for. */
  image(policy: SurvivorPolicy): Buffer {
    if (this.#image.length !== this.#base.length) this.#image = Buffer.alloc(this.#base.length);
    const image = this.#image;
    this.#base.copy(image);
    const volatile = this.volatile;
    let next = 0;
    for (const change of this.#changes) {
      if (change.covered) apply(image, change, 0, change.lengthBytes);
      else {
        const operation = volatile[next++]!;
        for (let piece = 0; piece < operation.pieceCount; piece++) {
          if (!policy.survives(operation, piece)) continue;
          const from = piece * SECTOR_BYTES;
          apply(image, change, from, Math.min(from + SECTOR_BYTES, change.lengthBytes));
        }
      }
    }
    return image;
  }

  #change(kind: 'write' | 'discard', record: LogRecord): void {
    const { operation, offsetBytes, durable, payload } = record;
    this.#changes.push({
      operation,
      kind,
      offsetBytes,
      lengthBytes: kind === 'write' ? payload.length : record.lengthBytes,
      data: payload,
      durable,
      done: false,
      covered: false,
      dropped: false,
    });
  }

  /** At once: the size of a file is not what is looked at here. */
  #resize({ lengthBytes, payload }: LogRecord): void {
    const resized = Buffer.alloc(lengthBytes);
    resized.set((payload.length > 0 ? payload : this.#base).subarray(0, lengthBytes));
    this.#base = resized;
  }

  #end(operation: number): boolean {
    const flushed = this.#flushes.get(operation);
    this.#flushes.delete(operation);
    const change = flushed ? undefined : this.#changes.find((each) => each.operation === operation);
    if (change !== undefined) change.done = true;
    const covers = flushed ?? (change?.durable ? [change] : undefined);
    if (covers === undefined) return false;
    for (const each of covers) each.covered ||= !each.dropped;
    while (this.#changes[0]?.covered) {
      const first = this.#changes.shift()!;
      apply(this.#base, first, 0, first.lengthBytes);
    }
    return true;
  }
}

function apply(image: Buffer, change: Change, from: number, end: number): void {
  const at = change.offsetBytes + from;
  if (change.kind === 'discard') image.fill(0, at, change.offsetBytes + end);
  else image.set(change.data.subarray(from, end), at);
}
