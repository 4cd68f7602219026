import { isMpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Device } from '../device/device.ts';
import type { DeviceDescriptor } from '../format/device-descriptor.ts';
import type { Extent } from '../format/extent.ts';
import { logIdentity, LogState, type LogHeader } from '../format/log-header.ts';
import type { IdHalves } from '../format/object-id.ts';
import type { CheckLocation, Findings } from './check-findings.ts';
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
}

export function placeOf(
  { device, descriptor }: CheckedDevice,
  extent: Extent,
  poolUuid: Uint8Array,
  objectId: IdHalves,
): LogPlace {
  const identity = logIdentity(poolUuid, objectId);
  return { device, extent, identity, objectId, sectorBytes: descriptor.sectorBytes };
}

/** A log of its own: its header must be current, and its frames whole. */
export async function checkLog(checks: LogChecks, place: LogPlace, name: string): Promise<void> {
  const header = await checkHeader(checks, place, name, 'error');
  if (header === undefined) return;
  if (header.state !== LogState.current) {
    addLog(checks, place, 'error', 'log header', `${name} is superseded, but has no successor`);
  }
  await checkFrames(checks, place, header, name, undefined);
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
  await checkFrames(checks, activePlace, active, name, visitor?.(activePlace));
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
  visit: RecordVisitor | undefined,
): Promise<void> {
  const { findings, signal } = checks;
  let end: LogEnd;
  try {
    end = await scanLog(place, header, visit, {
      signal,
      onFrame: (frame, recordCount) => {
        const { recordsBefore } = frame.header;
        if (recordsBefore === recordCount) return;
        const said = `a frame says ${recordsBefore} records are before it, not ${recordCount}`;
        findings.add('error', 'log', locationIn(place, frame.offsetBytes), `${name}: ${said}`);
      },
    });
  } catch (error) {
    addLog(checks, place, 'error', 'log', `${name}: ${ioMessage(error)}`);
    return;
  }
  findings.counts.frames += end.frameCount;
  findings.counts.records += end.recordCount;
  if (end.verdict === 'clean') return;
  const severity = end.verdict === 'damaged' ? 'error' : 'note';
  const what = end.verdict === 'damaged' ? 'acknowledged records are damaged' : 'a torn tail';
  const at = locationIn(place, end.damagedAtBytes ?? end.endBytes);
  findings.add(severity, 'log', at, `${name}: ${what} (${end.detail})`);
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

function addLog(
  checks: LogChecks,
  place: LogPlace,
  severity: 'error' | 'warning' | 'note',
  structure: 'log' | 'log header',
  message: string,
): void {
  checks.findings.add(severity, structure, locationIn(place, 0), message);
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
