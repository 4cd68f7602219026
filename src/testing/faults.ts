import { constants } from 'node:os';
import type { Durability } from '../device/device.ts';

/**
 * 'read': of the device, directly or into the page cache; 'cache': what the page cache answers by itself,
 * and what is asked of it; 'map': the mapping of a device.
 */
export type SimOperation =
  | 'read'
  | 'write'
  | 'flush'
  | 'discard'
  | 'create'
  | 'grow'
  | 'remove'
  | 'open'
  | 'peek'
  | 'map'
  | 'cache';

/** What goes wrong with an operation that a rule matches. */
export type FaultEffect =
  /**
   * It fails. Of a write, nothing has landed by default; else all, or any sectors ('some'). The errno is
   * EIO by default.
   */
  | { kind: 'error'; errno?: keyof typeof constants.errno; lands?: 'none' | 'some' | 'all' }
  /** A write of which only some sectors land; it fails (EIO), or is acknowledged. */
  | { kind: 'torn'; acknowledged?: boolean }
  /** Acknowledged and never done: a lost write or discard, a flush that lies, an eviction. */
  | { kind: 'lost' }
  /** A durable write that is acknowledged while it is in a cache only. */
  | { kind: 'volatile' }
  /** A read or write of another place: at `toOffsetBytes`, or elsewhere at random. */
  | { kind: 'misdirected'; toOffsetBytes?: number }
  /** A read gives each page as it was before the last write to it. */
  | { kind: 'stale' }
  /** One bit of what is read or written is wrong; a random one by default. */
  | { kind: 'flip'; bit?: number }
  /** Takes that much longer: others overtake it. */
  | { kind: 'delay'; delayMs: number }
  /** Does not complete until release(): the very late completion. */
  | { kind: 'hold' };

/** Which operations, and what happens to them. Conditions that are left out always hold. */
export interface FaultRule {
  op: SimOperation | readonly SimOperation[];
  /** Path of the disk. */
  disk?: string;
  /** Operations that touch a byte of it. */
  range?: { offsetBytes: number; lengthBytes: number };
  /** Only durable or only volatile writes. */
  durability?: Durability;
  /** From the how-manieth that matches, counted from 1: the default. */
  nth?: number;
  /** How many, 1 by default; Infinity for ever. */
  times?: number;
  effect: FaultEffect;
}

/** An operation as rules and hooks see it. */
export interface OperationInfo {
  op: SimOperation;
  disk: string;
  offsetBytes: number;
  lengthBytes: number;
  /** Of a write. */
  durability?: Durability;
}

/** A rule at work. */
export interface Fault {
  /** How many operations it has hit. */
  readonly hits: number;
  /** No further operation is hit. */
  remove(): void;
  /** Lets operations go that it holds. */
  release(): void;
}

export class ActiveFault implements Fault {
  readonly #rule: FaultRule;
  readonly #held: (() => void)[] = [];
  #matches = 0;
  #hits = 0;
  #removed = false;

  constructor(rule: FaultRule) {
    this.#rule = rule;
  }

  get hits(): number {
    return this.#hits;
  }

  get effect(): FaultEffect {
    return this.#rule.effect;
  }

  remove(): void {
    this.#removed = true;
  }

  hold(resume: () => void): void {
    this.#held.push(resume);
  }

  release(): void {
    for (const resume of this.#held.splice(0)) resume();
  }

  /** Counts the operation if it matches. @returns true when it is hit */
  hit(operation: OperationInfo): boolean {
    if (this.#removed || !matches(this.#rule, operation)) return false;
    const { nth = 1, times = 1 } = this.#rule;
    const match = ++this.#matches;
    if (match < nth || match >= nth + times) return false;
    this.#hits++;
    return true;
  }
}

function matches(rule: FaultRule, operation: OperationInfo): boolean {
  const ops: readonly SimOperation[] = typeof rule.op === 'string' ? [rule.op] : rule.op;
  if (!ops.includes(operation.op)) return false;
  if (rule.disk !== undefined && rule.disk !== operation.disk) return false;
  if (rule.durability !== undefined && rule.durability !== operation.durability) return false;
  if (rule.range === undefined) return true;
  const { offsetBytes, lengthBytes } = rule.range;
  return (
    operation.offsetBytes < offsetBytes + lengthBytes &&
    offsetBytes < operation.offsetBytes + operation.lengthBytes
  );
}
