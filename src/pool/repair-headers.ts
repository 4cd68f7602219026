import { viewOf } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { isMpoolError } from '../base/errors.ts';
import { MIB, PAGE_BYTES } from '../base/units.ts';
import { frameTraces, hasFrameMagic } from '../format/log-frame.ts';
import {
  decodeLogHeader,
  encodeLogHeader,
  LOG_HEADER_BYTES,
  type LogHeader,
  LogState,
} from '../format/log-header.ts';
import { setU64, zeroBetween } from '../format/u64.ts';
import { locationIn } from './check-logs.ts';
import { writeLogHeader } from './log-place.ts';
import { type LogPlace, readLogHeader } from './log-scan.ts';
import { type RepairSteps, stepAt } from './repair-report.ts';
import { findSalt, readTolerant } from './salvage.ts';

/** What is read to find out what a header was: the page of it, and more than the longest frame. */
const HEAD_BYTES = MIB;
const SECTOR_BYTES = 512;
const GENERATIONS_MAX = 8;
/** Of a header all other bytes are known before it is read: state, generation and salt, committedBytes. */
const VARIABLE: readonly (readonly [from: number, to: number])[] = [
  [9, 10],
  [16, 28],
  [40, 48],
];

/** 'newer': it is whole, and only a newer version knows what it says. */
export type FoundHeader = LogHeader | 'newer' | undefined;

/** @returns undefined when it is damaged, or cannot be read */
export async function headerAt(place: LogPlace): Promise<FoundHeader> {
  try {
    const read = await readLogHeader(place);
    if (read.ok) return read.header;
    return read.problem === 'version' ? 'newer' : undefined;
  } catch (error) {
    if (!isMpoolError(error, 'ERR_MPOOL_IO')) throw error;
    return undefined;
  }
}

/**
 * Writes a damaged header once more as it was, when what is left of it and the frames tell that: the header's
 * own checksum, which covers whose log it is, must fit.
 * @returns the header that is there afterwards
 */
export async function mendHeader(steps: RepairSteps, place: LogPlace): Promise<FoundHeader> {
  const found = await headerAt(place);
  if (found !== undefined) return found;
  const header = provenHeader(place, await readHead(place));
  if (header === undefined) return undefined;
  const id = { idLow: place.objectId.low, idHigh: place.objectId.high };
  const message = 'the header is written again as it was: its checksum fits what the rest tells';
  const step = stepAt('log header', locationIn(place, 0), message, { id });
  const done = await steps.take(step, () => writeLogHeader(place, header, 'durable'));
  return done ? header : undefined;
}

/** The page of the header, and the first frames; what cannot be read is zeros. */
export async function readHead({ device, extent }: LogPlace): Promise<Uint8Array> {
  const lengthBytes = Math.min(HEAD_BYTES, extent.pageCount * PAGE_BYTES);
  const { bytes } = await readTolerant(device, extent.pageAddress * PAGE_BYTES, lengthBytes);
  return bytes;
}

/**
 * A header with which the checksum is right that lies in the damaged one, or is a bit away from it: of what
 * could have been there, made of what is left of each field, of what the frames say, and of any one bit
 * turned. Some hundred candidates against 32 bits.
 */
export function provenHeader(place: LogPlace, head: Uint8Array): LogHeader | undefined {
  if (zeroBetween(head, 0, SECTOR_BYTES)) return undefined;
  const storedCrc = viewOf(head).getUint32(4, true);
  for (const { sector, crcBits } of candidates(place, head)) {
    const crc = crc32c(sector.subarray(8), crc32c(place.identity));
    if (bitCount(crc ^ storedCrc) > crcBits) continue;
    viewOf(sector).setUint32(4, crc, true);
    const decoded = decodeLogHeader(sector, {
      identity: place.identity,
      sectorBytes: place.sectorBytes,
      extentBytes: place.extent.pageCount * PAGE_BYTES,
    });
    if (decoded.ok) return decoded.header;
  }
  return undefined;
}

interface Candidate {
  /** Without its checksum. */
  sector: Uint8Array;
  /** So many bits of the stored checksum may be wrong. */
  crcBits: number;
}

function* candidates(place: LogPlace, head: Uint8Array): Iterable<Candidate> {
  const known = skeleton(place);
  for (const [from, to] of VARIABLE) known.set(head.subarray(from, to), from);
  yield { sector: known.slice(), crcBits: 1 };
  for (const [from, to] of VARIABLE) {
    for (let bit = from * 8; bit < to * 8; bit++) {
      const sector = known.slice();
      sector[bit >>> 3]! ^= 1 << (bit & 7);
      yield { sector, crcBits: 0 };
    }
  }
  const salts = [...generationsIn(place, head)].flatMap((generation) => {
    const salt = findSalt(head, place, generation);
    return [undefined, salt].map((each) => ({ generation, salt: each }));
  });
  for (const { generation, salt } of [{ generation: undefined, salt: undefined }, ...salts]) {
    for (const state of [LogState.current, LogState.superseded]) {
      for (const committedBytes of [undefined, LOG_HEADER_BYTES]) {
        const sector = known.slice();
        const view = viewOf(sector);
        view.setUint8(9, state);
        if (generation !== undefined) setU64(view, 16, generation);
        if (salt !== undefined) view.setUint32(24, salt, true);
        if (committedBytes !== undefined) setU64(view, 40, committedBytes);
        yield { sector, crcBits: 0 };
      }
    }
  }
}

/** The bytes that every header of that log has. */
function skeleton({ identity, objectId, sectorBytes }: LogPlace): Uint8Array {
  const any = { state: LogState.current, generation: 1, salt: 0, committedBytes: LOG_HEADER_BYTES };
  return encodeLogHeader({ ...any, objectId, sectorBytes }, identity).slice(0, SECTOR_BYTES);
}

function generationsIn({ sectorBytes }: LogPlace, head: Uint8Array): Set<number> {
  const found = new Set<number>();
  const view = viewOf(head);
  for (let at = LOG_HEADER_BYTES; at + sectorBytes <= head.length; at += sectorBytes) {
    if (!hasFrameMagic(view, at)) continue;
    const { generation } = frameTraces(head.subarray(at, at + sectorBytes));
    if (Number.isSafeInteger(generation) && generation >= 1) found.add(generation);
    if (found.size === GENERATIONS_MAX) break;
  }
  return found;
}

/**
 * What the header of a log was that has a first frame, if nothing came after the generation of that. Only
 * the header could tell whose frame it is: it may be one of a log that was here before.
 */
export function headerOfFirstFrame(place: LogPlace, head: Uint8Array): LogHeader | undefined {
  if (head.length < LOG_HEADER_BYTES + place.sectorBytes) return undefined;
  if (!hasFrameMagic(viewOf(head), LOG_HEADER_BYTES)) return undefined;
  const first = head.subarray(LOG_HEADER_BYTES, LOG_HEADER_BYTES + place.sectorBytes);
  const { generation } = frameTraces(first);
  if (!Number.isSafeInteger(generation) || generation < 1) return undefined;
  const salt = findSalt(head, place, generation);
  if (salt === undefined) return undefined;
  const { objectId, sectorBytes } = place;
  const committedBytes = LOG_HEADER_BYTES;
  return { state: LogState.current, sectorBytes, generation, salt, objectId, committedBytes };
}

function bitCount(word: number): number {
  let count = 0;
  for (let rest = word >>> 0; rest !== 0; rest >>>= 1) count += rest & 1;
  return count;
}
