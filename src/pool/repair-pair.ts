import { LogState, type LogHeader } from '../format/log-header.ts';
import { isMpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { refuseNewerHeader } from './log-pair.ts';
import type { LogPlace, RecordVisitor } from './log-scan.ts';
import { readLogHeader } from './log-scan.ts';
import { headerOfFirstFrame, readHead } from './repair-headers.ts';
import { findSalt, readLogTolerant, salvageLog, type Gap, type Salvaged } from './salvage.ts';

/** What the two logs of one of the pool's own MDCs still say. */
export interface PairFound {
  places: readonly [LogPlace, LogPlace];
  /** Of the log that counts; its header may have been put together from its frames. */
  active: LogPlace;
  header: LogHeader;
  /** The other one's; undefined when it cannot be read. */
  otherHeader: LogHeader | undefined;
  salvaged: Salvaged;
  /** Of the log that was active before, when all of it is still there: the first content of this one. */
  old: { place: LogPlace; bytes: Uint8Array; header: LogHeader } | undefined;
  bytes: Uint8Array;
  /** The header of the active log is lost, and put together again. */
  headerLost: boolean;
  /** Why it is not certain which log counts. */
  conflict: string | undefined;
}

/** Reads both logs as far as they can be read. @returns undefined when nothing says which one counts */
export async function readPair(
  places: readonly [LogPlace, LogPlace],
): Promise<PairFound | undefined> {
  const headers = [await headerOf(places[0]), await headerOf(places[1])] as const;
  const chosen = choose(headers);
  const lost = chosen === undefined ? await closedLog(places, headers) : undefined;
  const index = chosen?.index ?? lost?.index ?? lostIndex(headers);
  if (index === undefined) return undefined;
  const other = index === 0 ? 1 : 0;
  const active = places[index];
  const { bytes } = await readLogTolerant(active);
  const known = chosen?.header ?? lost?.header;
  const header = known ?? headerOfNewer(active, bytes, headers[other]!);
  if (header === undefined) return undefined;
  const otherHeader = headers[other];
  const found = {
    places,
    active,
    header,
    otherHeader,
    bytes,
    salvaged: salvageLog(bytes, active, header),
    headerLost: chosen === undefined,
    conflict: conflictOf(headers),
  };
  return { ...found, old: await wholeOld(places[other], otherHeader, header) };
}

/** Gives the records of the pair in order: of the old log first, when they are wanted. */
export function replayPair(
  found: PairFound,
  withOld: boolean,
  visitor: (place: LogPlace) => RecordVisitor,
): void {
  if (withOld && found.old !== undefined) {
    const { bytes, place, header } = found.old;
    salvageLog(bytes, place, header, visitor(place));
  }
  salvageLog(found.bytes, found.active, found.header, visitor(found.active));
}

/** Gaps that the old log cannot fill: it ends where the first content of the active one does. */
export function gapsBeyond(gaps: readonly Gap[], committedBytes: number): Gap[] {
  return gaps.filter(({ toBytes }) => toBytes > committedBytes);
}

async function headerOf(place: LogPlace): Promise<LogHeader | undefined> {
  try {
    const read = await readLogHeader(place);
    refuseNewerHeader(place, read);
    return read.ok ? read.header : undefined;
  } catch (error) {
    if (!isMpoolError(error, 'ERR_MPOOL_IO')) throw error;
    return undefined;
  }
}

type Headers = readonly [LogHeader | undefined, LogHeader | undefined];

/** As LogPair.open() does. */
function choose([a, b]: Headers): { index: 0 | 1; header: LogHeader } | undefined {
  const ca = a?.state === LogState.current ? a : undefined;
  const cb = b?.state === LogState.current ? b : undefined;
  if (cb !== undefined && (ca === undefined || cb.generation > ca.generation)) {
    return { index: 1, header: cb };
  }
  return ca && { index: 0, header: ca };
}

/** One header is lost and the other says superseded: the lost one was written before that was said. */
function lostIndex([a, b]: Headers): 0 | 1 | undefined {
  if (a !== undefined && b === undefined) return 1;
  return a === undefined && b !== undefined ? 0 : undefined;
}

/**
 * Of two logs of which no header can be read: the one with the higher generation, if it was closed in good
 * order. Only the log that counts is closed, and what an interrupted compaction left never is.
 */
async function closedLog(
  places: readonly [LogPlace, LogPlace],
  headers: Headers,
): Promise<{ index: 0 | 1; header: LogHeader } | undefined> {
  if (headers[0] !== undefined || headers[1] !== undefined) return undefined;
  const [a, b] = [await firstFrameOf(places[0]), await firstFrameOf(places[1])];
  const index = (a?.generation ?? 0) > (b?.generation ?? 0) ? 0 : 1;
  const header = index === 0 ? a : b;
  if (header === undefined || a?.generation === b?.generation) return undefined;
  const { bytes } = await readLogTolerant(places[index]);
  return salvageLog(bytes, places[index], header).closed ? { index, header } : undefined;
}

async function firstFrameOf(place: LogPlace): Promise<LogHeader | undefined> {
  return headerOfFirstFrame(place, await readHead(place));
}

function conflictOf([a, b]: Headers): string | undefined {
  if (a === undefined || b === undefined || a.state === b.state) {
    const both = a?.state === LogState.current && a.generation === b?.generation;
    return both ? 'both logs say that they are current, of one generation' : undefined;
  }
  const [current, other] = a.state === LogState.current ? [a, b] : [b, a];
  return other.generation > current.generation
    ? 'the log that says it is current is older than the one that was superseded'
    : undefined;
}

/**
 * The header of the log that superseded `old`: it is of the next generation (of the same, when the MDC is as
 * it was made), and its frames tell the salt. An attempt at a compaction that came to nothing has the same
 * generation, but its first frame is overwritten by the one that succeeded: the pool's own MDCs are never
 * compacted to nothing.
 */
function headerOfNewer(place: LogPlace, bytes: Uint8Array, old: LogHeader): LogHeader | undefined {
  const { generation } = old;
  const current = LogState.current;
  return (
    headerFromFrames(place, bytes, generation + 1, current) ??
    headerFromFrames(place, bytes, generation, current)
  );
}

function headerFromFrames(
  place: LogPlace,
  bytes: Uint8Array,
  generation: number,
  state: LogState,
): LogHeader | undefined {
  const salt = generation < 1 ? undefined : findSalt(bytes, place, generation);
  if (salt === undefined) return undefined;
  const { sectorBytes, objectId } = place;
  return { state, sectorBytes, generation, salt, objectId, committedBytes: PAGE_BYTES };
}

async function wholeOld(
  place: LogPlace,
  known: LogHeader | undefined,
  active: LogHeader,
): Promise<PairFound['old']> {
  const { bytes } = await readLogTolerant(place);
  const generation = active.generation - 1;
  const header = known ?? headerFromFrames(place, bytes, generation, LogState.superseded);
  if (header?.state !== LogState.superseded || header.generation !== generation) return undefined;
  const { gaps, recordCount } = salvageLog(bytes, place, header);
  return gaps.length === 0 && recordCount > 0 ? { place, bytes, header } : undefined;
}
