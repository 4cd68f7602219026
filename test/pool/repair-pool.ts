// A pool with content of every kind on simulated disks, and what must be readable of it after a repair.
import assert from 'node:assert/strict';
import { crc32c } from '../../src/base/crc32c.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { MblockId, MlogId } from '../../src/format/object-id.ts';
import { activate } from '../../src/pool/activate.ts';
import type { LogPair } from '../../src/pool/log-pair.ts';
import { sharePool, StorePool } from '../../src/pool/pool.ts';
import { repairPoolAt, type RepairOptions, type RepairReport } from '../../src/pool/repair.ts';
import type { Store } from '../../src/pool/store.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, allOf, B, freshPool, HERE, MIB, NAME, pattern, texts } from './pool-host.ts';

/** What users stored. */
export interface Content {
  mblocks: Map<MblockId, Uint8Array>;
  mlogs: Map<MlogId, string[]>;
  root: string[];
  label: string;
}

export interface Places {
  mdc0: PairPlaces;
  mdc1: PairPlaces;
  root: PairPlaces;
  mlogs: Map<MlogId, number>;
  mblocks: Map<MblockId, { device: string; offsetBytes: number; dataPages: number }>;
}

/** Byte offsets on A. */
export interface PairPlaces {
  active: number;
  other: number;
}

export interface RepairPool {
  host: SimHost;
  content: Content;
  places: Places;
}

export async function openStore(host: SimHost, readOnly = false): Promise<StorePool> {
  return (await open(host, readOnly)).pool;
}

async function open(host: SimHost, readOnly: boolean): Promise<{ pool: StorePool; store: Store }> {
  const store = await activate(host.environment, {
    capacityPath: A,
    stagingPaths: [B],
    readOnly,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: undefined,
  });
  const pool = new StorePool(sharePool(store), (force) => store.shutdown(force));
  return { pool, store };
}

/** @param compacted MDC 0, MDC 1 and the root MDC were compacted before the last changes */
export async function contentPool(options: { compacted?: boolean } = {}): Promise<RepairPool> {
  const { host, pool: fresh } = await freshPool({ sizeBytes: 24 * MIB, stagingBytes: 8 * MIB });
  await fresh.close();
  const { pool, store } = await open(host, false);
  const content: Content = { mblocks: new Map(), mlogs: new Map(), root: [], label: 'kept' };
  const put = async (lengthBytes: number, mediaClass: 'capacity' | 'staging'): Promise<void> => {
    const mblock = await pool.mblocks.alloc({ mediaClass });
    const bytes = pattern(lengthBytes, lengthBytes + 1);
    if (lengthBytes > 0) await mblock.write(bytes);
    await mblock.commit();
    content.mblocks.set(mblock.id, bytes);
  };
  await put(1000, 'capacity');
  await put(200 * PAGE_BYTES + 5, 'capacity');
  const gone = await pool.mblocks.alloc();
  await gone.commit();
  await pool.mblocks.delete([gone.id]);
  for (let i = 0; i < 2; i++) {
    const allocation = await pool.mlogs.alloc({ capacityBytes: 64 * 1024 });
    await allocation.commit();
    const log = await pool.mlogs.open(allocation.id);
    const records = Array.from({ length: 6 }, (_, n) => `log ${i} record ${n}`);
    for (const record of records) await log.append(record, { sync: true });
    await log.close();
    content.mlogs.set(allocation.id, records);
  }
  await pool.setParameters({ label: content.label });
  const root = await pool.mdcs.root();
  content.root.push('one', 'two');
  for (const record of content.root) await root.append(record, { sync: true });
  if (options.compacted === true) {
    await store.poolRecords.log.compact();
    await store.catalog.log.compact();
  }
  await put(3 * PAGE_BYTES, 'staging');
  await put(5 * PAGE_BYTES, 'capacity');
  await pool.setParameters({ mode: 0o600 });
  await root.close();
  const places = await placesOf(pool, store);
  await pool.close();
  return { host, content, places };
}

async function placesOf(pool: StorePool, store: Store): Promise<Places> {
  const { table } = store;
  const ofPair = ({ places, active }: LogPair): PairPlaces => {
    const other = places.find((place) => place !== active.place)!;
    return {
      active: active.place.extent.pageAddress * PAGE_BYTES,
      other: other.extent.pageAddress * PAGE_BYTES,
    };
  };
  const at = (id: bigint): number => table.pageAddress(table.findId(id)) * PAGE_BYTES;
  const { rootMdc } = await pool.info();
  const mlogs = new Map((await allOf(pool.mlogs.list())).map(({ id }) => [id, at(id)]));
  const mblocks: Places['mblocks'] = new Map();
  for (const { id, mediaClass, writtenBytes } of await allOf(pool.mblocks.list())) {
    const device = mediaClass === 'capacity' ? A : B;
    const dataPages = Math.ceil(writtenBytes / PAGE_BYTES);
    mblocks.set(id, { device, offsetBytes: at(id), dataPages });
  }
  return {
    mdc0: ofPair(store.poolRecords.log.pair),
    mdc1: ofPair(store.catalog.log.pair),
    root: { active: at(rootMdc.logA), other: at(rootMdc.logB) },
    mlogs,
    mblocks,
  };
}

export function repair(host: SimHost, options: RepairOptions = {}): Promise<RepairReport> {
  return repairPoolAt(host.environment, NAME, HERE, options);
}

/** Everything is there, and nothing else, but for what is named. */
export async function readsBack(
  host: SimHost,
  content: Content,
  except: { unreadable?: readonly bigint[]; mode?: number } = {},
): Promise<void> {
  const pool = await openStore(host);
  const unreadable = new Set<bigint>(except.unreadable);
  try {
    const ids = (await allOf(pool.mblocks.list())).map(({ id }) => id);
    assert.deepEqual(ids, [...content.mblocks.keys()].toSorted(byId), 'the mblocks');
    for (const [id, bytes] of content.mblocks) {
      if (unreadable.has(id)) continue;
      const read = await pool.mblocks.read(id, 0, bytes.length);
      assert.ok(Buffer.compare(read, bytes) === 0, `mblock ${id}`);
    }
    const logs = (await allOf(pool.mlogs.list())).map(({ id }) => id);
    assert.deepEqual(logs, [...content.mlogs.keys()].toSorted(byId), 'the mlogs');
    for (const [id, records] of content.mlogs) {
      if (unreadable.has(id)) {
        await assert.rejects(pool.mlogs.open(id), (error) => isMpoolError(error));
        continue;
      }
      const log = await pool.mlogs.open(id);
      assert.deepEqual(await texts(log.records()), records);
      await log.append('more', { sync: true });
      assert.deepEqual(await texts(log.records()), [...records, 'more']);
      await log.close();
    }
    const root = await pool.mdcs.root();
    assert.deepEqual(await texts(root.records()), content.root);
    await root.close();
    const { label, mode } = await pool.parameters();
    assert.deepEqual([label, mode], [content.label, except.mode ?? 0o600]);
    const again = await pool.mblocks.alloc();
    assert.ok(![...content.mblocks.keys()].includes(again.id), 'ids are never used twice');
    await again.write(pattern(5000));
    await again.commit();
    await pool.mblocks.delete([again.id]);
  } finally {
    await pool.close({ force: true });
  }
}

function byId(a: bigint, b: bigint): number {
  return a < b ? -1 : 1;
}

/** CRC of all bytes of all disks. */
export function imageOf(host: SimHost): number {
  let crc = 0;
  for (const path of [A, B]) {
    const disk = host.disk(path);
    for (let at = 0; at < disk.sizeBytes; at += MIB) {
      crc = crc32c(disk.bytes(at, Math.min(MIB, disk.sizeBytes - at)), crc);
    }
  }
  return crc;
}
