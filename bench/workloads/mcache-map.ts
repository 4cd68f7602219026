// Making and ending maps, beside a program in C that maps each object by itself; and what the kernel
// keeps for as many objects as a large storage engine has mapped.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { reaper } from '../../src/index.ts';
import { GIB, KIB, MIB, PAGE_BYTES } from '../../src/base/units.ts';
import type { Pool } from '../../src/pool/api.ts';
import { judged, measure } from '../comparison.ts';
import { commitObjects, idsOf, openForMaps } from '../mcache-pool.ts';
import { spreadOf } from '../spread.ts';
import type { Bench, Workload } from '../workload.ts';

const NAME = 'mcache-map';
const PEER = fileURLToPath(new URL('../../../native/build/map-each', import.meta.url));
const MBLOCK_BYTES = MIB;
/** What the storage engine of the original had mapped at a time. */
const MANY = 75_000;
/** So that the objects of a test are quickly written. */
const OBJECT_BYTES = PAGE_BYTES;

export const mcacheMap: Workload = {
  name: NAME,
  about: 'map and unmap 32 objects, and 75,000 mapped objects, against an mmap for each object',
  async run(bench) {
    const { workspace, quick } = bench;
    const count = quick ? 7_500 : MANY;
    const path = await workspace.makePool(NAME, {
      sizeBytes: Math.ceil((count * 1.1 * MBLOCK_BYTES) / GIB) * GIB,
      mblockSizeBytes: MBLOCK_BYTES,
      preparation: 'sparse',
    });
    let pool = await openForMaps(path);
    await commitObjects(pool, count, OBJECT_BYTES);
    await pool.close();
    pool = await openForMaps(path);
    try {
      await mapAndUnmap(bench, pool, path);
      await mapMany(bench, pool, path);
      await manyMmaps(bench, path, count);
    } finally {
      await pool.close();
      workspace.remove(`${NAME}.mpool`);
    }
  },
};

async function mapAndUnmap(bench: Bench, pool: Pool, path: string): Promise<void> {
  const ids = (await idsOf(pool)).slice(0, 32);
  const seconds = bench.seconds;
  const ours = async (): Promise<number> => {
    const start = performance.now();
    let rounds = 0;
    while (performance.now() - start < seconds * 1000) {
      for (let i = 0; i < 32; i++) {
        const map = await pool.map(ids);
        await map.unmap();
      }
      rounds += 32;
      // A program also has other things to do; what was weakly held cannot go before.
      await turn();
    }
    return rounds / ((performance.now() - start) / 1000);
  };
  const words = ['time', path, '32', String(MBLOCK_BYTES), String(MBLOCK_BYTES - 16 * KIB)];
  const peer = async (): Promise<number> => {
    return 1e9 / Number(execFileSync(PEER, [...words, String(seconds)], { encoding: 'utf8' }));
  };
  const row = { unit: 'rounds/s', ours, peer: { name: 'C: mmap + munmap for each', run: peer } };
  // An object that another map has needs no new place in the tables.
  await bench.compare({
    id: `${NAME}-32-new`,
    work: 'map + unmap of 32 objects that nobody else has mapped',
    atLeastRatio: 20,
    ...row,
  });
  const keeper = await pool.map(ids);
  await bench.compare({
    id: `${NAME}-32-shared`,
    work: 'map + unmap of 32 objects that another map has too',
    ...row,
  });
  await keeper.unmap();
}

/** Maps in collections of 32 and all in one, with a view of every object. */
async function mapMany(bench: Bench, pool: Pool, path: string): Promise<void> {
  const ids = await idsOf(pool);
  const count = ids.length.toLocaleString('en-GB');
  const slabBefore = vmaSlabKib();
  const before = memory();
  const start = performance.now();
  const maps = [];
  for (let at = 0; at < ids.length; at += 32) maps.push(await pool.map(ids.slice(at, at + 32)));
  const mapMs = performance.now() - start;
  const perObject = (memory() - before) / ids.length;
  for (const map of maps) map.ids.forEach((_, i) => map.view(i));
  const viewMs = performance.now() - start - mapMs;
  const withViews = (memory() - before) / ids.length;
  const slabKib = vmaSlabKib() - slabBefore;
  const areas = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(path)).length;
  const unmapStart = performance.now();
  for (const map of maps) await map.unmap();
  const unmapMs = performance.now() - unmapStart;
  const each = `${count} objects mapped`;
  const facts: [string, string, string, number, number?][] = [
    ['vmas', `${each}: memory areas of the pool in /proc/self/maps`, 'VMAs', areas, 1],
    ['slab', `${each}: growth of vm_area_struct in /proc/slabinfo`, 'KiB', slabKib],
    ['all-ms', `${each}, 32 in a map: making all maps`, 'ms', mapMs],
    ['views-ms', `${each}: a view of each object`, 'ms', viewMs],
    ['unmap-ms', `${each} and viewed: unmapping all`, 'ms', unmapMs],
    ['bytes', `${each}: JavaScript memory for each`, 'bytes', perObject],
    ['view-bytes', `${each} and viewed: JavaScript memory for each`, 'bytes', withViews],
  ];
  for (const [id, work, unit, value, atMost] of facts) {
    if (Number.isNaN(value)) continue;
    const target = atMost === undefined ? undefined : { atMost };
    bench.add(judged({ id: `${NAME}-${id}`, work, unit, ours: spreadOf([value]), target }));
  }
  bench.note(`reaper: ${JSON.stringify(reaper.stats())}`);
}

/** Until the kernel refuses. */
async function manyMmaps(bench: Bench, path: string, count: number): Promise<void> {
  const before = vmaSlabKib();
  const words = ['hold', path, String(count), String(MBLOCK_BYTES), String(MBLOCK_BYTES / 2)];
  const child = spawn(PEER, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const [mapped, errno] = line.toString().split(' ').map(Number) as [number, number];
  const slabKib = vmaSlabKib() - before;
  child.stdin.end();
  await exited;
  const ended = errno === 0 ? '' : `, then errno ${errno} (vm.max_map_count)`;
  const fact = { id: `${NAME}-peer-vmas`, unit: 'VMAs' };
  const work = `an mmap for each of ${count.toLocaleString('en-GB')} objects: areas${ended}`;
  bench.add(await measure({ ...fact, work }, 1, () => mapped));
  if (Number.isNaN(slabKib)) {
    bench.note('/proc/slabinfo cannot be read: the kernel memory of areas is for root to see');
    return;
  }
  const slab = 'an mmap for each object: growth of vm_area_struct in /proc/slabinfo';
  const slabFact = { id: `${NAME}-peer-slab`, work: slab, unit: 'KiB' };
  bench.add(await measure(slabFact, 1, () => slabKib));
}

/** Active ones, of all processes; NaN where only root may know. */
function vmaSlabKib(): number {
  try {
    const [, active, , bytes] = /^vm_area_struct\s+(\d+)\s+(\d+)\s+(\d+)/m
      .exec(readFileSync('/proc/slabinfo', 'utf8'))!
      .map(Number);
    return (active! * bytes!) / KIB;
  } catch {
    return NaN;
  }
}

function memory(): number {
  const { gc } = globalThis as { gc?: () => void };
  for (let i = 0; i < 3; i++) gc?.();
  // Views are external too, as long as what they show: they are no memory of JavaScript's.
  return process.memoryUsage().heapUsed;
}
