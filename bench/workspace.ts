/** Where the benchmarks work: pools and files in one folder, prepared alike and removed afterwards. */
import { constants, existsSync, mkdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../src/base/clock.ts';
import { SeededPrng, systemPrng } from '../src/base/prng.ts';
import { MIB, PAGE_BYTES } from '../src/base/units.ts';
import { pageBuffers } from '../src/device/page-buffers.ts';
import { SystemHost } from '../src/device/system-host.ts';
import { mcacheOn } from '../src/mcache/mcache.ts';
import { idFromHalves, OBJECT_TYPE_MBLOCK, typeOfId } from '../src/format/object-id.ts';
import { activate } from '../src/pool/activate.ts';
import type { OpenOptions, Pool } from '../src/pool/api.ts';
import { createPool } from '../src/pool/create.ts';
import type { Environment } from '../src/pool/environment.ts';
import { openPool } from '../src/pool/open.ts';
import type { Store } from '../src/pool/store.ts';

const host = new SystemHost();

export const environment: Environment = {
  host,
  clock: systemClock,
  prng: systemPrng,
  mcache: mcacheOn({ clock: systemClock, gauge: host.memory }),
};

/** How a file came to its size. Blocks of a sparse one are allocated by the first write to them. */
export type Preparation = 'written' | 'sparse';

export class Workspace {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async makeFile(name: string, sizeBytes: number, preparation: Preparation): Promise<string> {
    const path = this.path(name);
    rmSync(path, { force: true });
    const direct = preparation === 'written' ? constants.O_DIRECT : 0;
    const file = await open(path, constants.O_CREAT | constants.O_RDWR | direct);
    try {
      await file.truncate(sizeBytes);
      if (preparation === 'written') {
        const zeros = pageBuffers.allocate(4 * MIB).fill(0);
        for (let at = 0; at < sizeBytes; at += zeros.length) {
          const length = Math.min(zeros.length, sizeBytes - at);
          await file.write(zeros, 0, length, at);
        }
        pageBuffers.release(zeros);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    return path;
  }

  /** A pool in a file of that preparation, not open. @returns its path */
  async makePool(
    name: string,
    options: { sizeBytes: number; mblockSizeBytes?: number; preparation: Preparation },
  ): Promise<string> {
    const path = await this.makeFile(`${name}.mpool`, options.sizeBytes, options.preparation);
    const { mblockSizeBytes } = options;
    await createPool(environment, { name, capacity: { path, mblockSizeBytes } });
    return path;
  }

  has(name: string): boolean {
    return existsSync(this.path(name));
  }

  remove(name: string): void {
    rmSync(this.path(name), { force: true });
  }

  end(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Without discards: they would make holes where the next run writes. */
export function openPoolAt(path: string, options: OpenOptions = {}): Promise<Pool> {
  const where = { places: [], blockDevices: false };
  return openPool(environment, path, { discard: false, ...options }, where);
}

/** The store itself, for what its public door does not tell. */
export function openStoreAt(path: string, readOnly = false): Promise<Store> {
  return activate(environment, {
    capacityPath: path,
    stagingPaths: [],
    readOnly,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: undefined,
  });
}

/** The range of the pool's file in which its mblocks lie. */
export async function mblockRange(
  path: string,
): Promise<{ offsetBytes: number; sizeBytes: number }> {
  const store = await openStoreAt(path, true);
  try {
    const { table } = store;
    let first = Infinity;
    let end = 0;
    for (let index = table.next(-1); index >= 0; index = table.next(index)) {
      const id = idFromHalves(table.idLow(index), table.idHigh(index));
      if (typeOfId(id) !== OBJECT_TYPE_MBLOCK) continue;
      const page = table.pageAddress(index);
      first = Math.min(first, page);
      end = Math.max(end, page + table.pageCount(index));
    }
    return { offsetBytes: first * PAGE_BYTES, sizeBytes: (end - first) * PAGE_BYTES };
  } finally {
    await store.shutdown(true);
  }
}

/** Bytes that no disk can make smaller, in memory that needs no copy. */
export function randomBuffer(lengthBytes: number, seed: number): Uint8Array {
  const buffer = pageBuffers.allocate(lengthBytes);
  const prng = new SeededPrng(seed);
  const words = new Uint32Array(buffer.buffer, buffer.byteOffset, lengthBytes / 4);
  for (let i = 0; i < words.length; i++) words[i] = prng.u32();
  return buffer;
}

/** Runs `count` tasks at once until each says that it is done. */
export async function inParallel(count: number, task: (worker: number) => Promise<void>) {
  await Promise.all(Array.from({ length: count }, (_, worker) => task(worker)));
}
