import { SeededPrng } from '../../src/base/prng.ts';

/** What the child tells: first what it is about to do, then what was acknowledged. */
export type Event =
  | { what: 'commit'; ids: string[]; lengthBytes: number }
  | { what: 'committed'; ids: string[] }
  | { what: 'delete' | 'deleted'; id: string }
  | { what: 'append' | 'synced'; number: number }
  | { what: 'compact' | 'compacted'; keepFrom: number; end: number };

/** Bytes that are an object's own: never those of another. */
export function contentOf(id: bigint, lengthBytes: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(lengthBytes / 4));
  const prng = new SeededPrng(Number(id & 0xffffffffn));
  for (let i = 0; i < words.length; i++) words[i] = prng.u32();
  return new Uint8Array(words.buffer, 0, lengthBytes);
}

/**
 * What may and what must be in the pool after a kill.
 *
 * Objects: must exist when acknowledged and no deletion was begun; may exist when begun.
 * Root MDC: its records are numbers in a row; all acknowledged ones that no compaction may have dropped.
 */
export class Expectation {
  /** Length of every object whose commit was begun. */
  readonly begun = new Map<string, number>();
  readonly committed = new Set<string>();
  /** Begun together: all or none. */
  readonly groups: string[][] = [];
  readonly deleting = new Set<string>();
  readonly deleted = new Set<string>();
  /** Numbers below it were appended at some time. */
  appendedEnd = 0;
  /** Numbers below it must still be there, unless compacted away. */
  syncedEnd = 0;
  /** Numbers below it may be gone, and below the second they must be gone. */
  mayBeginAt = 0;
  mustBeginAt = 0;

  take(event: Event): void {
    switch (event.what) {
      case 'commit':
        for (const id of event.ids) this.begun.set(id, event.lengthBytes);
        this.groups.push(event.ids);
        break;
      case 'committed':
        for (const id of event.ids) this.committed.add(id);
        break;
      case 'delete':
        this.deleting.add(event.id);
        break;
      case 'deleted':
        this.deleted.add(event.id);
        break;
      case 'append':
        this.appendedEnd = Math.max(this.appendedEnd, event.number + 1);
        break;
      case 'synced':
        this.syncedEnd = Math.max(this.syncedEnd, event.number + 1);
        break;
      case 'compact':
        this.syncedEnd = Math.max(this.syncedEnd, event.end);
        this.mayBeginAt = event.keepFrom;
        break;
      case 'compacted':
        this.mustBeginAt = event.keepFrom;
        break;
    }
  }
}
