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

interface Event {
  dueMs: number;
  order: number;
  /** I/O and advance() keep the simulation running; a timer alone does not for ever. */
  isWork: boolean;
  callback: () => void;
}

/** Timers in a row, without any I/O, after which time stands still: a periodic one never ends. */
const IDLE_TIMERS_MAX = 10_000;

export class SimClock implements Clock {
  readonly #autoAdvance: boolean;
  /** Latest first, so that the next event is taken off the end. */
  readonly #events: Event[] = [];
  #nowMs: number;
  #wallOffsetMs: number;
  #orders = 0;
  #workCount = 0;
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

  after(delayMs: number, callback: () => void): Timer {
    return this.#add(delayMs, false, callback);
  }

  /** As after(), and keeps the simulation (and the process) going until it ran: for I/O. */
  schedule(delayMs: number, callback: () => void): Timer {
    return this.#add(delayMs, true, callback);
  }

  /** Lets time pass. Resolves when all that was due in it has run. */
  advance(byMs: number): Promise<void> {
    return new Promise((resolve) => this.#add(byMs, true, resolve));
  }

  /** Sets the wall clock forward or back, as an administrator would. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  #add(delayMs: number, isWork: boolean, callback: () => void): Timer {
    const dueMs = this.#nowMs + Math.max(0, delayMs);
    const event: Event = { dueMs, order: this.#orders++, isWork, callback };
    this.#events.splice(this.#positionOf(event), 0, event);
    if (isWork) this.#workCount++;
    this.#pump();
    return { cancel: () => this.#cancel(event) };
  }

  #cancel(event: Event): void {
    const at = this.#positionOf(event);
    if (this.#events[at] !== event) return;
    this.#events.splice(at, 1);
    if (event.isWork) this.#workCount--;
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
    if (this.#workCount === 0 && !idle) return;
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
    if (event.isWork) this.#workCount--;
    this.#idleTimers = this.#workCount === 0 && !event.isWork ? this.#idleTimers + 1 : 0;
    this.#nowMs = Math.max(this.#nowMs, event.dueMs);
    event.callback();
  }
}

function isLater(a: Event, b: Event): boolean {
  return a.dueMs === b.dueMs ? a.order > b.order : a.dueMs > b.dueMs;
}
