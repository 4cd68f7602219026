import { SeededPrng } from '../../src/base/prng.ts';

/** What the child tells: first what it is about to do, then what was acknowledged. */
export type Event =
  | { what: 'commit'; ids: string[]; lengthBytes: number }
  | { what: 'committed'; ids: string[] }
  | { what: 'delete' | 'deleted'; id: string }
  | { what: 'append' | 'synced'; number: number }
  | { what: 'compact' | 'compacted'; keepFrom: number; end: number };

const CONTENTS_MAX = 200;
const contents = new Map<bigint, Uint8Array>();

/** Bytes that are an object's own: never those of another. They are the same array again: not to be changed. */
export function contentOf(id: bigint, lengthBytes: number): Uint8Array {
  let content = contents.get(id);
  if (content === undefined || content.length < lengthBytes) content = makeContent(id, lengthBytes);
  // Those asked for last are kept.
  contents.delete(id);
  contents.set(id, content);
  if (contents.size > CONTENTS_MAX) contents.delete(contents.keys().next().value!);
  return content.subarray(0, lengthBytes);
}

function makeContent(id: bigint, lengthBytes: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(lengthBytes / 4));
  const prng = new SeededPrng(Number(id & 0xffffffffn));
  for (let i = 0; i < words.length; i++) words[i] = prng.u32();
  return new Uint8Array(words.buffer, 0, lengthBytes);
}

/** What is in a pool. */
export interface Found {
  mblocks: ReadonlySet<string>;
  /** Numbers of the records. */
  first: number;
  end: number;
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

  /** What a kill left is what later ones must find. */
  adopt({ mblocks, first, end }: Found): void {
    for (const group of this.groups) {
      if (group.some((name) => this.deleting.has(name))) continue;
      for (const name of group) if (mblocks.has(name)) this.committed.add(name);
    }
    for (const name of this.deleting) {
      if (!mblocks.has(name)) this.deleted.add(name);
      else this.deleting.delete(name);
    }
    this.syncedEnd = end;
    this.appendedEnd = end;
    this.mayBeginAt = first;
    this.mustBeginAt = first;
  }
}
