// A process of its own, in a memory control group: two threads read values of a pool that is larger than
// the group's memory, with the reaper or without, while objects are replaced or not.
import { setTimeout as sleep } from 'node:timers/promises';
import { createHistogram } from 'node:perf_hooks';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { reaper } from '../src/index.ts';
import { below, SeededPrng } from '../src/base/prng.ts';
import { MIB } from '../src/base/units.ts';
import { pageBuffers } from '../src/device/page-buffers.ts';
import type { MblockId, MblockMap, Pool, ReaperStats } from '../src/pool/api.ts';
import { idsOf, openForMaps } from './mcache-pool.ts';
import { type Heat, VALUE_BYTES } from './mcache-zipf-load.ts';
import type { Access, Moved, ReaderData, ReaderResult } from './mcache-zipf-reader.ts';

export interface ZipfJob {
  path: string;
  access: Access;
  heat: Heat;
  /** Written for each value that is read: 0 or 0.05, as of YCSB's workloads C and B. */
  updateShare: number;
  /** How often the bytes of an update are written, by compactions. */
  amplification: number;
  reaper: boolean;
  seed: number;
  warmUpMs: number;
  runMs: number;
}

/** Latencies in µs. */
export interface ZipfResult {
  readsPerSecond: number;
  p50: number;
  p99: number;
  p999: number;
  p9999: number;
  max: number;
  /** Share of reads that getPages() was asked for. */
  missShare: number;
  replacedObjects: number;
  /** Of all threads, while measured. */
  cpuShare: number;
  reaperBefore: ReaperStats;
  reaperAfter: ReaperStats;
}

const READERS = 2;
const COPY_BYTES = MIB;

const job = JSON.parse(process.argv[2]!) as ZipfJob;
async function main(): Promise<void> {
  reaper.configure({ enabled: job.reaper });
  const pool = await openForMaps(job.path);
  const ids = await idsOf(pool);
  const maps: MblockMap[] = [];
  for (const id of ids) maps.push(await pool.map([id]));
  for (const map of maps) await map.purge();
  const counts = new Int32Array(new SharedArrayBuffer(4 * READERS));
  const readers = await Promise.all(
    Array.from({ length: READERS }, (_, number) => startReader(maps, counts, number)),
  );
  const results = readers.map((reader) => resultOf(reader));
  for (const reader of readers) reader.postMessage('go');
  const turnover = new Turnover(pool, ids, maps, readers);
  const isOver = Promise.all(results);
  const replacing = turnover.run(counts, isOver);
  await sleep(job.warmUpMs);
  const cpu = process.cpuUsage();
  const before = reaper.stats();
  const found = await isOver;
  const { user, system } = process.cpuUsage(cpu);
  const after = reaper.stats();
  await replacing;
  const share = (user + system) / 1000 / job.runMs;
  process.send!(summary(found, turnover.count, share, before, after));
  await Promise.all(readers.map((reader) => reader.terminate()));
  await pool.close();
  process.disconnect();
}

async function startReader(
  maps: readonly MblockMap[],
  counts: Int32Array,
  number: number,
): Promise<Worker> {
  const workerData: ReaderData = {
    tokens: maps.map((map) => map.share()),
    objectBytes: maps[0]!.lengthBytes(0),
    heat: job.heat,
    access: job.access,
    placementSeed: job.seed,
    seed: job.seed * READERS + number + 1,
    warmUpMs: job.warmUpMs,
    runMs: job.runMs,
    counts,
    number,
  };
  const worker = new Worker(new URL('mcache-zipf-reader.js', import.meta.url), { workerData });
  await once(worker, 'message');
  return worker;
}

function resultOf(reader: Worker): Promise<ReaderResult> {
  return new Promise((resolve, reject) => {
    reader.on('error', reject);
    reader.on('message', (message: ReaderResult | 'moved') => {
      if (message !== 'moved') resolve(message);
    });
  });
}

/** As compactions do: objects are read directly, written anew, mapped, and the old ones deleted. */
class Turnover {
  count = 0;
  readonly #pool: Pool;
  readonly #ids: MblockId[];
  readonly #maps: MblockMap[];
  readonly #readers: readonly Worker[];
  readonly #prng = new SeededPrng(job.seed);

  constructor(pool: Pool, ids: MblockId[], maps: MblockMap[], readers: readonly Worker[]) {
    this.#pool = pool;
    this.#ids = ids;
    this.#maps = maps;
    this.#readers = readers;
  }

  /** Replaces objects as the reads go on, until they are over. */
  async run(counts: Int32Array, isOver: Promise<unknown>): Promise<void> {
    if (job.updateShare === 0) return;
    const reading = { over: false };
    void isOver.then(() => (reading.over = true));
    const bytesPerRead = job.updateShare * VALUE_BYTES * job.amplification;
    let owed = 0;
    while (!reading.over) {
      await sleep(10);
      const reads = counts.reduce((all, each) => all + each, 0);
      if (reads * bytesPerRead - owed < this.#maps[0]!.lengthBytes(0)) continue;
      owed += this.#maps[0]!.lengthBytes(0);
      await this.#replace(below(this.#prng, this.#ids.length));
      this.count += 1;
    }
  }

  async #replace(index: number): Promise<void> {
    const id = this.#ids[index]!;
    const from = await this.#pool.mblocks.find(id);
    const to = await this.#pool.mblocks.alloc();
    const chunk = pageBuffers.allocate(COPY_BYTES);
    for (let at = 0; at < from.writtenBytes; at += COPY_BYTES) {
      const part = chunk.subarray(0, Math.min(COPY_BYTES, from.writtenBytes - at));
      await from.readInto(at, part);
      await to.write(part);
    }
    pageBuffers.release(chunk);
    await to.commit();
    const map = await this.#pool.map([to.id]);
    const moved: Moved = { index, token: map.share() };
    const acknowledged = this.#readers.map((reader) => acknowledgement(reader));
    for (const reader of this.#readers) reader.postMessage(moved);
    await Promise.all(acknowledged);
    await this.#maps[index]!.unmap();
    await from.delete();
    this.#maps[index] = map;
    this.#ids[index] = to.id;
  }
}

function acknowledgement(reader: Worker): Promise<void> {
  return new Promise((resolve) => {
    const onMessage = (message: unknown): void => {
      if (message !== 'moved') return;
      reader.off('message', onMessage);
      resolve();
    };
    reader.on('message', onMessage);
  });
}

function summary(
  results: readonly ReaderResult[],
  replacedObjects: number,
  cpuShare: number,
  reaperBefore: ReaperStats,
  reaperAfter: ReaperStats,
): ZipfResult {
  const histogram = createHistogram();
  for (const result of results) histogram.add(result.histogram);
  const us = (percent: number): number => histogram.percentile(percent) / 1000;
  const readCount = results.reduce((all, each) => all + each.readCount, 0);
  return {
    readsPerSecond: results.reduce((all, each) => all + each.readCount / (each.ms / 1000), 0),
    p50: us(50),
    p99: us(99),
    p999: us(99.9),
    p9999: us(99.99),
    max: histogram.max / 1000,
    missShare: results.reduce((all, each) => all + each.missCount, 0) / readCount,
    replacedObjects,
    cpuShare,
    reaperBefore,
    reaperAfter,
  };
}

await main();
