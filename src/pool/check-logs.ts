import { isMpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { readAsync, type Device } from '../device/device.ts';
import type { DeviceDescriptor } from '../format/device-descriptor.ts';
import type { Extent } from '../format/extent.ts';
import { hasWitnesses } from '../format/features.ts';
import { frameTraces, NO_WITNESS } from '../format/log-frame.ts';
import { logIdentity, LogState, type LogHeader } from '../format/log-header.ts';
import type { LogMark } from '../format/log-mark.ts';
import type { IdHalves } from '../format/object-id.ts';
import type { Superblock } from '../format/superblock.ts';
import type { CheckLocation, Findings } from './check-findings.ts';
import {
  expectedOf,
  type LogLoss,
  lossOfFrames,
  lossOfHeader,
  type MarkOf,
  markOfPair,
} from './log-evidence.ts';
import {
  readLogHeader,
  scanLog,
  type LogEnd,
  type LogPlace,
  type RecordVisitor,
} from './log-scan.ts';

/** A device as the check sees it. */
export interface CheckedDevice {
  device: Device;
  descriptor: DeviceDescriptor;
}

export interface LogChecks {
  findings: Findings;
  poolUuid: Uint8Array;
  signal: AbortSignal | undefined;
  /** Up to where the logs of users were acknowledged. */
  markOf?: MarkOf | undefined;
  /** Each log that counts, when its end is known. */
  onEnd?: ((place: LogPlace, header: LogHeader, end: LogEnd, name: string) => void) | undefined;
}

export function placeOf(
  { device, descriptor }: CheckedDevice,
  extent: Extent,
  { poolUuid, features }: Pick<Superblock, 'poolUuid' | 'features'>,
  objectId: IdHalves,
): LogPlace {
  const identity = logIdentity(poolUuid, objectId);
  const witness = hasWitnesses(features) ? NO_WITNESS : undefined;
  return { device, extent, identity, objectId, sectorBytes: descriptor.sectorBytes, witness };
}

/** A log of its own: its header must be current, and its frames whole. */
export async function checkLog(checks: LogChecks, place: LogPlace, name: string): Promise<void> {
  const header = await checkHeader(checks, place, name, 'error');
  if (header === undefined) return;
  if (header.state !== LogState.current) {
    addLog(checks, place, 'error', 'log header', `${name} is superseded, but has no successor`);
  }
  const mark = checks.markOf?.(place);
  await checkFrames(checks, place, header, name, { mark });
}

/**
 * The two logs of an MDC: one must be current, and its frames whole; the other may hold anything
 * that an interrupted compaction leaves.
 * @param visitor of the records of the current one
 */
export async function checkLogPair(
  checks: LogChecks,
  places: readonly [LogPlace, LogPlace],
  name: string,
  visitor?: (active: LogPlace) => RecordVisitor,
): Promise<void> {
  const a = await checkHeader(checks, places[0], `log A of ${name}`, 'warning');
  const b = await checkHeader(checks, places[1], `log B of ${name}`, 'warning');
  if (!isCurrent(a) && !isCurrent(b)) {
    addLog(checks, places[0], 'error', 'log', `no log of ${name} is current`);
    return;
  }
  const both = isCurrent(a) && isCurrent(b);
  const activeIsB = isCurrent(b) && (!isCurrent(a) || b!.generation > a!.generation);
  const [active, other] = activeIsB ? [b!, a] : [a!, b];
  const [activePlace, otherPlace] = activeIsB ? [places[1], places[0]] : [places[0], places[1]];
  if (both && a!.generation === b!.generation) {
    addLog(
      checks,
      places[0],
      'error',
      'log',
      `both logs of ${name} are current, of one generation`,
    );
  } else if (both) {
    const message = `the end of a compaction of ${name} was interrupted; it is complete`;
    addLog(checks, otherPlace, 'note', 'log', message);
  } else if (other !== undefined && other.generation > active.generation) {
    addLog(checks, otherPlace, 'error', 'log', `a newer log of ${name} is superseded by an older`);
  }
  const mark = checks.markOf && markOfPair(places, activeIsB ? 1 : 0, checks.markOf);
  await checkFrames(checks, activePlace, active, name, { visit: visitor?.(activePlace), mark });
  if (other !== undefined) await checkSuperseded(checks, otherPlace, other, name);
}

function isCurrent(header: LogHeader | undefined): boolean {
  return header?.state === LogState.current;
}

async function checkHeader(
  checks: LogChecks,
  place: LogPlace,
  name: string,
  severity: 'error' | 'warning',
): Promise<LogHeader | undefined> {
  checks.findings.counts.logs += 1;
  try {
    const read = await readLogHeader(place);
    if (read.ok) return read.header;
    const message = `${name}: ${read.detail} (${read.problem})`;
    addLog(checks, place, severity, 'log header', message);
  } catch (error) {
    addLog(checks, place, severity, 'log header', `${name}: ${ioMessage(error)}`);
  }
  return undefined;
}

async function checkFrames(
  checks: LogChecks,
  place: LogPlace,
  header: LogHeader,
  name: string,
  { visit, mark }: { visit?: RecordVisitor | undefined; mark: LogMark | undefined },
): Promise<void> {
  const { findings, signal } = checks;
  addLost(checks, place, name, lossOfHeader(mark, header));
  let end: LogEnd;
  let torn: string | undefined;
  try {
    end = await scanLog(place, header, visit, {
      signal,
      expected: expectedOf(mark, header),
      onFrame: (frame, recordCount) => {
        const { recordsBefore } = frame.header;
        if (recordsBefore === recordCount) return;
        const said = `a frame says ${recordsBefore} records are before it, not ${recordCount}`;
        addAt(checks, place, 'error', frame.offsetBytes, `${name}: ${said}`);
      },
    });
    torn = end.verdict === 'clean' ? await tornFrame(place, header, end) : end.detail;
  } catch (error) {
    addLog(checks, place, 'error', 'log', `${name}: ${ioMessage(error)}`);
    return;
  }
  findings.counts.frames += end.frameCount;
  findings.counts.records += end.recordCount;
  checks.onEnd?.(place, header, end, name);
  if (end.verdict === 'damaged') {
    const at = end.damagedAtBytes ?? end.endBytes;
    const message = `${name}: acknowledged records are damaged (${end.detail})`;
    return addAt(checks, place, 'error', at, message);
  }
  addLost(checks, place, name, lossOfFrames(mark, header, end));
  if (end.compacting) {
    const message = `${name}: a compaction was started and not ended`;
    addAt(checks, place, 'note', end.endBytes, message);
  }
  if (torn !== undefined) {
    addAt(checks, place, 'note', end.endBytes, `${name}: a torn tail (${torn})`);
  }
}

/**
 * Whether the bytes at the end of a log are what is left of a frame whose header is damaged: two of the
 * three fields by which it would follow are right. What earlier generations left there has none but the
 * magic.
 */
async function tornFrame(
  place: LogPlace,
  header: LogHeader,
  end: LogEnd,
): Promise<string | undefined> {
  const { device, extent, sectorBytes } = place;
  if (end.endBytes + sectorBytes > extent.pageCount * PAGE_BYTES) return undefined;
  const sector = device.allocate(sectorBytes);
  try {
    await readAsync(device, extent.pageAddress * PAGE_BYTES + end.endBytes, sector);
    const { generation, previousCrc, hasMagic } = frameTraces(sector);
    const sameGeneration = generation === header.generation;
    const follows = end.lastCrc !== 0 && previousCrc === end.lastCrc;
    const traces = Number(hasMagic) + Number(sameGeneration) + Number(follows);
    return traces >= 2 ? `a frame at ${end.endBytes} whose header is damaged` : undefined;
  } finally {
    device.release(sector);
  }
}

/**
 * What is there counts for nothing, and may be half overwritten: only unreadable sectors matter.
 */
async function checkSuperseded(
  checks: LogChecks,
  place: LogPlace,
  header: LogHeader,
  name: string,
): Promise<void> {
  try {
    const end = await scanLog(place, header, undefined, { signal: checks.signal });
    checks.findings.counts.frames += end.frameCount;
  } catch (error) {
    addLog(checks, place, 'warning', 'log', `the spare log of ${name}: ${ioMessage(error)}`);
  }
}

/** What a device acknowledged and does not have. */
export function addLost(
  checks: Pick<LogChecks, 'findings'>,
  place: LogPlace,
  name: string,
  loss: LogLoss | undefined,
): void {
  if (loss === undefined) return;
  const { fromBytes, toBytes, generation, detail } = loss;
  const what = `bytes ${fromBytes} to ${toBytes} of generation ${generation}`;
  const message = `${name}: the device acknowledged ${what} and lost them: ${detail}`;
  checks.findings.add('error', 'log', locationIn(place, fromBytes), message, idOf(place));
}

function addLog(
  checks: LogChecks,
  place: LogPlace,
  severity: 'error' | 'warning' | 'note',
  structure: 'log' | 'log header',
  message: string,
): void {
  checks.findings.add(severity, structure, locationIn(place, 0), message, idOf(place));
}

function addAt(
  checks: LogChecks,
  place: LogPlace,
  severity: 'error' | 'note',
  offsetBytes: number,
  message: string,
): void {
  const at = locationIn(place, offsetBytes);
  checks.findings.add(severity, 'log', at, message, idOf(place));
}

function idOf({ objectId }: LogPlace): { idLow: number; idHigh: number } {
  return { idLow: objectId.low, idHigh: objectId.high };
}

export function locationIn(place: LogPlace, offsetBytes: number): CheckLocation {
  return {
    device: place.device.path,
    offsetBytes: place.extent.pageAddress * PAGE_BYTES + offsetBytes,
  };
}

/** What the device said; anything else, an abort too, goes on. */
export function ioMessage(error: unknown): string {
  if (!isMpoolError(error) || error.code === 'ERR_MPOOL_ABORTED') throw error;
  return error.message;
}
