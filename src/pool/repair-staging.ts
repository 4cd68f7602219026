import { crc32cPages } from '../base/crc32c.ts';
import { isMpoolError } from '../base/errors.ts';
import { PAGE_BYTES, pagesOf } from '../base/units.ts';
import type { Host } from '../device/host.ts';
import { extentProblem } from '../format/device-descriptor.ts';
import { encodeSums, mblockDigest, SUM_BYTES, tablePagesOf } from '../format/checksum-table.ts';
import { decodeLogHeader, logIdentity } from '../format/log-header.ts';
import { idFromHalves } from '../format/object-id.ts';
import type { ObjectRecord } from '../format/records.ts';
import type { Superblock } from '../format/superblock.ts';
import type { SearchPlaces } from './find-pools.ts';
import { isMblock, isOnCapacity } from './check-records.ts';
import { peekSuperblock } from './superblocks.ts';

/** Objects that are looked for: the newest, which a copy of long ago does not have, and some of all. */
const NEWEST_COUNT = 8;
const SAMPLE_COUNT = 24;
/** Longer ones prove no more, and take longer to read. */
const PROOF_PAGES_MAX = 4096;

/**
 * Where the staging device of a pool is that has no superblock any more: the one device that holds the
 * objects that the pool's metadata name there, each proven by a checksum that covers whose it is. Nothing
 * is claimed.
 * @param options.besides the capacity device
 * @returns several when copies of it are about: nobody can tell which one counts
 */
export async function findLostStaging(
  host: Host,
  superblock: Superblock,
  objects: Iterable<ObjectRecord>,
  { where, besides }: { where: SearchPlaces; besides: string },
): Promise<string[]> {
  const { staging, stagingPath } = superblock;
  const samples = samplesOf(superblock, objects);
  if (staging === undefined || samples.length === 0) return [];
  const paths = new Set<string>();
  for (const path of [stagingPath, ...(await host.candidates(where.places, where.blockDevices))]) {
    const info = path === '' ? undefined : await host.stat(path).catch(() => undefined);
    if (info === undefined || info.kind === 'other') continue;
    if (info.sizeBytes >= staging.sizeBytes && info.path !== besides) paths.add(info.path);
  }
  const found: string[] = [];
  for (const path of paths) {
    const superblocks = await peekSuperblock(host, path).catch(() => undefined);
    // Whose device it is says its superblock, if it has one of any version.
    if (superblocks === undefined || superblocks.newest !== undefined) continue;
    if (superblocks.problem === 'version') continue;
    if (await holdsAll(host, path, superblock, samples)) found.push(path);
  }
  return found;
}

function samplesOf(superblock: Superblock, objects: Iterable<ObjectRecord>): ObjectRecord[] {
  const { staging } = superblock;
  const idOf = ({ idLow, idHigh }: ObjectRecord): bigint => idFromHalves(idLow, idHigh);
  const there = [...objects]
    .filter((object) => {
      if (isOnCapacity(object) || staging === undefined) return false;
      const pages = pagesOf(object.lengthBytes);
      // An empty mblock leaves nothing on the device.
      if (isMblock(object) && (pages === 0 || pages > PROOF_PAGES_MAX)) return false;
      return extentProblem(staging, object, { whole: isMblock(object) }) === undefined;
    })
    .toSorted((a, b) => (idOf(a) < idOf(b) ? 1 : -1));
  const step = Math.max(1, Math.ceil((there.length - NEWEST_COUNT) / SAMPLE_COUNT));
  return there.filter((_, i) => i < NEWEST_COUNT || i % step === 0);
}

/** The newest one, and more than half of all: some may be damaged. */
async function holdsAll(
  host: Host,
  path: string,
  superblock: Superblock,
  samples: readonly ObjectRecord[],
): Promise<boolean> {
  let proven = 0;
  let newest = false;
  for (const [i, object] of samples.entries()) {
    const holds = await isProven(host, path, superblock, object).catch((error: unknown) => {
      if (!isMpoolError(error)) throw error;
      return false;
    });
    if (!holds) continue;
    proven += 1;
    newest ||= i < NEWEST_COUNT / 2;
  }
  return newest && proven * 2 > samples.length;
}

async function isProven(
  host: Host,
  path: string,
  superblock: Superblock,
  object: ObjectRecord,
): Promise<boolean> {
  const { idLow, idHigh, pageAddress, pageCount, lengthBytes } = object;
  const offsetBytes = pageAddress * PAGE_BYTES;
  if (!isMblock(object)) {
    const bytes = await host.peek(path, offsetBytes, PAGE_BYTES);
    if (bytes.length < PAGE_BYTES) return false;
    const identity = logIdentity(superblock.poolUuid, { low: idLow, high: idHigh });
    const { sectorBytes } = superblock.staging!;
    const extentBytes = pageCount * PAGE_BYTES;
    return decodeLogHeader(bytes, { identity, sectorBytes, extentBytes }).ok;
  }
  const dataPages = pagesOf(lengthBytes);
  const tablePages = tablePagesOf(dataPages);
  // The digest covers the table, and with a single page the page.
  const [at, pages] = tablePages === 0 ? [0, 1] : [dataPages, tablePages];
  const bytes = await host.peek(path, offsetBytes + at * PAGE_BYTES, pages * PAGE_BYTES);
  if (bytes.length < pages * PAGE_BYTES) return false;
  if (tablePages > 0) {
    const sums = bytes.subarray(0, dataPages * SUM_BYTES);
    return mblockDigest(idLow, idHigh, lengthBytes, sums) === object.digest;
  }
  const sums = new Uint32Array(1);
  crc32cPages(bytes, sums);
  return mblockDigest(idLow, idHigh, lengthBytes, encodeSums(sums)) === object.digest;
}
