import type { Clock } from '../base/clock.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { MemoryGauge, MemorySample } from '../device/memory-gauge.ts';
import type { Eviction } from '../pool/map-api.ts';
import type { Selection } from './reaper-choice.ts';
import { addTallies } from './reaper-ledger.ts';
import type { Ledger, Tally } from './reaper-ledger.ts';
import { Passes } from './reaper-pass.ts';
import { effectiveTtl, judge } from './reaper-pressure.ts';
import type { Holding, Judgement } from './reaper-pressure.ts';
import type { Wishes } from './reaper-settings.ts';
import { Upkeep } from './reaper-upkeep.ts';
import type { Urgency } from './reaper-upkeep.ts';
import { addRow, ReaperWork } from './reaper-work.ts';
import type { RowsOf } from './reaper-work.ts';

const ROUND_MS = 1000 / 3;
/** While nothing could be evicted anyway. */
const SLOW_ROUND_MS = 1000;
const PRESSING_ROUND_MS = 50;
const HARD_PRESSED_ROUND_MS = 20;
/** From here on reads are held up too. */
const HARD_PRESSURE = 3333;
const COST_FACTOR = 100;

/**
 * Counts what may have changed, reads the gauge, judges, looks who was used, evicts, watches views: one round.
 */
export class Rounds {
  /** Of the last round; undefined while nothing is to be evicted, or nothing is known. */
  judgement: Judgement | undefined;
  sample: MemorySample | undefined;
  /** Growth since the first sample. */
  kernelReclaimedPages: number | undefined;
  kernelRefaults: number | undefined;
  readonly work: ReaperWork;
  readonly #clock: Clock;
  readonly #gauge: MemoryGauge;
  readonly #ledgers: ReadonlySet<Ledger>;
  readonly #passes: Passes;
  readonly #upkeep: Upkeep;
  /** Counts are needed only when what they may have missed would matter. */
  #urgency: Urgency = 'close';
  #judgedAtMs = 0;
  #roomBytes = 0;
  #roomFallPerMs = 0;
  #planMs = 0;
  /** What the last round took of the thread, but for its pass, which sees to that itself. */
  #costMs = 0;

  constructor(clock: Clock, gauge: MemoryGauge, ledgers: ReadonlySet<Ledger>) {
    this.#clock = clock;
    this.#gauge = gauge;
    this.#ledgers = ledgers;
    this.work = new ReaperWork(clock);
    this.#passes = new Passes(clock, ledgers);
    this.#upkeep = new Upkeep(clock, ledgers, this.work);
  }

  get threadMs(): number {
    return this.#passes.threadMs + this.#upkeep.threadMs + this.#planMs;
  }

  get tally(): Tally {
    return addTallies([...this.#ledgers].map((ledger) => ledger.tally));
  }

  /** Whether there are any rows. */
  async lookForRows(): Promise<boolean> {
    await this.#passes.run(undefined);
    return this.tally.rowCount > 0;
  }

  /** @param wishes asked again at each step, so that a change counts at once */
  async run(wishes: () => Wishes): Promise<Eviction> {
    const costBefore = this.#upkeep.threadMs + this.#planMs;
    try {
      return await this.#run(wishes);
    } finally {
      this.#costMs = this.#upkeep.threadMs + this.#planMs - costBefore;
    }
  }

  async #run(wishes: () => Wishes): Promise<Eviction> {
    await this.#upkeep.count(this.#urgency);
    const judgement = await this.#judge(wishes);
    const nowMs = this.#clock.monotonicMs();
    const pressed = judgement !== undefined && judgement.pressure > 0;
    const selection = pressed ? this.#selection(judgement, nowMs) : undefined;
    if (this.#passes.isDue(nowMs, judgement?.emergency === true)) {
      await this.#passes.run(selection);
    }
    if (selection === undefined) return { objectCount: 0, pageCount: 0 };
    const neededPages = Math.ceil(judgement!.neededBytes / PAGE_BYTES);
    const evicted = await this.#evict(neededPages, selection, wishes);
    if (wishes().enabled && !selection.emergency) await this.#upkeep.watch();
    return evicted;
  }

  /** Until the next round: at least so long that it takes a hundredth of the thread. */
  delayMs(wishes: Wishes): number {
    return Math.max(this.#wantedDelayMs(wishes), this.#costMs * COST_FACTOR);
  }

  #wantedDelayMs(wishes: Wishes): number {
    const idle = wishes.memoryPercent === 100 && wishes.budgetBytes === undefined;
    if (!wishes.enabled || idle) return SLOW_ROUND_MS;
    if (this.judgement === undefined) return ROUND_MS;
    const { pressure, emergency } = this.judgement;
    if (emergency || pressure >= HARD_PRESSURE) return HARD_PRESSED_ROUND_MS;
    if (pressure > 0) return PRESSING_ROUND_MS;
    // Half of the time in which what is left would go at the pace of late.
    const leftMs = this.#roomFallPerMs > 0 ? this.#roomBytes / this.#roomFallPerMs / 2 : ROUND_MS;
    return Math.min(ROUND_MS, Math.max(HARD_PRESSED_ROUND_MS, leftMs));
  }

  /** The gauge is not needed for a while. */
  async rest(): Promise<void> {
    this.judgement = undefined;
    await this.#gauge.release?.().catch(() => {});
  }

  async #judge(wishes: () => Wishes): Promise<Judgement | undefined> {
    const before = this.judgement;
    const sample = wishes().enabled ? await this.#read() : undefined;
    if (sample === undefined || !wishes().enabled) {
      this.judgement = undefined;
      return undefined;
    }
    const worst = judge(sample, this.#mostHolding(sample), wishes());
    const urgency = worst.pressure === 0 ? 'relaxed' : 'close';
    const isNews = urgency === 'close' && this.#urgency === 'relaxed';
    if (isNews) await this.#upkeep.count(urgency);
    const judgement = judge(sample, this.#holding(), wishes(), before?.pressing);
    this.#foresee(urgency, urgency === 'relaxed' ? worst.roomBytes : judgement.roomBytes);
    this.judgement = judgement;
    return judgement;
  }

  /** How fast room goes: by the worst that may have come while nobody counts, or by what was counted. */
  #foresee(urgency: Urgency, roomBytes: number): void {
    const nowMs = this.#clock.monotonicMs();
    if (urgency === this.#urgency) {
      const fellBytes = Math.max(0, this.#roomBytes - roomBytes);
      this.#roomFallPerMs = fellBytes / Math.max(1, nowMs - this.#judgedAtMs);
    }
    this.#urgency = urgency;
    this.#roomBytes = roomBytes;
    this.#judgedAtMs = nowMs;
  }

  async #read(): Promise<MemorySample | undefined> {
    const { evictableBytes, pinnedBytes } = this.#holding();
    const before = this.sample;
    try {
      this.sample = await this.#gauge.read(evictableBytes + pinnedBytes);
    } catch {
      // Without a gauge nothing is known, so nothing is evicted.
      return undefined;
    }
    this.kernelReclaimedPages = grown(
      this.kernelReclaimedPages,
      before?.reclaimedPages,
      this.sample.reclaimedPages,
    );
    this.kernelRefaults = grown(
      this.kernelRefaults,
      before?.refaultCount,
      this.sample.refaultCount,
    );
    return this.sample;
  }

  #holding(): Holding {
    const [cold = 0, warm = 0, hot = 0, pinned = 0, ofNoMap = 0] = this.tally.pages;
    return {
      evictableBytes: (cold + warm + hot + ofNoMap) * PAGE_BYTES,
      pinnedBytes: pinned * PAGE_BYTES,
    };
  }

  /** With all page cache, as far as it can be ours. */
  #mostHolding(sample: MemorySample): Holding {
    const { evictableBytes, pinnedBytes } = this.#holding();
    const cacheBytes = Math.max(sample.machine.cacheBytes, sample.group?.cacheBytes ?? 0);
    const othersBytes = Math.max(0, cacheBytes - evictableBytes - pinnedBytes);
    const cameBytes = Math.min(othersBytes, this.tally.absentPages * PAGE_BYTES);
    return { evictableBytes: evictableBytes + cameBytes, pinnedBytes };
  }

  async #evict(neededPages: number, selection: Selection, wishes: () => Wishes): Promise<Eviction> {
    const { victims, lookedAt, watched } = this.#plan(neededPages, selection);
    const evicted = { objectCount: 0, pageCount: 0 };
    for (const [ledger, rows] of lookedAt) {
      // oxlint-disable-next-line no-await-in-loop -- one after another: others want the pool too
      for (const row of await this.work.look(ledger, rows)) addRow(victims, ledger, row);
    }
    for (const [ledger, rows] of victims) {
      if (!wishes().enabled) break;
      // oxlint-disable-next-line no-await-in-loop -- as above
      const { objectCount, pageCount } = await this.work.evict(ledger, rows, selection.emergency);
      evicted.objectCount += objectCount;
      evicted.pageCount += pageCount;
    }
    for (const [ledger, rows] of watched) {
      // oxlint-disable-next-line no-await-in-loop -- as above
      await this.work.watch(ledger, rows);
    }
    return evicted;
  }

  #selection({ ttlMs: fullTtlMs, pressure, emergency }: Judgement, nowMs: number): Selection {
    const ttlMs = effectiveTtl(fullTtlMs, pressure);
    const { pages, residentRows, residentRowPages } = this.tally;
    const sum = pages.reduce((all, each) => all + each, residentRowPages);
    return { nowMs, ttlMs, emergency, meanPages: Math.max(1, sum / Math.max(1, residentRows)) };
  }

  /** From the best candidate on until there are enough pages. */
  #plan(neededPages: number, selection: Selection) {
    const startMs = this.#clock.monotonicMs();
    const victims: RowsOf = new Map();
    const lookedAt: RowsOf = new Map();
    const watched: RowsOf = new Map();
    let left = neededPages;
    // Twice as much is watched, so that what turns out to be used is made up for.
    let watchLeft = 2 * neededPages;
    while (left > 0) {
      const candidate = this.#passes.take(selection.nowMs);
      if (candidate === undefined) break;
      const { ledger, row } = candidate;
      const verdict = ledger.verdictOn(row, selection);
      if (verdict === 'spare') continue;
      const pages = ledger.pagesOf(row);
      if (verdict === 'watch') {
        if (watchLeft > 0) addRow(watched, ledger, row);
        watchLeft -= pages;
      } else {
        addRow(verdict === 'evict' ? victims : lookedAt, ledger, row);
        left -= pages;
      }
    }
    this.#planMs += this.#clock.monotonicMs() - startMs;
    return { victims, lookedAt, watched };
  }
}

/** A counter that fell is another group's. */
function grown(sum: number | undefined, before: number | undefined, now: number | undefined) {
  if (now === undefined) return sum;
  return (sum ?? 0) + Math.max(0, now - (before ?? now));
}
