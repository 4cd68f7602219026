import { isMpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { GIB, PAGE_BYTES } from '../base/units.ts';
import { flushAsync, writeAsync } from '../device/device.ts';
import { LogState, type LogHeader } from '../format/log-header.ts';
import { locationIn } from './check-logs.ts';
import { writeLogHeader } from './log-place.ts';
import { type LogPlace, readLogHeader, scanLog } from './log-scan.ts';
import { type RepairSteps, stepAt } from './repair-report.ts';
import { repairSpare } from './repair-write.ts';
import { headersFrom, readLogTolerant, salvageLog, type Salvaged } from './salvage.ts';

/** To cut a log it is held in memory. */
const CUT_BYTES_MAX = GIB;

/**
 * Repairs logs of users. What a log holds behind damage has no spare: without force the log stays as it is,
 * and refuses to be opened; with force it is cut where its records end to follow from each other.
 */
export class UserLogRepair {
  readonly #steps: RepairSteps;
  readonly #prng: Prng;

  constructor(steps: RepairSteps, prng: Prng) {
    this.#steps = steps;
    this.#prng = prng;
  }

  async log(place: LogPlace): Promise<void> {
    const header = await headerOf(place);
    if (header === 'newer') return;
    if (header?.state === LogState.current) await this.#cut(place, header);
  }

  /** The two logs of an MDC. */
  async pair(places: readonly [LogPlace, LogPlace]): Promise<void> {
    const [a, b] = [await headerOf(places[0]), await headerOf(places[1])];
    if (a === 'newer' || b === 'newer') return;
    const headers = [a, b] as const;
    const isCurrent = (index: 0 | 1): boolean => headers[index]?.state === LogState.current;
    if (isCurrent(0) === isCurrent(1)) return;
    const active = isCurrent(0) ? 0 : 1;
    const other = active === 0 ? 1 : 0;
    const header = headers[active]!;
    if (headers[other] === undefined) {
      await repairSpare(this.#steps, places[other], header.generation, this.#prng);
    }
    await this.#cut(places[active], header);
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

/** 'newer': whole, and only a newer version knows what it says. */
async function headerOf(place: LogPlace): Promise<LogHeader | 'newer' | undefined> {
  const read = await readLogHeader(place).catch((error: unknown) => {
    if (isMpoolError(error, 'ERR_MPOOL_IO')) return undefined;
    throw error;
  });
  if (read === undefined || read.ok) return read?.header;
  return read.problem === 'version' ? 'newer' : undefined;
}
