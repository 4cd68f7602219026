/**
 * Carries the operations of a simulated host from submission to completion.
 *
 * Invariants:
 * 1. Every operation completes exactly once, in an event-loop turn after its submission, whatever
 *    happens: a power cut completes what is in flight with an error.
 * 2. The order of completions depends on the seed and on what is submitted when, on nothing else.
 * 3. After the power cut nothing begins and nothing takes effect.
 */
import { MpoolError } from '../base/errors.ts';
import { below, SeededPrng } from '../base/prng.ts';
import type { Timer } from '../base/clock.ts';
import { ActiveFault } from './faults.ts';
import type { Fault, FaultEffect, FaultRule, OperationInfo, SimOperation } from './faults.ts';
import type { SimClock } from './sim-clock.ts';
import { Trace } from './trace.ts';
import type { OperationEvent } from './trace.ts';

/** What the power may be cut after, and what counts for cutPowerAfter(). */
const COUNTED: ReadonlySet<SimOperation> = new Set([
  'write',
  'flush',
  'discard',
  'create',
  'grow',
  'remove',
]);

/** What is checksummed when it is done. */
const READS: ReadonlySet<SimOperation> = new Set(['read', 'peek', 'cache']);

/** Simulated milliseconds: [least, most]. */
const LATENCY_MS: Record<SimOperation, readonly [number, number]> = {
  read: [0.05, 0.3],
  write: [0.02, 0.3],
  flush: [0.1, 1],
  discard: [0.02, 1],
  create: [0.1, 1],
  grow: [0.1, 1],
  remove: [0.1, 1],
  open: [0.05, 0.2],
  peek: [0.05, 0.2],
  map: [0.05, 0.2],
  cache: [0.005, 0.05],
};
const IN_ORDER_LATENCY_MS = 0.1;

export interface Action {
  info: OperationInfo;
  /** CRC32C of what is written; of what was read once it is done. */
  checksum(): number;
  /** The operation is on its way. */
  begin(): void;
  /** It takes effect. */
  perform(effect: FaultEffect | undefined): MpoolError | null;
  done(error: MpoolError | null): void;
}

interface Flight {
  number: number;
  action: Action;
  fault: ActiveFault | undefined;
  timer: Timer | undefined;
}

export interface OperationsOptions {
  clock: SimClock;
  seed: number;
  firstNumber: number;
  inOrder: boolean;
  keepTrace: boolean;
  onOperation: ((event: OperationEvent) => void) | undefined;
}

export class Operations {
  readonly trace: Trace;
  readonly #clock: SimClock;
  readonly #prng: SeededPrng;
  readonly #inOrder: boolean;
  readonly #onOperation: ((event: OperationEvent) => void) | undefined;
  readonly #inFlight = new Set<Flight>();
  #faults: ActiveFault[] = [];
  #numbers: number;
  #count = 0;
  #cutAt = Infinity;
  #powerIsCut = false;

  constructor(options: OperationsOptions) {
    this.#clock = options.clock;
    this.#prng = new SeededPrng(options.seed);
    this.#numbers = options.firstNumber;
    this.#inOrder = options.inOrder;
    this.#onOperation = options.onOperation;
    this.trace = new Trace({ keepEvents: options.keepTrace });
  }

  /** Operations submitted that change media. */
  get count(): number {
    return this.#count;
  }

  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  get powerIsCut(): boolean {
    return this.#powerIsCut;
  }

  /** A number for things that need an order between them. */
  nextNumber(): number {
    return ++this.#numbers;
  }

  addFault(rule: FaultRule): Fault {
    const fault = new ActiveFault(rule);
    this.#faults.push(fault);
    return fault;
  }

  clearFaults(): void {
    for (const fault of this.#faults) {
      fault.remove();
      fault.release();
    }
    this.#faults = [];
  }

  cutPowerAfter(operations: number): void {
    this.#cutAt = this.#count + operations;
    if (operations <= 0) this.cutPower();
  }

  /** Completes what is in flight with an error; its effects are then volatile. */
  cutPower(): void {
    if (this.#powerIsCut) return;
    this.#powerIsCut = true;
    for (const flight of this.#inFlight) {
      flight.timer?.cancel();
      this.#failLater(flight, powerCut(flight.action.info));
    }
  }

  start(action: Action): void {
    const { info } = action;
    const flight: Flight = {
      number: this.nextNumber(),
      action,
      fault: undefined,
      timer: undefined,
    };
    this.#inFlight.add(flight);
    this.#report(flight, 'submit', null);
    if (this.#powerIsCut) return this.#failLater(flight, powerCut(info));
    action.begin();
    flight.fault = this.#faults.find((fault) => fault.hit(info));
    const effect = flight.fault?.effect;
    if (effect?.kind === 'hold') flight.fault!.hold(() => this.#resume(flight));
    else this.#scheduleFinish(flight, effect?.kind === 'delay' ? effect.delayMs : 0);
    if (!COUNTED.has(info.op)) return;
    if (++this.#count >= this.#cutAt) this.cutPower();
  }

  /** An operation that the device refuses at once: it never begins, but completes like any other. */
  refuse(action: Action, error: MpoolError): void {
    const flight: Flight = {
      number: this.nextNumber(),
      action,
      fault: undefined,
      timer: undefined,
    };
    this.#inFlight.add(flight);
    this.#report(flight, 'submit', null);
    this.#failLater(flight, error);
  }

  /** An operation for which a program waits, as for a page fault. It cannot be held or delayed. */
  runNow(action: Action): MpoolError | null {
    const { info } = action;
    const flight: Flight = {
      number: this.nextNumber(),
      action,
      fault: undefined,
      timer: undefined,
    };
    this.#report(flight, 'submit', null);
    const effect = this.#powerIsCut
      ? undefined
      : this.#faults.find((fault) => fault.hit(info))?.effect;
    const error = this.#powerIsCut ? powerCut(info) : action.perform(effect);
    this.#report(flight, 'complete', error);
    return error;
  }

  #resume(flight: Flight): void {
    if (this.#inFlight.has(flight) && !this.#powerIsCut) this.#scheduleFinish(flight, 0);
  }

  #scheduleFinish(flight: Flight, delayMs: number): void {
    const { op } = flight.action.info;
    const finish = (): void => {
      this.#complete(flight, flight.action.perform(flight.fault?.effect));
    };
    // What the reaper asks of the page cache, round after round, must not keep a simulation going.
    const kind = op === 'cache' ? 'chore' : 'work';
    flight.timer = this.#clock.schedule(delayMs + this.#latencyMs(op), finish, kind);
  }

  #failLater(flight: Flight, error: MpoolError): void {
    const latencyMs = this.#latencyMs(flight.action.info.op);
    flight.timer = this.#clock.schedule(latencyMs, () => this.#complete(flight, error));
  }

  #complete(flight: Flight, error: MpoolError | null): void {
    this.#inFlight.delete(flight);
    this.#report(flight, 'complete', error);
    flight.action.done(error);
  }

  #latencyMs(op: SimOperation): number {
    if (this.#inOrder) return IN_ORDER_LATENCY_MS;
    const [least, most] = LATENCY_MS[op];
    return least + (below(this.#prng, 1024) / 1024) * (most - least);
  }

  #report(flight: Flight, phase: 'submit' | 'complete', error: MpoolError | null): void {
    const { info } = flight.action;
    const isRead = READS.has(info.op);
    const checksum = isRead === (phase === 'complete') ? flight.action.checksum() : 0;
    const event: OperationEvent = { ...info, phase, number: flight.number, checksum };
    if (error !== null) event.error = error.code;
    this.trace.add(event);
    this.#onOperation?.(event);
  }
}

function powerCut({ op, disk }: OperationInfo): MpoolError {
  return new MpoolError('ERR_MPOOL_IO', `${disk}: ${op}: power cut`, { syscall: op, path: disk });
}
