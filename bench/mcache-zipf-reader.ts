// A thread that reads values, one after the other, and tells how long each took.
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { attachMap } from '../src/index.ts';
import { SeededPrng } from '../src/base/prng.ts';
import type { MblockMap, SharedMap } from '../src/pool/api.ts';
import { type Heat, Placement, VALUE_BYTES, Zipf } from './mcache-zipf-load.ts';

/** How values are read: through views, come what may; or asked for first, if they are not there. */
export type Access = 'raw' | 'pages';

export interface ReaderData {
  tokens: SharedMap[];
  objectBytes: number;
  heat: Heat;
  access: Access;
  /** Of the placement, the same for all readers; and of what this one reads. */
  placementSeed: number;
  seed: number;
  warmUpMs: number;
  runMs: number;
  /** Reads so far, of each reader. */
  counts: Int32Array;
  number: number;
}

/** To the reader: an object has moved. Back: its old map is no longer used. */
export interface Moved {
  index: number;
  token: SharedMap;
}

/** From the reader, at the end. */
export interface ReaderResult {
  readCount: number;
  ms: number;
  /** Reads of which a page was not known to be there; only with 'pages'. */
  missCount: number;
  /** Latencies in ns. */
  histogram: RecordableHistogram;
}

/** Between two looks at what else there is to do. */
const SLICE_MS = 2;
const CACHE_LINE_BYTES = 64;

const data = workerData as ReaderData;
const port = parentPort!;
const maps: MblockMap[] = data.tokens.map((token) => attachMap(token));
const views = maps.map((map) => map.view(0));
const shuffling = new SeededPrng(data.placementSeed);
const placement = new Placement(maps.length, data.objectBytes, data.heat, shuffling);
const zipf = new Zipf(placement.valueCount);
const prng = new SeededPrng(data.seed);
const histogram = createHistogram();
const moves: Moved[] = [];
let sum = 0;
let missCount = 0;
/** In all, as others see it. */
let counted = 0;

port.on('message', (message: Moved | 'go') => {
  if (message === 'go') void main();
  else moves.push(message);
});
port.postMessage('ready');

async function main(): Promise<void> {
  await readFor(data.warmUpMs);
  histogram.reset();
  missCount = 0;
  const start = performance.now();
  const readCount = await readFor(data.runMs);
  const ms = performance.now() - start;
  if (sum < 0) throw new Error('the sum keeps the reads from being left out');
  port.postMessage({ readCount, ms, missCount, histogram } satisfies ReaderResult);
  await applyMoves();
  port.on('message', () => void applyMoves());
}

/** @returns how many reads */
async function readFor(lengthMs: number): Promise<number> {
  const end = performance.now() + lengthMs;
  let count = 0;
  let lastCount = 0;
  let sliceEnd = performance.now() + SLICE_MS;
  for (;;) {
    const rank = zipf.next(prng);
    const index = placement.objectOf(rank);
    const offset = placement.offsetOf(rank);
    const start = performance.now();
    if (start >= end) return count;
    if (data.access === 'pages' && !maps[index]!.ready(0, offset, VALUE_BYTES)) {
      missCount += 1;
      await maps[index]!.getPages(0, [offset]);
    }
    const view = views[index]!;
    for (let at = offset; at < offset + VALUE_BYTES; at += CACHE_LINE_BYTES) sum += view[at]!;
    const now = performance.now();
    histogram.record(Math.max(1, Math.round((now - start) * 1e6)));
    count += 1;
    if (now < sliceEnd) continue;
    Atomics.store(data.counts, data.number, (counted += count - lastCount));
    lastCount = count;
    await turn();
    if (moves.length > 0) await applyMoves();
    sliceEnd = performance.now() + SLICE_MS;
  }
}

/** Between two reads: nobody looks at the old maps any more. */
async function applyMoves(): Promise<void> {
  for (const { index, token } of moves.splice(0)) {
    const old = maps[index]!;
    maps[index] = attachMap(token);
    views[index] = maps[index].view(0);
    await old.unmap();
    port.postMessage('moved');
  }
}
