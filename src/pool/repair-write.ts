import { MpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { MIB, PAGE_BYTES } from '../base/units.ts';
import type { Device } from '../device/device.ts';
import { decodeLogHeader, LogState, type LogHeader } from '../format/log-header.ts';
import { locationIn } from './check-logs.ts';
import type { FlushGate } from './flush-gate.ts';
import { freshLogEnd, writeLogHeader } from './log-place.ts';
import { Log } from './log.ts';
import { readLogHeader, scanLog, type LogPlace } from './log-scan.ts';
import { type RepairSteps, stepAt } from './repair-report.ts';
import { readTolerant } from './salvage.ts';

/** What lives takes at most this part of a log that is written anew: the store's own measure. */
export const LIVE_PART = 0.6;

/**
 * Writes a pair of logs at places that nothing names yet, durably, and reads the first back. Whoever names
 * them makes them count.
 * @param generation of the first; the other says superseded
 * @throws ERR_MPOOL_IO when what is read back is not what was written
 */
export async function writePair(
  places: readonly [LogPlace, LogPlace],
  generation: number,
  records: readonly Uint8Array[],
  gate: FlushGate,
  prng: Prng,
): Promise<void> {
  const headerAt = (place: LogPlace, state: LogState, of: number): LogHeader => ({
    state,
    sectorBytes: place.sectorBytes,
    generation: of,
    salt: prng.u32(),
    objectId: place.objectId,
    committedBytes: PAGE_BYTES,
  });
  const [place, otherPlace] = places;
  const header = headerAt(place, LogState.current, generation);
  const log = new Log(place, gate, header, freshLogEnd());
  for (const record of records) {
    const room = log.append(record);
    if (room !== undefined) await room;
  }
  await log.sync();
  const whole = { ...header, committedBytes: log.tailBytes };
  await writeLogHeader(place, whole, 'volatile', { whole: true });
  const other = headerAt(otherPlace, LogState.superseded, Math.max(1, generation - 1));
  await writeLogHeader(otherPlace, other, 'volatile', { whole: true });
  await gate.flush();
  await log.drop();
  const back = await readLogHeader(place);
  const end = back.ok ? await scanLog(place, back.header) : undefined;
  if (end?.verdict === 'clean' && end.recordCount === records.length) return;
  const { path } = place.device;
  throw new MpoolError('ERR_MPOOL_IO', `${path}: a log reads back other than written`, { path });
}

/** Writes the header of the log that does not count, beside an active one of that generation. */
export async function repairSpare(
  steps: RepairSteps,
  place: LogPlace,
  activeGeneration: number,
  prng: Prng,
): Promise<void> {
  const id = { idLow: place.objectId.low, idHigh: place.objectId.high };
  const message = 'the header of the log that does not count is written again, as superseded';
  const header: LogHeader = {
    state: LogState.superseded,
    sectorBytes: place.sectorBytes,
    generation: Math.max(1, activeGeneration - 1),
    salt: prng.u32(),
    objectId: place.objectId,
    committedBytes: PAGE_BYTES,
  };
  await steps.take(stepAt('log header', locationIn(place, 0), message, { id }), () =>
    writeLogHeader(place, header, 'durable', { whole: true }),
  );
}

/**
 * Looks through a whole device for logs of an MDC that are newer than those at the places that are
 * known: then
 * it moved, and the record that said where to is lost.
 */
export async function hasNewerPair(
  places: readonly [LogPlace, LogPlace],
  device: Device,
  sizeBytes: number,
  upTo: number,
): Promise<boolean> {
  let known = 0;
  for (const place of places) {
    const read = await readLogHeader(place).catch(() => undefined);
    if (read?.ok === true) known = Math.max(known, read.header.generation);
  }
  for (let at = 0; at < sizeBytes; at += MIB) {
    const { bytes } = await readTolerant(device, at, Math.min(MIB, sizeBytes - at));
    for (let page = 0; page < bytes.length; page += PAGE_BYTES) {
      for (const { identity, sectorBytes } of places) {
        const header = decodeLogHeader(bytes.subarray(page, page + PAGE_BYTES), {
          identity,
          sectorBytes,
          extentBytes: Number.MAX_SAFE_INTEGER,
        });
        if (!header.ok) continue;
        const { generation } = header.header;
        if (generation > known && generation <= upTo) return true;
      }
    }
  }
  return false;
}
