// Small pools with every kind of structure, at several moments of their lives, and where the structures lie.
import { tablePagesOf } from '../../src/format/checksum-table.ts';
import { OBJECT_TYPE_MBLOCK, typeOfLow } from '../../src/format/object-id.ts';
import { superblockOffsetBytes } from '../../src/format/superblock.ts';
import { activate } from '../../src/pool/activate.ts';
import { createPool } from '../../src/pool/create.ts';
import { openPool } from '../../src/pool/open.ts';
import type { Pool } from '../../src/pool/api.ts';
import { SimHost } from '../../src/testing/index.ts';
import { CAPACITY, type Memory, STAGING, WHERE } from './memory.ts';

const MIB = 2 ** 20;
const PAGE_BYTES = 4096;
const SIZE_BYTES: readonly [path: string, sizeBytes: number][] = [
  [CAPACITY, 7 * MIB + 32 * PAGE_BYTES],
  [STAGING, 5 * MIB],
];

/** Part of a device that one structure has. */
export interface Region {
  name: string;
  path: string;
  offsetBytes: number;
  lengthBytes: number;
}

export interface PoolLife {
  /** Clones of the machine, oldest first; closed in good order but for the last. */
  moments: SimHost[];
  regions: Region[];
}

function bytesOf(seed: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes, `${seed}, `);
  for (let page = 0; page * PAGE_BYTES < lengthBytes; page++)
    bytes[page * PAGE_BYTES] = page + seed;
  return bytes;
}

/** @param seed another one gives another pool at the same places, with the same ids */
export async function livePool(
  seed: number,
  sectorBytes: 512 | 4096,
  memory: Memory,
): Promise<PoolLife> {
  const host = new SimHost({ seed, keepTrace: false });
  for (const [path, sizeBytes] of SIZE_BYTES) host.addDisk(path, { sizeBytes, sectorBytes });
  await createPool(host.environment, {
    name: `pool-${seed}`,
    capacity: { path: CAPACITY, mblockSizeBytes: MIB },
    staging: { path: STAGING, mblockSizeBytes: MIB },
  });
  const moments: SimHost[] = [];
  const open = (): Promise<Pool> => openPool(host.environment, CAPACITY, { discard: false }, WHERE);
  const keep = async (pool: Pool): Promise<void> => {
    await memory.remember(pool);
    await pool.close();
    moments.push(host.clone());
  };

  let pool = await open();
  const large = await write(pool, 'capacity', bytesOf(seed, 5 * PAGE_BYTES + 9));
  await write(pool, 'capacity', bytesOf(seed + 1, 100));
  await write(pool, 'staging', bytesOf(seed + 2, 3 * PAGE_BYTES));
  const mlog = await pool.mlogs.alloc({ capacityBytes: 32 * PAGE_BYTES });
  await mlog.commit();
  const mdc = await pool.mdcs.alloc({ capacityBytes: 32 * PAGE_BYTES });
  await mdc.commit();
  const append = async (count: number): Promise<void> => {
    const log = await pool.mlogs.open(mlog.id);
    const ofMdc = await pool.mdcs.open(mdc.id);
    const root = await pool.mdcs.root();
    for (const each of [log, ofMdc, root]) {
      for (let i = 0; i < count; i++) {
        await each.append(`record ${i} of ${seed} at ${moments.length}`, { sync: true });
      }
    }
    for (const each of [log, ofMdc, root]) await each.close();
  };
  await append(2);
  await keep(pool);

  pool = await open();
  await append(3);
  // Old structures brought back may show what was there before the compaction.
  await memory.remember(pool);
  const compacted = await pool.mdcs.open(mdc.id);
  await compacted.compact(['compacted', `of ${seed}`]);
  await compacted.close();
  await pool.setParameters({ label: `label-${seed}` });
  await write(pool, 'capacity', bytesOf(seed + 3, 2 * PAGE_BYTES));
  await keep(pool);

  // The space of what is deleted is another's.
  pool = await open();
  await pool.mblocks.delete([large]);
  await write(pool, 'capacity', bytesOf(seed + 4, 5 * PAGE_BYTES + 9));
  await write(pool, 'capacity', bytesOf(seed + 5, 7 * PAGE_BYTES));
  await append(1);
  await keep(pool);

  // Not closed: the last frames have none behind them that vouch for them.
  pool = await open();
  await write(pool, 'staging', bytesOf(seed + 6, 2 * PAGE_BYTES));
  await append(1);
  await memory.remember(pool);
  while (host.inFlightCount > 0) await host.clock.advance(1);
  moments.push(host.clone());
  await pool.close();
  return { moments, regions: await regionsOf(moments.at(-1)!.clone()) };
}

async function write(pool: Pool, mediaClass: 'capacity' | 'staging', bytes: Uint8Array) {
  const mblock = await pool.mblocks.alloc({ mediaClass });
  await mblock.write(bytes);
  await mblock.commit();
  return mblock.id;
}

/** Superblocks, logs and mblocks, each where it is; of an mblock what was written and its table. */
async function regionsOf(host: SimHost): Promise<Region[]> {
  const regions: Region[] = [];
  const add = (name: string, path: string, offsetBytes: number, lengthBytes: number): void => {
    regions.push({ name, path, offsetBytes, lengthBytes });
  };
  const store = await activate(host.environment, {
    capacityPath: CAPACITY,
    stagingPaths: [STAGING],
    readOnly: true,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: 0,
  });
  for (const media of store.allMedia) {
    const { sizeBytes } = media.descriptor;
    for (let copy = 0; copy < 4; copy++) {
      const offsetBytes = superblockOffsetBytes(copy, sizeBytes);
      add(`superblock copy ${copy}`, media.device.path, offsetBytes, PAGE_BYTES);
    }
  }
  const { mdc0 } = store.superblock;
  for (const { logA, logB } of [mdc0, ...store.poolRecords.mdcs]) {
    for (const { pageAddress, pageCount } of [logA, logB]) {
      add('metadata log', CAPACITY, pageAddress * PAGE_BYTES, pageCount * PAGE_BYTES);
    }
  }
  const { table } = store;
  for (let index = table.next(-1); index >= 0; index = table.next(index)) {
    const isMblock = typeOfLow(table.idLow(index)) === OBJECT_TYPE_MBLOCK;
    const dataPages = Math.ceil(table.lengthBytes(index) / PAGE_BYTES);
    const pages = isMblock ? dataPages + tablePagesOf(dataPages) : table.pageCount(index);
    const { path } = store.media(table.mediaClass(index))!.device;
    const name = isMblock ? 'mblock' : 'log';
    add(name, path, table.pageAddress(index) * PAGE_BYTES, pages * PAGE_BYTES);
  }
  await store.shutdown(true);
  return regions;
}
