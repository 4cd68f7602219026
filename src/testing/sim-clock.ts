/**
 * Simulated time: one queue for timers and for the simulated devices' completions, so that a run is
 * the same every time. Real time plays no part.
 *
 * Invariants:
 * 1. Events run one at a time in the order (due time, scheduling order), each in an event-loop turn
 *    of its own, so that all promise reactions to one have run before the next.
 * 2. Monotonic time never goes back, and moves only when an event runs.
 */
import { setImmediate } from 'node:timers';
import type { Clock, Timer } from '../base/clock.ts';

export interface SimClockOptions {
  /** Milliseconds since 1970 at the start. */
  wallMs?: number | undefined;
  monotonicMs?: number | undefined;
  /**
   * True (default): while no I/O is in flight, time jumps to the next timer at once. False: timers
   * fire only when I/O or advance() moves time past them.
   */
  autoAdvance?: boolean | undefined;
}

/**
 * 'work' (I/O, advance()) keeps the simulation running; a 'timer' alone does not for ever; a 'chore' is
 * waited for as work is, but timers that lead to nothing else are alone.
 */
type EventKind = 'work' | 'chore' | 'timer';

interface Event {
  dueMs: number;
  order: number;
  kind: EventKind;
  callback: () => void;
}

/** Timers in a row, without any work, after which time stands still: a periodic one never ends. */
const IDLE_TIMERS_MAX = 10_000;

export class SimClock implements Clock {
  readonly #autoAdvance: boolean;
  /** Latest first, so that the next event is taken off the end. */
  readonly #events: Event[] = [];
  #nowMs: number;
  #wallOffsetMs: number;
  #orders = 0;
  #workCount = 0;
  #choreCount = 0;
  #idleTimers = 0;
  #scheduled = false;

  constructor(options: SimClockOptions = {}) {
    this.#nowMs = options.monotonicMs ?? 0;
    this.#wallOffsetMs = (options.wallMs ?? Date.UTC(2026, 0, 1)) - this.#nowMs;
    this.#autoAdvance = options.autoAdvance ?? true;
  }

  wallMs(): number {
    return Math.floor(this.#nowMs + this.#wallOffsetMs);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  get autoAdvance(): boolean {
    return this.#autoAdvance;
  }

  after(delayMs: number, callback: () => void, keepAlive = false): Timer {
    return this.#add(delayMs, keepAlive ? 'work' : 'timer', callback);
  }

  /** For I/O: keeps the simulation (and the process) going until it ran. */
  schedule(delayMs: number, callback: () => void, kind: 'work' | 'chore' = 'work'): Timer {
    return this.#add(delayMs, kind, callback);
  }

  /** Lets time pass. Resolves when all that was due in it has run. */
  advance(byMs: number): Promise<void> {
    return new Promise((resolve) => this.#add(byMs, 'work', resolve));
  }

  /** Sets the wall clock forward or back, as an administrator would. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  #add(delayMs: number, kind: EventKind, callback: () => void): Timer {
    const dueMs = this.#nowMs + Math.max(0, delayMs);
    const event: Event = { dueMs, order: this.#orders++, kind, callback };
    this.#events.splice(this.#positionOf(event), 0, event);
    this.#count(event, 1);
    this.#pump();
    return { cancel: () => this.#cancel(event) };
  }

  #cancel(event: Event): void {
    const at = this.#positionOf(event);
    if (this.#events[at] !== event) return;
    this.#events.splice(at, 1);
    this.#count(event, -1);
  }

  #count({ kind }: Event, change: 1 | -1): void {
    if (kind === 'work') this.#workCount += change;
    else if (kind === 'chore') this.#choreCount += change;
  }

  /** Where the event is, or belongs. */
  #positionOf(event: Event): number {
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isLater(this.#events[middle]!, event)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #pump(): void {
    if (this.#scheduled || this.#events.length === 0) return;
    const idle = this.#autoAdvance && this.#idleTimers < IDLE_TIMERS_MAX;
    if (this.#workCount + this.#choreCount === 0 && !idle) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      try {
        this.#step();
      } finally {
        this.#pump();
      }
    });
  }

  #step(): void {
    const event = this.#events.pop();
    if (event === undefined) return;
    this.#count(event, -1);
    if (event.kind === 'work' || this.#workCount > 0) this.#idleTimers = 0;
    else if (event.kind === 'timer') this.#idleTimers++;
    this.#nowMs = Math.max(this.#nowMs, event.dueMs);
    event.callback();
  }
}

function isLater(a: Event, b: Event): boolean {
  return a.dueMs === b.dueMs ? a.order > b.order : a.dueMs > b.dueMs;
}
