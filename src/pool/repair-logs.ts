import { isMpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { GIB, PAGE_BYTES } from '../base/units.ts';
import { flushAsync, writeAsync } from '../device/device.ts';
import { LogState, type LogHeader } from '../format/log-header.ts';
import { locationIn } from './check-logs.ts';
import { writeLogHeader } from './log-place.ts';
import { type LogPlace, scanLog } from './log-scan.ts';
import { headerOfFirstFrame, mendHeader, readHead } from './repair-headers.ts';
import { type RepairSteps, stepAt } from './repair-report.ts';
import { repairSpare } from './repair-write.ts';
import { headersFrom, readLogTolerant, salvageLog, type Salvaged } from './salvage.ts';

/** To cut a log it is held in memory. */
const CUT_BYTES_MAX = GIB;

/**
 * Repairs logs of users. A header is written again as it was when what is left of it tells that; what a log
 * holds behind damage has no spare: without force the log stays as it is, and refuses to be opened; with
 * force it is cut where its records end to follow from each other.
 */
export class UserLogRepair {
  readonly #steps: RepairSteps;
  readonly #prng: Prng;

  constructor(steps: RepairSteps, prng: Prng) {
    this.#steps = steps;
    this.#prng = prng;
  }

  async log(place: LogPlace): Promise<void> {
    const found = await mendHeader(this.#steps, place);
    if (found === 'newer') return;
    const header = found ?? (await this.#firstFrame(place, await readHead(place)));
    if (header?.state === LogState.current) await this.#cut(place, header);
  }

  /** The two logs of an MDC. */
  async pair(places: readonly [LogPlace, LogPlace]): Promise<void> {
    const a = await mendHeader(this.#steps, places[0]);
    const b = await mendHeader(this.#steps, places[1]);
    if (a === 'newer' || b === 'newer') return;
    const active =
      isCurrent(a) || isCurrent(b) ? undefined : await this.#lostActive(places, [a, b]);
    const headers = [a, b].map((header, i) => (i === active?.index ? active.header : header));
    if (isCurrent(headers[0]) === isCurrent(headers[1])) return;
    const index = isCurrent(headers[0]) ? 0 : 1;
    const other = index === 0 ? 1 : 0;
    const header = headers[index]!;
    if (headers[other] === undefined) {
      await repairSpare(this.#steps, places[other], header.generation, this.#prng);
    }
    await this.#cut(places[index], header);
  }

  /**
   * No header says current, and one or both are lost: the log that counts is a lost one, and if both are, the
   * one of the higher generation. Its generation is above that of the other, or as high when the MDC is as it
   * was made.
   */
  async #lostActive(
    places: readonly [LogPlace, LogPlace],
    headers: readonly (LogHeader | undefined)[],
  ): Promise<{ index: number; header: LogHeader } | undefined> {
    let best: { index: 0 | 1; head: Uint8Array; generation: number } | undefined;
    for (const index of [0, 1] as const) {
      if (headers[index] !== undefined) continue;
      const head = await readHead(places[index]);
      const generation = headerOfFirstFrame(places[index], head)?.generation ?? 0;
      const least = headers[1 - index]?.generation ?? 1;
      if (generation < least || generation === best?.generation) continue;
      if (best === undefined || generation > best.generation) best = { index, head, generation };
    }
    if (best === undefined) return undefined;
    const header = await this.#firstFrame(places[best.index], best.head);
    return header && { index: best.index, header };
  }

  /** With force, and unless there is none: the header that the first frame tells. */
  async #firstFrame(place: LogPlace, head: Uint8Array): Promise<LogHeader | undefined> {
    const header = headerOfFirstFrame(place, head);
    if (header === undefined) return undefined;
    const id = { idLow: place.objectId.low, idHigh: place.objectId.high };
    const message = `the header is written anew, of generation ${header.generation} as its first frame says`;
    const losses = [LOST_WITH_HEADER];
    const step = stepAt('log header', locationIn(place, 0), message, { id, losses });
    const done = await this.#steps.take(step, () =>
      writeLogHeader(place, header, 'durable', { whole: true }),
    );
    return done ? header : undefined;
  }

  async #cut(place: LogPlace, header: LogHeader): Promise<void> {
    if (!(await isDamaged(place, header))) return;
    const at = locationIn(place, 0);
    const id = { idLow: place.objectId.low, idHigh: place.objectId.high };
    if (place.extent.pageCount * PAGE_BYTES > CUT_BYTES_MAX) {
      const losses = ['what it holds'];
      const message = 'the log is damaged, and too long to be cut: delete it, or leave it';
      return this.#steps.withhold(stepAt('log', at, message, { id, losses }));
    }
    const { bytes, unreadable } = await readLogTolerant(place);
    const salvaged = salvageLog(bytes, place, header);
    const { prefixBytes, prefixRecords } = salvaged;
    const message = `the log is cut at byte ${prefixBytes}, after its first ${prefixRecords} records`;
    const location = locationIn(place, prefixBytes);
    const step = stepAt('log', location, message, { id, losses: [lossOf(salvaged)] });
    await this.#steps.take(step, async () => {
      const sectors = new Set(headersFrom(bytes, place, header, prefixBytes));
      for (const sector of unreadable) if (sector >= prefixBytes) sectors.add(sector);
      await zeroSectors(place, sectors);
      if (header.committedBytes <= prefixBytes) return;
      await writeLogHeader(place, { ...header, committedBytes: prefixBytes }, 'durable');
    });
  }
}

/** As whoever opens it would find. */
async function isDamaged(place: LogPlace, header: LogHeader): Promise<boolean> {
  try {
    return (await scanLog(place, header)).verdict === 'damaged';
  } catch (error) {
    if (!isMpoolError(error, 'ERR_MPOOL_IO')) throw error;
    return true;
  }
}

function lossOf({ gaps, prefixBytes, prefixRecords, recordCount }: Salvaged): string {
  const readable = recordCount - prefixRecords;
  const known = gaps.reduce((sum, gap) => sum + (gap.recordCount ?? 0), 0);
  const more = gaps.some((gap) => gap.recordCount === undefined) ? 'at least ' : '';
  const count = `${more}${known + readable} records from number ${prefixRecords + 1} on`;
  return `${count}, from byte ${prefixBytes}: ${readable} of them can still be read`;
}

/** Nothing of this generation begins there any more: whoever appends next must not be followed by it. */
async function zeroSectors({ device, extent, sectorBytes }: LogPlace, sectors: Set<number>) {
  const zeros = device.allocate(sectorBytes);
  try {
    zeros.fill(0);
    for (const sector of sectors) {
      const offsetBytes = extent.pageAddress * PAGE_BYTES + sector;
      await writeAsync(device, offsetBytes - (offsetBytes % sectorBytes), zeros, 'volatile');
    }
    await flushAsync(device);
  } finally {
    device.release(zeros);
  }
}

function isCurrent(header: LogHeader | undefined): boolean {
  return header?.state === LogState.current;
}

/** Only the header could tell it. */
const LOST_WITH_HEADER =
  'an erasure, or a compaction to nothing, since its last record; if it never had a record, what a deleted ' +
  'log left at its place is taken for its own';
