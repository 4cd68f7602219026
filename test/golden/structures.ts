/**
 * A pool with every structure of format 2, made by use alone, on a simulated machine: grown devices, metadata
 * that was compacted and moved to larger logs, deletions and id checkpoints, records in pieces, mblocks from none
 * to several pages of checksums, logs that are open, closed, erased, compacted and torn, MDCs before and after a
 * compaction and in the middle of one. With the feature `witnesses` the staging device loses what it acknowledged.
 */
import { SeededPrng } from '../../src/base/prng.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { playVersionThatKnows } from '../../src/format/features.ts';
import { activate } from '../../src/pool/activate.ts';
import type { MediaClass, MlogId, Pool } from '../../src/pool/api.ts';
import { createPool } from '../../src/pool/create.ts';
import { sharePool, StorePool } from '../../src/pool/pool.ts';
import type { Store } from '../../src/pool/store.ts';
import { upgradePool } from '../../src/pool/upgrade.ts';
import { placeOfObject } from '../../src/pool/user-log.ts';
import { SimHost } from '../../src/testing/index.ts';
import { type GoldenContent, readGolden } from './content.ts';
import { loseTails } from './losses.ts';

const MIB = 2 ** 20;
export const CAPACITY = '/dev/capacity';
export const STAGING = '/dev/staging';
const SIZES = { [CAPACITY]: 56 * MIB, [STAGING]: 16 * MIB };
export const GROWN = { [CAPACITY]: 72 * MIB + 5 * PAGE_BYTES, [STAGING]: 24 * MIB };
/** More than fit in the first logs of MDC 1: it moves. */
const LOG_COUNT = 2000;
/** None is what a new pool has. */
const PARAMETERS = {
  uid: 1001,
  gid: 1002,
  utype: '5d1c7a52-5e0f-4d5e-9b0a-3f2e1d0c4b6a',
  readAheadPages: 7,
  mappedRegionLog2: 29,
  sparePercentCapacity: 9,
  sparePercentStaging: 11,
};

export interface OpenStore {
  pool: StorePool;
  store: Store;
}

export async function openStore(host: SimHost): Promise<OpenStore> {
  const store = await activate(host.environment, {
    capacityPath: CAPACITY,
    stagingPaths: [STAGING],
    readOnly: false,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: undefined,
  });
  return { store, pool: new StorePool(sharePool(store), (force) => store.shutdown(force)) };
}

/** Of a period that no page divides, so that it compresses and no two pages are alike. */
export function bytesOf(length: number, seed: number): Uint8Array {
  const prng = new SeededPrng(seed);
  const period = Uint8Array.from({ length: 509 }, () => prng.u32() & 0xff);
  return Uint8Array.from({ length }, (_, i) => period[i % period.length]!);
}

export async function newLog(
  pool: Pool,
  capacityBytes: number,
  mediaClass: MediaClass = 'capacity',
): Promise<MlogId> {
  const allocation = await pool.mlogs.alloc({ capacityBytes, mediaClass });
  await allocation.commit();
  return allocation.id;
}

/** All features of this version, none, or all since an upgrade of a pool that was used without. */
export type Features = (typeof FEATURES)[number];
const FEATURES = ['none', 'all', 'upgraded'] as const;

interface Structures {
  host: SimHost;
  content: GoldenContent;
}

/** @returns the machine with its power cut, and what the pool holds */
export async function structuresPool(
  sectorBytes: 512 | 4096,
  features: Features,
): Promise<Structures> {
  const seed = sectorBytes + FEATURES.indexOf(features);
  const host = new SimHost({ seed, keepTrace: false });
  const kind = features === 'upgraded' ? 'file' : 'block';
  for (const [path, sizeBytes] of Object.entries(SIZES)) {
    host.addDisk(path, { kind, sizeBytes, sectorBytes });
  }
  if (kind === 'file') makeFiles(host);
  let knowsAll = (): void => {};
  if (features !== 'all') knowsAll = playVersionThatKnows([]);
  try {
    await createPool(host.environment, {
      name: 'golden-all',
      capacity: { path: CAPACITY, mblockSizeBytes: 8 * MIB },
      staging: { path: STAGING, mblockSizeBytes: MIB },
    });
    const deleted = await firstLife(host);
    if (features === 'upgraded') {
      knowsAll();
      await upgradePool(host.environment, CAPACITY, { places: [], blockDevices: true });
    }
    for (const [path, sizeBytes] of Object.entries(GROWN)) host.disk(path).resize(sizeBytes);
    const { pool, store } = await openStore(host);
    await secondLife(pool, store);
    if (features === 'none') return await lastFrames(host, { pool, store }, deleted);
    const after = await loseTails(host, pool);
    return await lastFrames(after.host, after, deleted);
  } finally {
    knowsAll();
  }
}

/** Simulated devices say of themselves that they are simulated, which a superblock calls a block device. */
function makeFiles(host: SimHost): void {
  const openDevice = host.openDevice.bind(host);
  const kind = { kind: 'file' } as const;
  host.openDevice = async (path, options) => Object.assign(await openDevice(path, options), kind);
}

/** Everything that many objects make; closed in good order. */
async function firstLife(host: SimHost): Promise<string[]> {
  const { pool } = await openStore(host);
  const ids: MlogId[] = [];
  for (let i = 0; i < LOG_COUNT; i++) ids.push(await newLog(pool, 2 * PAGE_BYTES));
  await pool.mlogs.delete(ids.slice(3));
  const gone = await pool.mblocks.alloc({ mediaClass: 'staging' });
  await gone.write(bytesOf(4097, 1));
  await gone.commit();
  await gone.delete();
  await pool.close();
  return [`0x${gone.id.toString(16)}`];
}

async function secondLife(pool: Pool, store: Store): Promise<void> {
  await pool.grow();
  // None, one page, pages, pages of the second page of checksums; the last zones are beyond the old ends.
  for (const [lengthBytes, mediaClass] of [
    [0, 'capacity'],
    [1, 'staging'],
    [PAGE_BYTES, 'staging'],
    [100_000, 'staging'],
    [5 * MIB + 77, 'capacity'],
  ] as const) {
    const mblock = await pool.mblocks.alloc({ mediaClass });
    if (lengthBytes > 0) await mblock.write(bytesOf(lengthBytes, lengthBytes));
    await mblock.commit();
  }
  await store.poolRecords.log.compact();
  await store.catalog.log.compact();
  await pool.setParameters({ label: 'golden', mode: 0o640 });

  // Behind what the compactions wrote.
  const passing = await newLog(pool, 64 * 1024);
  await pool.mlogs.delete([passing]);
  const closed = await pool.mlogs.open(await newLog(pool, MIB));
  await closed.append('closed', { sync: true });
  await closed.append(bytesOf(600_000, 3), { sync: true });
  await closed.close();
  const erased = await pool.mlogs.open(await newLog(pool, 64 * 1024));
  await erased.append('of an older generation', { sync: true });
  await erased.erase(7n);
  const compacted = await pool.mlogs.open(await newLog(pool, 64 * 1024), {
    compactionSemantics: true,
  });
  await compacted.startCompaction();
  await compacted.append('compacted', { sync: true });
  await compacted.endCompaction();
  await compacted.append('then', { sync: true });
  const compacting = await pool.mlogs.open(await newLog(pool, 64 * 1024), {
    compactionSemantics: true,
  });
  await compacting.startCompaction();
  await compacting.append('in the middle', { sync: true });
  await someMdcs(pool);
}

async function someMdcs(pool: Pool): Promise<void> {
  const root = await pool.mdcs.root();
  await root.append('before the compaction', { sync: true });
  await root.compact(['one', 'two']);
  await root.append('three', { sync: true });
  const allocation = await pool.mdcs.alloc({ capacityBytes: 64 * 1024 });
  await allocation.commit();
  const mdc = await pool.mdcs.open(allocation.id);
  await mdc.append('stays', { sync: true });
  await mdc.startCompaction();
  await mdc.append('of a compaction that never ended', { sync: true });
}

/** A log that is open when the power is cut, in the middle of a frame. */
async function lastFrames(
  host: SimHost,
  { pool, store }: OpenStore,
  deleted: string[],
): Promise<Structures> {
  const open = await pool.mlogs.open(await newLog(pool, 64 * 1024));
  for (let i = 0; i < 5; i++) await open.append(`open ${i}`, { sync: true });
  await pool.setParameters(PARAMETERS);
  const image = host.clone();
  await tearNextFrame(host, image, store, open.id, () =>
    open.append(bytesOf(9000, 9), { sync: true }),
  );
  await pool.close({ force: true });
  const settled = await openStore(image.clone());
  const content = { ...(await readGolden(settled.pool)), deleted };
  await settled.pool.close();
  return { host: image, content };
}

/** Puts the first sector of what an append writes into the image: as a power cut leaves a frame. */
async function tearNextFrame(
  host: SimHost,
  image: SimHost,
  store: Store,
  id: MlogId,
  append: () => Promise<void>,
): Promise<void> {
  const { extent, sectorBytes } = placeOfObject(store, store.indexOf(id), id);
  const from = extent.pageAddress * PAGE_BYTES;
  const before = host.disk(CAPACITY).bytes(from, extent.pageCount * PAGE_BYTES);
  await append();
  const after = host.disk(CAPACITY).bytes(from, extent.pageCount * PAGE_BYTES);
  const at = after.findIndex((byte, i) => byte !== before[i]);
  const sector = at - (at % sectorBytes);
  image.disk(CAPACITY).poke(from + sector, after.subarray(sector, sector + sectorBytes));
}
