import { crc32cPages } from '../base/crc32c.ts';
import { PAGE_BYTES, pagesOf } from '../base/units.ts';
import { writeAsync } from '../device/device.ts';
import { mblockDigest, SUM_BYTES, tablePagesOf } from '../format/checksum-table.ts';
import type { ObjectRecord } from '../format/records.ts';
import { viewOf } from '../base/bytes.ts';
import type { CheckedDevice } from './check-logs.ts';
import { type RepairSteps, stepAt } from './repair-report.ts';
import { readTolerant } from './salvage.ts';

/** Sums in the smallest part of a table that is written, or lost, as one. */
const GROUP_BYTES = 512;
const GROUP_SUMS = GROUP_BYTES / SUM_BYTES;
/** So many parts of a table may be doubtful: each is tried both ways against one digest of 32 bits. */
const DOUBTFUL_MAX = 12;
const PAGES_PER_READ = 256;

/**
 * Puts the checksum table of an mblock together again, from what is left of it and from the data: when the
 * digest in the object's record fits, it is the table that was written. Where a page and its checksum
 * are both
 * damaged nothing can be known, and nothing is written. The data itself has no spare.
 */
export async function repairChecksumTable(
  steps: RepairSteps,
  on: CheckedDevice,
  object: ObjectRecord,
): Promise<void> {
  const dataPages = pagesOf(object.lengthBytes);
  const tablePages = tablePagesOf(dataPages);
  if (tablePages === 0) return;
  const offsetBytes = (object.pageAddress + dataPages) * PAGE_BYTES;
  const stored = await readTolerant(on.device, offsetBytes, tablePages * PAGE_BYTES);
  const computed = await sumsOfData(on, object, dataPages);
  const table = restoreTable(object, stored, computed, on.device.sectorBytes);
  if (table === undefined) return;
  const same = stored.unreadable.size === 0 && Buffer.compare(table, stored.bytes) === 0;
  if (same) return;
  const location = { device: on.device.path, offsetBytes };
  const message = 'its checksums are written again, from its data: they fit its digest';
  await steps.take(stepAt('mblock', location, message, { id: object }), async () => {
    const buffer = on.device.allocate(table.length);
    try {
      buffer.set(table);
      await writeAsync(on.device, offsetBytes, buffer, 'durable');
    } finally {
      on.device.release(buffer);
    }
  });
}

interface DataSums {
  /** As a table would hold them; what follows is zero. */
  bytes: Uint8Array;
  /** Groups with a page that cannot be read. */
  unknown: Set<number>;
}

async function sumsOfData(
  on: CheckedDevice,
  object: ObjectRecord,
  dataPages: number,
): Promise<DataSums> {
  const bytes = new Uint8Array(tablePagesOf(dataPages) * PAGE_BYTES);
  const view = viewOf(bytes);
  const unknown = new Set<number>();
  const sums = new Uint32Array(PAGES_PER_READ);
  for (let page = 0; page < dataPages; page += PAGES_PER_READ) {
    const count = Math.min(PAGES_PER_READ, dataPages - page);
    const at = (object.pageAddress + page) * PAGE_BYTES;
    const part = await readTolerant(on.device, at, count * PAGE_BYTES);
    crc32cPages(part.bytes, sums);
    for (let i = 0; i < count; i++) view.setUint32((page + i) * SUM_BYTES, sums[i]!, true);
    for (const sector of part.unreadable) {
      unknown.add(Math.floor((page + Math.floor(sector / PAGE_BYTES)) / GROUP_SUMS));
    }
  }
  return { bytes, unknown };
}

/** The table that fits the digest, its padding zero. */
function restoreTable(
  object: ObjectRecord,
  stored: { bytes: Uint8Array; unreadable: ReadonlySet<number> },
  computed: DataSums,
  sectorBytes: number,
): Uint8Array | undefined {
  const usedBytes = pagesOf(object.lengthBytes) * SUM_BYTES;
  const table = new Uint8Array(stored.bytes.length);
  table.set(stored.bytes.subarray(0, usedBytes));
  const doubtful: number[] = [];
  for (let group = 0; group * GROUP_BYTES < usedBytes; group++) {
    const from = group * GROUP_BYTES;
    const to = Math.min(from + GROUP_BYTES, usedBytes);
    const data = computed.bytes.subarray(from, to);
    // A group is one sector, or a part of one.
    if (stored.unreadable.has(from - (from % sectorBytes))) {
      if (computed.unknown.has(group)) return undefined;
      table.set(data, from);
    } else if (Buffer.compare(table.subarray(from, to), data) !== 0) {
      if (!computed.unknown.has(group)) doubtful.push(group);
    }
  }
  if (doubtful.length > DOUBTFUL_MAX) return undefined;
  for (let choice = 0; choice < 2 ** doubtful.length; choice++) {
    for (const [i, group] of doubtful.entries()) {
      const from = group * GROUP_BYTES;
      const to = Math.min(from + GROUP_BYTES, usedBytes);
      const source = (choice >>> i) & 1 ? computed.bytes : stored.bytes;
      table.set(source.subarray(from, to), from);
    }
    const { idLow, idHigh, lengthBytes, digest } = object;
    const sums = table.subarray(0, usedBytes);
    if (mblockDigest(idLow, idHigh, lengthBytes, sums) === digest) return table;
  }
  return undefined;
}
