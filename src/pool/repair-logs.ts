import { isMpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { GIB, PAGE_BYTES } from '../base/units.ts';
import { flushAsync, writeAsync } from '../device/device.ts';
import { LOG_HEADER_BYTES, LogState, type LogHeader } from '../format/log-header.ts';
import type { LogMark } from '../format/log-mark.ts';
import { locationIn } from './check-logs.ts';
import { writeLogHeader } from './log-place.ts';
import { type LogEnd, type LogPlace, scanLog } from './log-scan.ts';
import {
  expectedOf,
  type LogLoss,
  lossOfFrames,
  lossOfHeader,
  type MarkOf,
  markOfPair,
} from './log-evidence.ts';
import type { AcceptedEnds } from './repair-accept.ts';
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
  readonly #markOf: MarkOf;
  readonly #accepted: AcceptedEnds | undefined;

  /** @param accepted takes the ends of logs that are accepted as they are */
  constructor(steps: RepairSteps, prng: Prng, markOf: MarkOf, accepted: AcceptedEnds | undefined) {
    this.#steps = steps;
    this.#prng = prng;
    this.#markOf = markOf;
    this.#accepted = accepted;
  }

  /** @returns whether the log is all there, or has been accepted */
  async log(place: LogPlace): Promise<boolean> {
    const found = await mendHeader(this.#steps, place);
    if (found === 'newer') return false;
    const header = found ?? (await this.#firstFrame(place, await readHead(place)));
    if (header?.state !== LogState.current) return false;
    return this.#mend(place, header, this.#markOf(place));
  }

  /** The two logs of an MDC. */
  async pair(places: readonly [LogPlace, LogPlace]): Promise<boolean> {
    const a = await mendHeader(this.#steps, places[0]);
    const b = await mendHeader(this.#steps, places[1]);
    if (a === 'newer' || b === 'newer') return false;
    const active =
      isCurrent(a) || isCurrent(b) ? undefined : await this.#lostActive(places, [a, b]);
    const headers = [a, b].map((header, i) => (i === active?.index ? active.header : header));
    if (isCurrent(headers[0]) === isCurrent(headers[1])) return false;
    const index = isCurrent(headers[0]) ? 0 : 1;
    const other = index === 0 ? 1 : 0;
    const header = headers[index]!;
    if (headers[other] === undefined) {
      await repairSpare(this.#steps, places[other], header.generation, this.#prng);
    }
    return this.#mend(places[index], header, markOfPair(places, index, this.#markOf));
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

  async #mend(place: LogPlace, header: LogHeader, mark: LogMark | undefined): Promise<boolean> {
    if (await isDamaged(place, header)) return this.#cut(place, header, mark);
    return this.#accept(place, header, mark);
  }

  /** What is said of the log from now on is what it holds. @returns whether nothing is missing any more */
  async #accept(place: LogPlace, header: LogHeader, mark: LogMark | undefined): Promise<boolean> {
    const short = await shortLog(place, header, mark);
    if (short === undefined) return true;
    const { end, loss, marks } = short;
    const message = `the log goes on from byte ${end.endBytes}, after its first ${end.recordCount} records`;
    const { fromBytes, toBytes, generation, detail } = loss;
    const losses = [
      `what was acknowledged in bytes ${fromBytes} to ${toBytes} of generation ${generation}: ${detail}`,
    ];
    const { low: idLow, high: idHigh } = place.objectId;
    const id = { idLow, idHigh };
    const step = stepAt('log', locationIn(place, end.endBytes), message, { id, losses });
    const accepted = this.#accepted;
    if (accepted !== undefined) return this.#steps.take(step, () => accepted.tell(marks, []));
    this.#steps.withhold(step);
    return false;
  }

  /** @returns whether no damage is left */
  async #cut(place: LogPlace, header: LogHeader, mark: LogMark | undefined): Promise<boolean> {
    const at = locationIn(place, 0);
    const id = { idLow: place.objectId.low, idHigh: place.objectId.high };
    if (place.extent.pageCount * PAGE_BYTES > CUT_BYTES_MAX) {
      const losses = ['what it holds'];
      const message = 'the log is damaged, and too long to be cut: delete it, or leave it';
      this.#steps.withhold(stepAt('log', at, message, { id, losses }));
      return false;
    }
    const { bytes, unreadable } = await readLogTolerant(place);
    const salvaged = salvageLog(bytes, place, header);
    const { prefixBytes, prefixRecords } = salvaged;
    const message = `the log is cut at byte ${prefixBytes}, after its first ${prefixRecords} records`;
    const location = locationIn(place, prefixBytes);
    const step = stepAt('log', location, message, { id, losses: [lossOf(salvaged)] });
    return this.#steps.take(step, async () => {
      const sectors = new Set(headersFrom(bytes, place, header, prefixBytes));
      for (const sector of unreadable) if (sector >= prefixBytes) sectors.add(sector);
      await zeroSectors(place, sectors);
      if (header.committedBytes > prefixBytes) {
        await writeLogHeader(place, { ...header, committedBytes: prefixBytes }, 'durable');
      }
      const short = await shortLog(place, header, mark);
      if (short !== undefined) await this.#accepted?.tell(short.marks, []);
    });
  }
}

/** What a log is short of, and the marks that say that it ends where it does. */
async function shortLog(
  place: LogPlace,
  header: LogHeader,
  mark: LogMark | undefined,
): Promise<{ end: LogEnd; loss: LogLoss; marks: LogMark[] } | undefined> {
  const end = await scanLog(place, header, undefined, { expected: expectedOf(mark, header) });
  const loss = lossOfHeader(mark, header) ?? lossOfFrames(mark, header, end);
  if (mark === undefined || loss === undefined) return undefined;
  const { low: idLow, high: idHigh } = place.objectId;
  const { generation } = header;
  const { endBytes: durableBytes, lastSequence: sequence, lastCrc: crc } = end;
  const own: LogMark = { idLow, idHigh, generation, durableBytes, sequence, crc };
  // Of the two logs of an MDC the other one is not ahead of this any more.
  const isOther = mark.idLow !== idLow || mark.idHigh !== idHigh;
  const other = { ...mark, generation, durableBytes: LOG_HEADER_BYTES, sequence: 0, crc: 0 };
  return { end, loss, marks: isOther ? [other, own] : [own] };
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
