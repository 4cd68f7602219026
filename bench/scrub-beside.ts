// What a scrub costs those who use the pool meanwhile: latencies of small reads, and how late the event loop
// is, alone, beside a scrub of 100 MiB/s, and beside one without a bound. Rounds of the three follow each
// other, so that what the machine does meanwhile falls on all of them.
//   node build/bench/scrub-beside.js [FOLDER [ROUNDS [SECONDS]]]
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { create } from '../src/index.ts';
import type { LocalPool, MblockId } from '../src/pool/api.ts';

const MIB = 2 ** 20;
const MBLOCK_BYTES = 16 * MIB;
const MBLOCK_COUNT = 48;
const READ_BYTES = 4096;
/** Between reads: a user that is not after bandwidth. */
const PAUSE_MS = 0.5;

const [where = '.', rounds = '5', seconds = '3'] = process.argv.slice(2);
const folder = await mkdtemp(join(where, 'scrub-beside-'));

interface Figures {
  readMs: number[];
  loopMs: { p50: number; p99: number; max: number };
  scrubbedMib: number;
}

async function measure(pool: LocalPool, ids: MblockId[], rate: number): Promise<Figures> {
  const controller = new AbortController();
  let scrubbedBytes = 0;
  const scrubs = (async () => {
    if (rate === 0) return;
    while (!controller.signal.aborted) {
      const options = { bytesPerSecond: rate, signal: controller.signal };
      scrubbedBytes += (await pool.scrub(options)).counts.bytes;
    }
  })();
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  const readMs: number[] = [];
  const end = performance.now() + Number(seconds) * 1000;
  for (let i = 0; performance.now() < end; i++) {
    const id = ids[(i * 7) % ids.length]!;
    const offset = ((i * 7919) % (MBLOCK_BYTES / READ_BYTES - 64)) * READ_BYTES;
    const began = performance.now();
    await pool.mblocks.read(id, offset, READ_BYTES);
    readMs.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  loop.disable();
  controller.abort();
  await scrubs;
  const ms = (nanoseconds: number): number => nanoseconds / 1e6;
  const loopMs = { p50: ms(loop.percentile(50)), p99: ms(loop.percentile(99)), max: ms(loop.max) };
  return { readMs, loopMs, scrubbedMib: scrubbedBytes / MIB / Number(seconds) };
}

const at = (sorted: number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
const median = (values: number[]): number =>
  at(
    values.toSorted((a, b) => a - b),
    0.5,
  );

try {
  const sizeBytes = (MBLOCK_COUNT + 8) * MBLOCK_BYTES;
  const capacity = { path: join(folder, 'pool'), sizeBytes, mblockSizeBytes: MBLOCK_BYTES };
  await using pool = await create({ name: 'scrub-beside', capacity });
  const ids: MblockId[] = [];
  for (let i = 0; i < MBLOCK_COUNT; i++) {
    const mblock = await pool.mblocks.alloc();
    const bytes = Buffer.alloc(mblock.capacityBytes, `mblock ${i}`);
    await mblock.write(bytes);
    await mblock.commit();
    ids.push(mblock.id);
  }
  const rates = { alone: 0, '100 MiB/s': 100 * MIB, 'no bound': Infinity };
  const all = new Map<string, Figures[]>();
  for (let round = 0; round < Number(rounds); round++) {
    for (const [name, rate] of Object.entries(rates)) {
      const figures = await measure(pool, ids, rate);
      all.set(name, [...(all.get(name) ?? []), figures]);
    }
  }
  const { engine } = (await pool.devices())[0]!;
  console.log(
    `engine ${engine}, ${rounds} rounds of ${seconds} s; milliseconds, medians of rounds`,
  );
  const p99Of = new Map<string, number>();
  for (const [name, list] of all) {
    const reads = list.map(({ readMs }) => readMs.toSorted((a, b) => a - b));
    const part = (of: number): number => median(reads.map((sorted) => at(sorted, of)));
    p99Of.set(name, part(0.99));
    const loop = (key: 'p50' | 'p99' | 'max'): number =>
      median(list.map(({ loopMs }) => loopMs[key]));
    const ratio = part(0.99) / p99Of.get('alone')!;
    const text = [
      `${name}: reads p50 ${part(0.5).toFixed(3)}, p99 ${part(0.99).toFixed(3)} (${ratio.toFixed(2)} ×)`,
      `loop p50 ${loop('p50').toFixed(2)}, p99 ${loop('p99').toFixed(2)}, max ${loop('max').toFixed(2)}`,
      `scrubbed ${median(list.map(({ scrubbedMib }) => scrubbedMib)).toFixed(0)} MiB/s`,
    ];
    console.log(text.join('; '));
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
