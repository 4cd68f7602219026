import { viewOf } from '../base/bytes.ts';
import { MIB, PAGE_BYTES } from '../base/units.ts';
import { readAsync } from '../device/device.ts';
import {
  decodeFrameHeader,
  FRAME_BYTES_MAX,
  frameBytesOf,
  frameSeed,
  laterWitness,
  type LogWitness,
  NO_WITNESS,
  payloadIsRight,
} from '../format/log-frame.ts';
import { LOG_HEADER_BYTES, type LogHeader, LogState } from '../format/log-header.ts';
import type { LogMark } from '../format/log-mark.ts';
import { FIRST_POSITION, FrameCursor, type FramePosition } from './frame-cursor.ts';
import {
  expectedOf,
  type LogLoss,
  lossOfFrames,
  lossOfHeader,
  markOfPair,
} from './log-evidence.ts';
import type { MarkOf } from './log-evidence.ts';
import { type LogPlace, readLogHeader } from './log-scan.ts';

/** What a look at the end of a log shows. */
export interface LogLook {
  place: LogPlace;
  loss: LogLoss | undefined;
  /** The most that the frames looked at say of another log. */
  witness: LogWitness;
  /** It is not where its mark says: it was used after that was written. */
  moved: boolean;
}

/** A probe looks whether the log is as its mark says, and reads one frame's length behind that. */
export type LookDepth = 'probe' | 'whole';

/** So much behind the mark is looked at: what a log took in since a commit. */
const LOOK_BYTES_MAX = 4 * MIB;
/** Most frames are small, and the one below a mark is found in so much. */
const SMALL_WINDOW_BYTES = 16 * 1024;
const FRAMES_PER_SLICE = 4;

/**
 * Looks whether a log of users is as far as it was acknowledged: from its mark on, not from its beginning.
 * The log must not be open.
 * @param places of the log; or of both logs of an MDC
 * @throws ERR_MPOOL_IO
 */
export async function lookAtLog(
  places: readonly LogPlace[],
  markOf: MarkOf,
  depth: LookDepth,
): Promise<LogLook> {
  const first = await look(places, markOf, depth);
  if (first.loss === undefined) return first;
  // A read that gave another sector, or an old one, is no loss.
  const second = await look(places, markOf, depth);
  return { ...second, witness: laterWitness(first.witness, second.witness) };
}

async function look(
  places: readonly LogPlace[],
  markOf: MarkOf,
  depth: LookDepth,
): Promise<LogLook> {
  const read = await Promise.all(places.map((place) => readLogHeader(place)));
  const headers = read.map((found) => (found.ok ? found.header : undefined));
  const generationOf = (header: LogHeader | undefined): number =>
    header?.state === LogState.current ? header.generation : 0;
  const active = generationOf(headers[1]) > generationOf(headers[0]) ? 1 : 0;
  const place = places[active]!;
  const header = headers[active];
  const mark =
    places.length === 2 ? markOfPair([places[0]!, places[1]!], active, markOf) : markOf(places[0]!);
  if (header === undefined || header.state !== LogState.current) {
    return { place, loss: lostHeader(mark), witness: NO_WITNESS, moved: true };
  }
  const loss = lossOfHeader(mark, header);
  if (loss !== undefined) return { place, loss, witness: NO_WITNESS, moved: true };
  return lookFrom(place, header, mark, depth);
}

/** The header was durable before anything was said of the log. */
function lostHeader(mark: LogMark | undefined): LogLoss | undefined {
  if (mark === undefined) return undefined;
  const { generation, durableBytes } = mark;
  return {
    fromBytes: 0,
    toBytes: durableBytes,
    generation,
    detail: 'it has no header that counts',
  };
}

async function lookFrom(
  place: LogPlace,
  header: LogHeader,
  mark: LogMark | undefined,
  depth: LookDepth,
): Promise<LogLook> {
  const expected = expectedOf(mark, header);
  const marked = expected && (await frameBelow(place, header, expected));
  if (expected !== undefined && marked === undefined) {
    // From the first frame on, to tell where they end.
    const end = await framesFrom(place, header, FIRST_POSITION, NO_WITNESS, 'whole');
    const passed = {
      endBytes: Math.min(end.endBytes, expected.offsetBytes),
      passedExpected: false,
    };
    const loss = lossOfFrames(mark, header, passed);
    return { place, loss, witness: end.witness, moved: true };
  }
  const from = expected ?? FIRST_POSITION;
  const end = await framesFrom(place, header, from, marked ?? NO_WITNESS, depth);
  const { endBytes, knownBytes, witness } = end;
  const isFresh = header.generation === 1 && endBytes === LOG_HEADER_BYTES;
  const isAsMarked = mark === undefined ? isFresh : endBytes === expected?.offsetBytes;
  const moved = !isAsMarked;
  if (knownBytes <= endBytes) return { place, loss: undefined, witness, moved };
  const detail = `its frames end at byte ${endBytes}`;
  const { generation } = header;
  const loss = { fromBytes: endBytes, toBytes: knownBytes, generation, detail };
  return { place, loss, witness, moved };
}

/** What the frame that ends there bears witness of; undefined when it is not there. */
async function frameBelow(
  place: LogPlace,
  header: LogHeader,
  expected: FramePosition,
): Promise<LogWitness | undefined> {
  if (expected.offsetBytes === LOG_HEADER_BYTES) return NO_WITNESS;
  const extentBytes = place.extent.pageCount * PAGE_BYTES;
  if (expected.offsetBytes > extentBytes) return undefined;
  for (const windowBytes of [SMALL_WINDOW_BYTES, FRAME_BYTES_MAX]) {
    const from = Math.max(LOG_HEADER_BYTES, expected.offsetBytes - windowBytes);
    const found = await frameIn(place, header, from, expected);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function frameIn(
  place: LogPlace,
  header: LogHeader,
  fromBytes: number,
  expected: FramePosition,
): Promise<LogWitness | undefined> {
  const { device, extent, sectorBytes } = place;
  const bytes = device.allocate(expected.offsetBytes - fromBytes);
  try {
    await readAsync(device, extent.pageAddress * PAGE_BYTES + fromBytes, bytes);
    const view = viewOf(bytes);
    const at = {
      seed: frameSeed(place.identity, header.salt),
      offsetBytes: 0,
      extentBytes: extent.pageCount * PAGE_BYTES,
      generation: header.generation,
      sectorBytes,
      witnesses: place.witness !== undefined,
    };
    for (let index = bytes.length - sectorBytes; index >= 0; index -= sectorBytes) {
      at.offsetBytes = fromBytes + index;
      const frame = decodeFrameHeader(bytes, view, index, at);
      if (typeof frame === 'string') continue;
      const endBytes = at.offsetBytes + frameBytesOf(frame.payloadBytes, sectorBytes);
      if (endBytes !== expected.offsetBytes) continue;
      const same = frame.crc === expected.crc && frame.sequence === expected.sequence;
      return same && payloadIsRight(bytes, index, frame, sectorBytes) ? frame.witness : undefined;
    }
    return undefined;
  } finally {
    device.release(bytes);
  }
}

interface FramesEnd {
  endBytes: number;
  /** Up to where any of them says that the log was durable. */
  knownBytes: number;
  witness: LogWitness;
}

async function framesFrom(
  place: LogPlace,
  header: LogHeader,
  from: FramePosition,
  before: LogWitness,
  depth: LookDepth,
): Promise<FramesEnd> {
  const isProbe = depth === 'probe';
  const endBytes = from.offsetBytes + FRAME_BYTES_MAX;
  const cursor = new FrameCursor(place, header, { from, ...(isProbe && { endBytes }) });
  let witness = before;
  let knownBytes = header.committedBytes;
  let count = 0;
  try {
    for (let frame = await cursor.next(); frame !== undefined; frame = await cursor.next()) {
      witness = laterWitness(witness, frame.header.witness);
      knownBytes = Math.max(knownBytes, frame.header.durableBytes);
      if (++count % FRAMES_PER_SLICE === 0) await new Promise(setImmediate);
      if (cursor.position.offsetBytes - from.offsetBytes < LOOK_BYTES_MAX) continue;
      const { offsetBytes } = cursor.position;
      return { endBytes: offsetBytes, knownBytes: 0, witness };
    }
    if (isProbe) return { endBytes: cursor.position.offsetBytes, knownBytes, witness };
    const left = await cursor.leftovers();
    return {
      endBytes: cursor.position.offsetBytes,
      knownBytes: Math.max(knownBytes, left.durableBytes),
      witness: laterWitness(witness, left.witness),
    };
  } finally {
    await cursor.close();
  }
}
