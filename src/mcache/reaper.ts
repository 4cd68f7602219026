import { EventEmitter } from 'node:events';
import type { Clock, Timer } from '../base/clock.ts';
import { SeededPrng } from '../base/prng.ts';
import type { Prng } from '../base/prng.ts';
import type { MemoryGauge } from '../device/memory-gauge.ts';
import type { Eviction, Reaper as ReaperDoor } from '../pool/map-api.ts';
import type { ReaperSettings, ReaperStats, Temperature } from '../pool/map-api.ts';
import { Admission } from './reaper-admission.ts';
import { Ledger } from './reaper-ledger.ts';
import { delayMicros, isDuress, WHOLE } from './reaper-pressure.ts';
import { Rounds } from './reaper-round.ts';
import { DEFAULT_WISHES, percentOf, REAPER_VARIABLE } from './reaper-settings.ts';
import { wishesOf, withChanges } from './reaper-settings.ts';
import type { Changes, Wishes } from './reaper-settings.ts';
import type { ResidentSet } from './resident-set.ts';

/** Between rounds while someone waits to be admitted. */
const ADMISSION_ROUND_MS = 4;
/** How often to see whether there are rows, while there are none. */
const DOZE_MS = 1000;
/** Read-ahead under duress: as the kernel driver's. */
const DURESS_PAGES = 8;

/** Less than a read of the device takes: not to be felt, and not to be had of a timer. */
const DELAY_MS_MIN = 0.25;

export interface ReaperOptions {
  clock: Clock;
  gauge: MemoryGauge;
  /** Spreads the delays of reads. */
  prng?: Prng | undefined;
  /** Instead of the environment variable MPOOL_REAPER. */
  variable?: string | undefined;
}

/**
 * Evicts mapped objects before the kernel has to, in rounds.
 *
 * Invariants
 * 1. Rounds never overlap. Without rows there are none, only a look for rows now and then; without
 *    sets nothing.
 * 2. When remove() has resolved, nothing is done to that set any more.
 * 3. A pinned row is never evicted. One that was shown in views is evicted only when it was watched and not
 *    used, but for an emergency, or when no map has it.
 * 4. A set or a gauge that fails costs itself a while of rest, and nothing else.
 */
export class Reaper implements ReaperDoor {
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly #variable: string | undefined;
  readonly #events = new EventEmitter();
  readonly #ledgers = new Set<Ledger>();
  readonly #rounds: Rounds;
  #wishesNow: Wishes | undefined;
  #variableError: unknown;
  #settings: Readonly<ReaperSettings> | undefined;
  #timer: Timer | undefined;
  #running = false;
  #dozing = false;
  #ledgerNumber = 0;
  #toldPressure = 0;
  readonly #admission = new Admission();
  #refaultsOfRemoved = 0;
  readonly #counts = { rounds: 0, delayedReads: 0, delayedMs: 0, shortenedReadAheads: 0 };

  constructor(options: ReaperOptions) {
    this.#clock = options.clock;
    this.#prng = options.prng ?? new SeededPrng(1);
    this.#variable = options.variable;
    this.#rounds = new Rounds(options.clock, options.gauge, this.#ledgers, this.#admission);
  }

  get settings(): Readonly<ReaperSettings> {
    const { memoryPercent, ...others } = this.#wishes;
    this.#settings ??= Object.freeze({
      ...others,
      memoryPercent: memoryPercent ?? percentOf(this.#rounds.sample),
    });
    return this.#settings;
  }

  /** As `settings.enabled`, and cheap. */
  get enabled(): boolean {
    return this.#wishes.enabled;
  }

  configure(changes: Changes): void {
    this.#wishesNow = withChanges(this.#wishes, changes);
    this.#settings = undefined;
    if (!this.#wishesNow.enabled) this.#rounds.judgement = undefined;
    this.#soon();
  }

  /**
   * Looks after a set from now on. Again: there are rows again.
   * @throws RangeError when the variable MPOOL_REAPER makes no sense
   */
  add(set: ResidentSet): void {
    void this.#wishes;
    if (this.#variableError !== undefined) throw this.#variableError;
    if (this.#ledgerOf(set) === undefined) {
      this.#ledgers.add(new Ledger(set, this.#ledgerNumber++));
    }
    this.#soon();
  }

  /** Nothing is done to the set when this resolves, nor later. */
  async remove(set: ResidentSet): Promise<void> {
    const ledger = this.#ledgerOf(set);
    if (ledger === undefined) return;
    ledger.removed = true;
    this.#ledgers.delete(ledger);
    this.#refaultsOfRemoved += ledger.refaultedObjects;
    if (this.#ledgers.size === 0 && !this.#running) await this.#stop();
    await ledger.work;
  }

  stats(): ReaperStats {
    const { judgement, sample, work, tally } = this.#rounds;
    const [cold = 0, warm = 0, hot = 0, pinned = 0, unmapped = 0] = tally.pages;
    let refaultedObjects = this.#refaultsOfRemoved;
    for (const ledger of this.#ledgers) refaultedObjects += ledger.refaultedObjects;
    return {
      pressure: (judgement?.pressure ?? 0) / WHOLE,
      limit: judgement?.limit ?? (sample?.group === undefined ? 'machine' : 'group'),
      freePercent: (judgement?.freeShare ?? WHOLE) / 100,
      ttlMs: judgement?.ttlMs ?? this.#wishes.ttlMs,
      residentPages: { cold, warm, hot, pinned, unmapped },
      objectCount: tally.objectCount,
      evictedObjects: work.evictedObjects,
      evictedPages: work.evictedPages,
      refaultedObjects,
      ...this.#counts,
      threadMs: this.#rounds.threadMs,
      poolMs: work.poolMs,
      kernelReclaimedPages: this.#rounds.kernelReclaimedPages,
      kernelRefaults: this.#rounds.kernelRefaults,
    };
  }

  on(event: 'pressure', listener: (stats: ReaperStats) => void): this;
  on(event: 'evict', listener: (eviction: Eviction) => void): this;
  on(event: string, listener: (...args: never[]) => void): this {
    this.#events.on(event, listener as (...args: unknown[]) => void);
    return this;
  }

  off(event: 'pressure' | 'evict', listener: (...args: never[]) => void): this {
    this.#events.off(event, listener as (...args: unknown[]) => void);
    return this;
  }

  /**
   * Calls back when so many pages may come, mostly at once: when there is little room left it is after the
   * next round, and when there is hardly any, later still.
   */
  admit(pageCount: number, proceed: () => void): void {
    this.#wake();
    const delayMs = this.#delayMs();
    const startMs = this.#clock.monotonicMs();
    const admitted = this.#admission.admit(pageCount, () => {
      this.#counts.delayedMs += this.#clock.monotonicMs() - startMs + delayMs;
      if (delayMs > 0) this.#clock.after(delayMs, proceed, true);
      else proceed();
    });
    if (!admitted || delayMs > 0) this.#counts.delayedReads += 1;
    if (!admitted) this.#soon();
  }

  /** What was admitted has come, or never will. */
  arrived(pageCount: number): void {
    this.#admission.arrived(pageCount);
  }

  /**
   * How long to hold up a read that misses, so that it does not take what eviction has yet to give.
   * Timers know nothing between 0 and 1 ms: what is much less is not worth it, and for the rest
   * some reads wait 1 ms.
   */
  #delayMs(): number {
    const leastMs = delayMicros(this.#pressure) / 1000;
    if (leastMs === 0) return 0;
    const wantedMs = leastMs * (1 + this.#fraction());
    if (wantedMs < DELAY_MS_MIN) return 0;
    return wantedMs >= 1 ? wantedMs : Number(this.#fraction() < wantedMs);
  }

  /** How many pages to read ahead where so many are wanted. */
  readAheadPages(wanted: number, temperature: Temperature): number {
    this.#wake();
    const duress = wanted > DURESS_PAGES && isDuress(this.#pressure, temperature);
    const allowed = this.#admission.allow(duress ? DURESS_PAGES : wanted, DURESS_PAGES);
    if (allowed < wanted) this.#counts.shortenedReadAheads += 1;
    return allowed;
  }

  get #pressure(): number {
    return this.#rounds.judgement?.pressure ?? 0;
  }

  /** The environment is asked late, and what is wrong with it told when something is mapped. */
  get #wishes(): Wishes {
    if (this.#wishesNow !== undefined) return this.#wishesNow;
    try {
      this.#wishesNow = wishesOf(this.#variable ?? process.env[REAPER_VARIABLE]);
    } catch (error) {
      this.#variableError = error;
      this.#wishesNow = DEFAULT_WISHES;
    }
    return this.#wishesNow;
  }

  #fraction(): number {
    return this.#prng.u32() / 2 ** 32;
  }

  #ledgerOf(set: ResidentSet): Ledger | undefined {
    for (const ledger of this.#ledgers) if (ledger.set === set) return ledger;
    return undefined;
  }

  #soon(): void {
    this.#dozing = false;
    if (!this.#running && this.#ledgers.size > 0) this.#schedule(0);
  }

  /** A read tells that there are rows. */
  #wake(): void {
    if (this.#dozing) this.#soon();
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    // Who waits to be admitted has nothing else that keeps the process alive.
    this.#timer = this.#clock.after(delayMs, () => void this.#turn(), this.#admission.waiting);
  }

  async #turn(): Promise<void> {
    this.#timer = undefined;
    this.#running = true;
    let delayMs = DOZE_MS;
    try {
      delayMs = await this.#round();
    } finally {
      this.#running = false;
      if (this.#ledgers.size === 0) await this.#stop();
      else
        this.#schedule(this.#admission.waiting ? Math.min(delayMs, ADMISSION_ROUND_MS) : delayMs);
    }
  }

  /** @returns when the next should be */
  async #round(): Promise<number> {
    if (this.#rounds.tally.rowCount === 0 && !(await this.#rounds.lookForRows())) {
      this.#admission.renew(undefined, 0);
      if (!this.#dozing) await this.#rounds.rest();
      this.#dozing = true;
      return DOZE_MS;
    }
    this.#dozing = false;
    const evicted = await this.#rounds.run(() => this.#wishes);
    this.#admission.renew(this.#rounds.judgement?.headroomBytes, evicted.pageCount);
    this.#counts.rounds += 1;
    this.#settings = undefined;
    if (evicted.objectCount > 0) this.#emit('evict', evicted);
    this.#tellPressure();
    return this.#rounds.delayMs(this.#wishes);
  }

  async #stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#admission.renew(undefined, 0);
    this.#dozing = false;
    await this.#rounds.rest();
  }

  #tellPressure(): void {
    const pressure = this.#pressure;
    const told = this.#toldPressure;
    const crossed = (pressure === 0) !== (told === 0);
    if (!crossed && (pressure === 0 || (pressure < told * 2 && pressure > told / 2))) return;
    this.#toldPressure = pressure;
    this.#emit('pressure', this.stats());
  }

  /** What a listener throws is its own: the round goes on. */
  #emit(event: 'pressure' | 'evict', argument: unknown): void {
    for (const listener of this.#events.listeners(event)) {
      try {
        listener(argument);
      } catch (error) {
        process.emitWarning(error instanceof Error ? error : 'a listener of the reaper threw');
      }
    }
  }
}
