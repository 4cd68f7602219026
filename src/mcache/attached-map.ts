import { crc32cPages } from '../base/crc32c.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { MIB, PAGE_BYTES } from '../base/units.ts';
import type { DeviceMapping } from '../device/device-mapping.ts';
import { decodeSums, encodeSums, mblockDigest, tablePagesOf } from '../format/checksum-table.ts';
import { idFromHalves, type MblockId, printIdHalves } from '../format/object-id.ts';
import { ChecksumCache } from '../pool/checksum-cache.ts';
import type { MblockMap, SharedMap } from '../pool/map-api.ts';
import { type MapBacking, MapCore } from './map-core.ts';
import { type MapToken, OBJECT_WORDS } from './map-sharing.ts';
import { MappedObject } from './mapped-object.ts';
import { ObjectMap } from './object-map.ts';
import { PageReader } from './page-reader.ts';
import { TEMPERATURES } from './temperature.ts';

/** What attaching needs of the machine. */
export interface AttachEnvironment {
  attachMapping(handle: number, path: string): DeviceMapping;
  attachShare(share: number): boolean;
  detachShare(share: number): void;
  isClosing(share: number): boolean;
  /** Without a share: any may have lost its owner. @returns what ends it */
  listenForRecalls(onRecall: (share?: number) => void): () => void;
}

const CHECKSUM_CACHE_BYTES = 16 * MIB;

/** Attached in this thread, by share. Not the handles: those may be forgotten. */
const ATTACHED = new Map<number, Set<MapCore>>();
let stopListening: (() => void) | undefined;

/**
 * A map of another thread of this process, as its share() gave it: the same memory, no copy. It ends with
 * its own unmap(), with this thread, or when the owner unmaps, who waits for it.
 * @throws ERR_MPOOL_CLOSED when the owner has unmapped it; TypeError for anything but a map of this process
 */
export function attachMap(environment: AttachEnvironment, shared: SharedMap): MblockMap {
  const token = checkToken(shared);
  listen(environment);
  if (!environment.attachShare(token.share)) {
    stopWhenIdle();
    throw new MpoolError('ERR_MPOOL_CLOSED', 'the map');
  }
  const mappings: DeviceMapping[] = [];
  try {
    for (const { handle, path } of token.mappings) {
      mappings.push(environment.attachMapping(handle, path));
    }
    return attached(environment, token, mappings);
  } catch (error) {
    for (const mapping of mappings) void mapping.close();
    environment.detachShare(token.share);
    stopWhenIdle();
    throw error;
  }
}

function attached(
  environment: AttachEnvironment,
  token: MapToken,
  mappings: readonly DeviceMapping[],
): MblockMap {
  const core: MapCore = new MapCore({
    objects: decodeObjects(token, mappings),
    temperature: TEMPERATURES[token.temperature]!,
    backing: backingOf(environment, token, mappings, () => forget(token.share, core)),
  });
  const ids = core.objects.map((each) => idFromHalves(each.idLow, each.idHigh) as MblockId);
  const cores = ATTACHED.get(token.share);
  if (cores === undefined) ATTACHED.set(token.share, new Set([core]));
  else cores.add(core);
  return new ObjectMap({ ids: Object.freeze(ids), core, linear: undefined });
}

function checkToken(shared: SharedMap): MapToken {
  const token = shared as MapToken;
  if (typeof token !== 'object' || token === null || token.kind !== 'mpool.map') {
    throw invalidArgument('not what share() of a map gave', 'type');
  }
  if (token.processId !== process.pid) {
    throw invalidArgument('the map is of another process', 'type');
  }
  const { objects, hits, mappings, share, temperature } = token;
  const whole =
    objects instanceof Float64Array &&
    objects.length % OBJECT_WORDS === 0 &&
    Array.isArray(mappings) &&
    Array.isArray(hits) &&
    hits.every((each) => each instanceof Uint32Array) &&
    (objects.length === 0 || mappings.length > 0) &&
    Number.isInteger(share) &&
    TEMPERATURES[temperature] !== undefined;
  if (whole) return token;
  throw invalidArgument('what share() gave is to be passed on whole, by postMessage()', 'type');
}

function listen(environment: AttachEnvironment): void {
  stopListening ??= environment.listenForRecalls((recalled) => {
    for (const [share, cores] of ATTACHED) {
      if (share !== recalled && !environment.isClosing(share)) continue;
      for (const core of cores) void core.unmap();
    }
  });
}

function forget(share: number, core: MapCore): void {
  const cores = ATTACHED.get(share);
  cores?.delete(core);
  if (cores?.size === 0) ATTACHED.delete(share);
  stopWhenIdle();
}

function stopWhenIdle(): void {
  if (ATTACHED.size > 0) return;
  stopListening?.();
  stopListening = undefined;
}

function decodeObjects(token: MapToken, mappings: readonly DeviceMapping[]): MappedObject[] {
  const objects: MappedObject[] = [];
  for (let at = 0; at < token.objects.length; at += OBJECT_WORDS) {
    const [mapping, pageAddress, lengthBytes, idLow, idHigh, digest, hits, hitAt] =
      token.objects.subarray(at, at + OBJECT_WORDS) as unknown as number[];
    objects.push(
      new MappedObject(
        {
          mapping: mappings[mapping!]!,
          pageAddress: pageAddress!,
          lengthBytes: lengthBytes!,
          idLow: idLow!,
          idHigh: idHigh!,
          digest: digest!,
          tableIndex: at / OBJECT_WORDS,
        },
        token.hits[hits!]!,
        hitAt!,
      ),
    );
  }
  return objects;
}

function backingOf(
  environment: AttachEnvironment,
  token: MapToken,
  mappings: readonly DeviceMapping[],
  onRelease: () => void,
): MapBacking {
  const cache = new ChecksumCache(CHECKSUM_CACHE_BYTES);
  const governor = { admit: (_: number, proceed: () => void) => proceed(), arrived: () => {} };
  return {
    reader: new PageReader(
      { sums: (object, done) => loadSums(cache, object, done), mismatch },
      governor,
    ),
    readAheadPages: token.readAheadPages,
    // The owner counts on every object of a map that it lent.
    shown: () => {},
    stale: () => {},
    allowedPages: (wanted) => wanted,
    setTemperature: () => {
      throw invalidArgument('only the thread that made the map can change its temperature');
    },
    release: () => {
      onRelease();
      for (const mapping of mappings) void mapping.close();
      environment.detachShare(token.share);
    },
  };
}

/** As the store does: the object's record vouches for the table, the table for the pages. */
function loadSums(
  cache: ChecksumCache,
  object: MappedObject,
  done: (error: MpoolError | null, sums?: Uint32Array) => void,
): void {
  const cached = cache.get(object.tableIndex);
  if (cached !== undefined) return done(null, cached);
  const { pageCount, mapping, idLow, idHigh, lengthBytes } = object;
  const tablePages = tablePagesOf(pageCount);
  const single = tablePages === 0;
  const buffer = new Uint8Array(Math.max(1, tablePages) * PAGE_BYTES);
  const page = object.pageAddress + (single ? 0 : pageCount);
  mapping.read(page * PAGE_BYTES, buffer, (error) => {
    if (error !== null) return done(error);
    const sums = single ? new Uint32Array(1) : decodeSums(buffer, pageCount);
    if (single) crc32cPages(buffer, sums);
    if (mblockDigest(idLow, idHigh, lengthBytes, encodeSums(sums)) !== object.digest) {
      return done(mismatch(object, single ? 0 : pageCount));
    }
    cache.set(object.tableIndex, sums);
    done(null, sums);
  });
}

function mismatch(object: MappedObject, page: number): MpoolError {
  const { mapping, pageAddress, idLow, idHigh } = object;
  return new MpoolError(
    'ERR_MPOOL_CHECKSUM',
    `page ${page} of mblock ${printIdHalves(idLow, idHigh)}, ` +
      `byte ${(pageAddress + page) * PAGE_BYTES} of ${mapping.path}`,
    { path: mapping.path },
  );
}
