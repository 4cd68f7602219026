import { PAGE_BYTES } from '../base/units.ts';
import { type Device, type Durability, writeAsync } from '../device/device.ts';
import type { Extent } from '../format/extent.ts';
import { encodeLogHeader, type LogHeader, logIdentity } from '../format/log-header.ts';
import type { IdHalves } from '../format/object-id.ts';
import type { LogPlace } from './frame-cursor.ts';
import type { LogEnd } from './log-scan.ts';

/** The log with that id, of that pool, in that extent. */
export function logPlace(
  device: Device,
  extent: Extent,
  poolUuid: Uint8Array,
  id: IdHalves,
  sectorBytes: number,
): LogPlace {
  return {
    device,
    extent,
    identity: logIdentity(poolUuid, id),
    objectId: id,
    sectorBytes,
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
    compactionStarts: 0,
    compactionEnds: 0,
    compacting: false,
    verdict: 'clean',
  };
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
