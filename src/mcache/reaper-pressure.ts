/**
 * How hard memory presses, and what follows from it. Pure: the law of the kernel driver's reaper, told of
 * control groups, budgets, stalls and of page cache that is not ours.
 *
 * Shares are of ten thousand, in whole numbers, as in the original: what is free of all that a limit
 * counts. Below the low watermark pressure rises from 0; it ends when free is at the high one.
 */
import type { MemorySample } from '../device/memory-gauge.ts';
import type { ReaperStats, Temperature } from '../pool/map-api.ts';
import { GROUP_PERCENT, machinePercent } from './reaper-settings.ts';
import type { Wishes } from './reaper-settings.ts';

export const WHOLE = 10_000;
/** The high watermark leaves something to be cached, however little was asked for. */
const HIGH_SHARE_MAX = 9700;
/** A budget is all ours: little of it need be free. Room for what comes between two rounds. */
const BUDGET_LOW_SHARE = 500;
/** Held up from here on: a third of the way down. */
const DELAY_FROM = 3333;
const DELAY_MICROS_MAX = 3000;
/** Half, and a quarter, of the low watermark. */
const FADING_FROM = 5000;
const FADED_AT = 7500;
const DURESS_COLD_FROM = 1500;
const DURESS_FROM = 3000;
/** Stalls below it are everyday; above, they press if memory is half gone, a tenth of it by us. */
const STALLED_SHARE_FROM = 0.1;
const STALL_FREE_SHARE_MAX = 5000;
const STALL_HELD_SHARE_MIN = 1000;
/** What a stall asks for in each round: at 20 rounds a second, a twentieth of all in a second. */
const STALL_NEEDED_PART = 400;

export type LimitName = ReaperStats['limit'];

/** Page cache of mapped objects. */
export interface Holding {
  /** That may be evicted: all but what is pinned. */
  evictableBytes: number;
  pinnedBytes: number;
}

/** Watermarks of one limit, and how free memory stands to them. */
export interface Level {
  limit: LimitName;
  /** What shares are of. */
  totalBytes: number;
  /** May be below 0: the limit is passed. */
  freeBytes: number;
  heldBytes: number;
  lowShare: number;
}

export interface Judgement {
  limit: LimitName;
  /** Of the limit that presses most. */
  freeShare: number;
  /** 0: enough is free; WHOLE: nothing. */
  pressure: number;
  /** Of cold objects. */
  ttlMs: number;
  /** To be evicted until the high watermark is reached everywhere. */
  neededBytes: number;
  /** Less is free than a quarter of the low watermark. */
  emergency: boolean;
  /** Which limits press: needed for the next judgement. */
  pressing: ReadonlySet<LimitName>;
  /** What may still come before any limit presses. */
  roomBytes: number;
}

const NOT_PRESSING: ReadonlySet<LimitName> = new Set();

/** @param before which limits pressed at the last judgement: those end only at the high watermark */
export function judge(
  sample: MemorySample,
  holding: Holding,
  wishes: Wishes,
  before: ReadonlySet<LimitName> = NOT_PRESSING,
): Judgement {
  const pressing = new Set<LimitName>();
  let judgement: Judgement = {
    limit: 'machine',
    freeShare: WHOLE,
    pressure: 0,
    ttlMs: wishes.ttlMs,
    neededBytes: 0,
    emergency: false,
    pressing,
    roomBytes: Number.POSITIVE_INFINITY,
  };
  let tightest = Number.NEGATIVE_INFINITY;
  for (const level of levelsOf(sample, holding, wishes)) {
    const each = judgeLevel(level, wishes, before.has(level.limit), sample.stalledShare);
    if (each.pressure > 0) pressing.add(level.limit);
    const neededBytes = Math.max(judgement.neededBytes, each.neededBytes);
    const emergency = judgement.emergency || each.emergency;
    const roomBytes = Math.min(judgement.roomBytes, each.roomBytes);
    if (each.tightness > tightest) {
      tightest = each.tightness;
      const { freeShare, pressure } = each;
      judgement = { ...judgement, limit: level.limit, freeShare, pressure };
    }
    judgement = { ...judgement, neededBytes, emergency, roomBytes };
  }
  return { ...judgement, ttlMs: shortenedTtl(wishes.ttlMs, judgement.pressure) };
}

/** The limits that count now. */
export function levelsOf(sample: MemorySample, holding: Holding, wishes: Wishes): Level[] {
  const { machine, group } = sample;
  const { memoryPercent: wanted, budgetBytes } = wishes;
  const heldBytes = holding.evictableBytes;
  const levels: Level[] = [];
  if (wanted !== 100) {
    const freeBytes = machine.freeBytes + foreignCache(machine.cacheBytes, holding);
    levels.push({
      limit: 'machine',
      totalBytes: freeBytes + heldBytes,
      freeBytes,
      heldBytes,
      lowShare: (100 - (wanted ?? machinePercent(machine.totalBytes))) * 100,
    });
  }
  if (wanted !== 100 && group !== undefined) {
    const { totalBytes, otherBytes } = group;
    const lowBytes = (totalBytes * (100 - (wanted ?? GROUP_PERCENT))) / 100;
    // Where heaps take nearly all, half of what they leave is still ours: evicting the last page would
    // not make room for them, only every read slow.
    const leftBytes = Math.max(0, totalBytes - otherBytes) / 2;
    levels.push({
      limit: 'group',
      totalBytes,
      freeBytes: group.freeBytes + foreignCache(group.cacheBytes, holding),
      heldBytes,
      lowShare: Math.floor((Math.min(lowBytes, leftBytes) * WHOLE) / totalBytes),
    });
  }
  if (budgetBytes !== undefined) {
    levels.push({
      limit: 'budget',
      totalBytes: budgetBytes,
      freeBytes: budgetBytes - heldBytes,
      heldBytes,
      lowShare: BUDGET_LOW_SHARE,
    });
  }
  return levels;
}

/** Page cache that is not ours gives way before memory is short: it is as good as free. */
function foreignCache(cacheBytes: number, { evictableBytes, pinnedBytes }: Holding): number {
  return Math.max(0, cacheBytes - evictableBytes - pinnedBytes);
}

interface LevelJudgement {
  freeShare: number;
  pressure: number;
  neededBytes: number;
  emergency: boolean;
  roomBytes: number;
  /** Comparable between limits: the pressure, or while there is none how far down free memory is. */
  tightness: number;
}

export function judgeLevel(
  level: Level,
  wishes: Pick<Wishes, 'highWatermarkFactor'>,
  wasPressing: boolean,
  stalledShare?: number,
): LevelJudgement {
  const { totalBytes, lowShare } = level;
  const highShare = Math.min(Math.floor(lowShare * wishes.highWatermarkFactor), HIGH_SHARE_MAX);
  const freeBytes = Math.max(0, level.freeBytes);
  const takenBytes = Math.max(0, totalBytes - freeBytes);
  const freeShare =
    totalBytes <= 0 ? WHOLE : Math.max(0, WHOLE - Math.floor((takenBytes * WHOLE) / totalBytes));
  const presses = freeShare < highShare && (wasPressing || freeShare < lowShare);
  const short = presses ? WHOLE - Math.floor((freeShare * WHOLE) / highShare) : 0;
  const stall = stallPressure(level, freeShare, stalledShare);
  const shortBytes = (highShare * totalBytes) / WHOLE - level.freeBytes;
  const stalledBytes = stall > 0 ? level.heldBytes / STALL_NEEDED_PART : 0;
  const pressure = Math.max(short, stall);
  return {
    freeShare,
    pressure,
    neededBytes: Math.min(Math.max(short > 0 ? shortBytes : 0, stalledBytes), level.heldBytes),
    emergency: short > 0 && freeShare < lowShare / 4,
    roomBytes: Math.max(0, level.freeBytes - (lowShare * totalBytes) / WHOLE),
    tightness: pressure > 0 ? pressure : -freeShare / Math.max(1, highShare),
  };
}

/** Tasks wait for memory although what we count seems enough: then less of it is free than it seems. */
function stallPressure(level: Level, freeShare: number, stalledShare = 0): number {
  if (stalledShare <= STALLED_SHARE_FROM || freeShare > STALL_FREE_SHARE_MAX) return 0;
  if (level.heldBytes * WHOLE < level.totalBytes * STALL_HELD_SHARE_MIN) return 0;
  return Math.min(WHOLE, Math.floor(stalledShare * WHOLE));
}

/** At half of all pressure a hundredth; at a twentieth or less, all of it. */
export function shortenedTtl(ttlMs: number, pressure: number): number {
  return pressure <= 500 ? ttlMs : (ttlMs * 250_000) / (pressure * pressure);
}

/**
 * The time-to-live by which rows are chosen. Where all are used more often than the shortened one, it would spare them
 * until there is an emergency, and then nothing any more: towards it, it fades to nothing.
 */
export function effectiveTtl(ttlMs: number, pressure: number): number {
  return ttlMs * Math.min(1, Math.max(0, (FADED_AT - pressure) / (FADED_AT - FADING_FROM)));
}

/** How long to hold up a read that misses, at least; up to twice as long. */
export function delayMicros(pressure: number): number {
  if (pressure < DELAY_FROM) return 0;
  return Math.min(500_000 / (WHOLE + 1 - pressure) - 49, DELAY_MICROS_MAX);
}

/** Whether read-ahead is cut short. */
export function isDuress(pressure: number, temperature: Temperature): boolean {
  if (temperature === 'hot' || temperature === 'pinned' || pressure < DURESS_COLD_FROM)
    return false;
  return pressure > DURESS_FROM || temperature === 'cold';
}
