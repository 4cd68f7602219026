import { MpoolError } from '../base/errors.ts';
import { below, type Prng } from '../base/prng.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type Device, type Durability, readAsync, writeAsync } from '../device/device.ts';
import type { Extent } from '../format/extent.ts';
import { FRAME_BYTES_MAX, type LogWitness, NO_WITNESS, SEQUENCE_MAX } from '../format/log-frame.ts';
import { encodeLogHeader, type LogHeader, logIdentity } from '../format/log-header.ts';
import type { IdHalves } from '../format/object-id.ts';
import type { FlushGate } from './flush-gate.ts';
import { FrameCursor, type LogPlace } from './frame-cursor.ts';
import { type LogEnd, readLogHeader } from './log-scan.ts';

/** The log with that id, of that pool, in that extent. */
export function logPlace(
  device: Device,
  extent: Extent,
  poolUuid: Uint8Array,
  id: IdHalves,
  sectorBytes: number,
  witness: Readonly<LogWitness> | undefined,
): LogPlace {
  return {
    device,
    extent,
    identity: logIdentity(poolUuid, id),
    objectId: id,
    sectorBytes,
    witness,
  };
}

/** What a log without frames looks like: where the first frame goes, and what it follows. */
export function freshLogEnd(): LogEnd {
  return {
    endBytes: PAGE_BYTES,
    lastSequence: 0,
    lastCrc: 0,
    sequenceSeenMax: 0,
    recordCount: 0,
    durableBytes: PAGE_BYTES,
    frameCount: 0,
    closed: false,
    witness: NO_WITNESS,
    passedExpected: false,
    compactionStarts: 0,
    compactionEnds: 0,
    compacting: false,
    verdict: 'clean',
  };
}

/**
 * The end of a log that was read, as a writer goes on from it: with a sequence that no earlier writer
 * can have given to a frame here. Frames that a power cut took are often written again as they were, by a
 * user who replays; with the same sequences they would be the same to the bit, and whatever survived of
 * the old ones behind them, beyond where a reader looks for leftovers, would follow from them.
 */
export function resumedLogEnd(end: LogEnd, prng: Prng): LogEnd {
  if (end.sequenceSeenMax > SEQUENCE_LAST) {
    throw new MpoolError('ERR_MPOOL_CORRUPT', `a log with a frame ${end.sequenceSeenMax}`);
  }
  return { ...end, sequenceSeenMax: end.sequenceSeenMax + below(prng, SEQUENCE_JUMP_MAX) };
}

/** 2^29 times fit into the sequences of one generation. */
const SEQUENCE_JUMP_MAX = 2 ** 24;
/** What lies above could be used up before the log is opened again; nobody gets there by writing frames. */
const SEQUENCE_LAST = SEQUENCE_MAX - 2 ** 48;

/**
 * Looks a second time at what decides where a log ends: its header, and the place of the next frame. A device
 * that gave another sector the first time, or an old one, would otherwise make us overwrite records that
 * were acknowledged: nothing else says that they should be there.
 * @throws ERR_MPOOL_IO when the second read says something else
 */
export async function confirmLogEnd(
  place: LogPlace,
  header: LogHeader,
  end: LogEnd,
): Promise<void> {
  const again = await readLogHeader(place);
  const same =
    again.ok &&
    again.header.generation === header.generation &&
    again.header.salt === header.salt &&
    again.header.state === header.state;
  const from = { offsetBytes: end.endBytes, sequence: end.lastSequence, crc: end.lastCrc };
  const endBytes = end.endBytes + FRAME_BYTES_MAX;
  const cursor = new FrameCursor(place, header, { from, endBytes });
  try {
    if (same && (await cursor.next()) === undefined) return;
  } finally {
    await cursor.close();
  }
  const { path } = place.device;
  const at = place.extent.pageAddress * PAGE_BYTES + (same ? end.endBytes : 0);
  throw new MpoolError('ERR_MPOOL_IO', `${path}: two reads of byte ${at} differ`, { path });
}

/**
 * Writes the header of a log.
 * @param options.whole the whole page, as for a log that is new at this place; otherwise only the sector
 *   that means something, so that the write is atomic
 */
export async function writeLogHeader(
  place: LogPlace,
  header: LogHeader,
  durability: Durability,
  options: { whole?: boolean } = {},
): Promise<void> {
  const page = encodeLogHeader(header, place.identity);
  const lengthBytes = options.whole === true ? PAGE_BYTES : place.sectorBytes;
  const buffer = place.device.allocate(lengthBytes);
  try {
    buffer.set(page.subarray(0, lengthBytes));
    await writeAsync(place.device, place.extent.pageAddress * PAGE_BYTES, buffer, durability);
  } finally {
    place.device.release(buffer);
  }
}

/**
 * Writes the frames that no later one vouches for once more, byte for byte, and flushes. They may be in a
 * cache only, and if an earlier flush failed, no later one need cover them: the frames to come would call
 * durable what is not. So with a header that no frame was made under since: it decides what all of them are.
 */
export async function secureLogTail(
  place: LogPlace,
  header: LogHeader,
  end: LogEnd,
  gate: FlushGate,
): Promise<void> {
  if (end.endBytes <= header.committedBytes) await writeLogHeader(place, header, 'durable');
  // A closing frame too: the flush that was to make it durable may be the one that failed.
  if (end.durableBytes >= end.endBytes) return;
  const { device, extent } = place;
  const both = device.allocate(2 * FRAME_BYTES_MAX);
  const buffer = both.subarray(0, FRAME_BYTES_MAX);
  const second = both.subarray(FRAME_BYTES_MAX);
  try {
    for (let at = end.durableBytes; at < end.endBytes; at += FRAME_BYTES_MAX) {
      const part = buffer.subarray(0, Math.min(FRAME_BYTES_MAX, end.endBytes - at));
      const offsetBytes = extent.pageAddress * PAGE_BYTES + at;
      await readAsync(device, offsetBytes, part);
      // Twice: one read that gave another sector must not be written over the right one.
      await readAsync(device, offsetBytes, second.subarray(0, part.length));
      if (Buffer.compare(part, second.subarray(0, part.length)) !== 0) {
        const detail = `${device.path}: two reads of byte ${offsetBytes} differ`;
        throw new MpoolError('ERR_MPOOL_IO', detail, { path: device.path });
      }
      await writeAsync(device, offsetBytes, part, 'volatile');
    }
  } finally {
    device.release(both);
  }
  await gate.flush();
}
