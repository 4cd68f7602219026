// One pool from its creation on, through crashes, kills, faults and clean closes, all from one seed.
import { MpoolError } from '../../src/base/errors.ts';
import { below, chance, SeededPrng } from '../../src/base/prng.ts';
import {
  allSurvive,
  noneSurvive,
  randomSurvive,
  type FaultRule,
  type SimHost,
} from '../../src/testing/index.ts';
import type { PoolModel } from './model.ts';
import { CAPACITY, MIB, Rig, STAGING } from './rig.ts';
import { newPool } from './sweep.ts';
import { closeClean, verifyPool } from './verify.ts';
import { Workload } from './workload.ts';

export interface LifetimeResult {
  epochs: number;
  actions: number;
  errors: number;
  faults: number;
  crashes: number;
  /** Of all that any of its machines did. */
  traceHash: number;
}

export interface LifetimeOptions {
  epochs: number;
  /** Faults that devices may have and say so: nothing acknowledged may be lost by them. */
  faults: boolean;
}

/** @throws naming the seed, when the pool is not as the model says */
export async function livePool(seed: number, options: LifetimeOptions): Promise<LifetimeResult> {
  try {
    return await new Lifetime(seed, options).run();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`pool lifetime with SEED=${seed}: ${reason}`, { cause: error });
  }
}

class Lifetime {
  readonly #prng: SeededPrng;
  readonly #seed: number;
  readonly #options: LifetimeOptions;
  readonly #result: LifetimeResult = {
    epochs: 0,
    actions: 0,
    errors: 0,
    faults: 0,
    crashes: 0,
    traceHash: 0,
  };

  constructor(seed: number, options: LifetimeOptions) {
    this.#seed = seed;
    this.#options = options;
    this.#prng = new SeededPrng(seed);
  }

  async run(): Promise<LifetimeResult> {
    const prng = this.#prng;
    const both = chance(prng, 0.4);
    const sectorBytes = chance(prng, 0.5) ? 512 : 4096;
    const sizeBytes = (4 + below(prng, 20)) * MIB;
    const devices = both ? 'both' : 'capacity';
    const spareDisk = !both && chance(prng, 0.5);
    const made = await newPool({ devices, spareDisk, sizeBytes }, sectorBytes, this.#seed);
    made.model.sizes = [made.host.disk(CAPACITY).sizeBytes];
    let { host } = made;
    for (let epoch = 0; epoch < this.#options.epochs; epoch++) {
      host = await this.#epoch(host, made.model);
      host.clearFaults();
      await verifyPool(host, made.model, { goOn: chance(prng, 0.5) });
      this.#note(host);
      this.#result.epochs += 1;
    }
    return this.#result;
  }

  /** @returns the machine on which the pool is then found */
  async #epoch(host: SimHost, model: PoolModel): Promise<SimHost> {
    const prng = this.#prng;
    const ending = below(prng, 10);
    const actions = 5 + below(prng, 120);
    if (ending < 6) host.cutPowerAfter(1 + below(prng, 6 * actions));
    if (this.#options.faults && chance(prng, 0.5)) this.#addFaults(host);
    const resize = chance(prng, 0.1);
    if (resize) host.disk(CAPACITY).resize(grownBytes(host, prng));
    let rig: Rig | undefined;
    try {
      rig = await Rig.open(host, model);
      if (resize) await rig.grow(host.disk(CAPACITY).sizeBytes);
      const add = model.staging === 'no' && host.paths.includes(STAGING) && chance(prng, 0.3);
      if (add) await rig.addStaging();
      const work = new Workload(rig, prng);
      await work.run(actions).finally(() => {
        this.#result.actions += work.actions;
        this.#result.errors += work.errors;
      });
      if (ending === 9 && !host.powerIsCut) return this.#kill(host, rig, model);
      if (ending >= 6) await closeClean(rig);
      else await rig.closeAfterCut();
    } catch (error) {
      if (!(error instanceof MpoolError)) throw error;
      await rig?.closeAfterCut();
    }
    if (host.liveBufferCount !== 0) throw new Error(`${host.liveBufferCount} buffers leaked`);
    if (ending >= 6 && chance(prng, 0.5)) return this.#next(host, host.clone());
    this.#result.crashes += 1;
    return this.#next(host, host.crash({ survivors: this.#survivors() }));
  }

  #survivors() {
    const choice = below(this.#prng, 4);
    if (choice === 0) return noneSurvive;
    return choice === 1 ? allSurvive : randomSurvive(this.#prng.u32());
  }

  /** The process is gone without a word; what it wrote is in the device's cache. */
  async #kill(host: SimHost, rig: Rig, model: PoolModel): Promise<SimHost> {
    while (host.inFlightCount > 0) await host.clock.advance(1);
    const next = host.clone();
    const kept = model.clone();
    await rig.close().catch(() => {});
    Object.assign(model, kept);
    return this.#next(host, next);
  }

  #next(host: SimHost, next: SimHost): SimHost {
    this.#note(host);
    return next;
  }

  #note(host: SimHost): void {
    this.#result.traceHash = (Math.imul(this.#result.traceHash, 31) + host.trace.hash) >>> 0;
  }

  #addFaults(host: SimHost): void {
    const prng = this.#prng;
    this.#result.faults += 1;
    const lands = (['none', 'some', 'all'] as const)[below(prng, 3)]!;
    const nth = 1 + below(prng, 60);
    const times = chance(prng, 0.3) ? Infinity : 1;
    const rules: FaultRule[] = [
      { op: 'write', nth, times, effect: { kind: 'error', lands } },
      { op: 'write', nth, times, effect: { kind: 'error', errno: 'ENOSPC' } },
      { op: 'write', durability: 'durable', nth, times, effect: { kind: 'error', lands } },
      { op: 'write', nth, effect: { kind: 'torn' } },
      { op: 'flush', nth: 1 + below(prng, 20), times, effect: { kind: 'error' } },
      { op: 'discard', times: Infinity, effect: { kind: 'error' } },
      { op: 'read', nth, times, effect: { kind: 'error' } },
      { op: 'write', nth, times: 20, effect: { kind: 'delay', delayMs: 30 } },
      { op: 'flush', nth, times: 20, effect: { kind: 'delay', delayMs: 30 } },
    ];
    host.addFault(rules[below(prng, rules.length)]!);
  }
}

/** By more than the reserved tail: what grew by less is left for another time. */
function grownBytes(host: SimHost, prng: SeededPrng): number {
  return host.disk(CAPACITY).sizeBytes + (16 + below(prng, 800)) * 4096;
}
