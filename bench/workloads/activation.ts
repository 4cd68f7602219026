// Opening a pool with a million objects: time, memory, and how long the event loop stands still.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { GIB, MIB } from '../../src/base/units.ts';
import type { Mblock, Pool } from '../../src/pool/api.ts';
import type { Activation, Then } from '../activate-once.ts';
import { judged } from '../comparison.ts';
import { spreadOf } from '../spread.ts';
import type { Bench, Workload } from '../workload.ts';
import { openPoolAt } from '../workspace.ts';

const NAME = 'activation';
const BATCH = 4096;

export const activation: Workload = {
  name: NAME,
  about: 'activation of a pool with a million objects, and compaction of their MDC',
  async run(bench) {
    const { workspace, quick, runs } = bench;
    const objectCount = quick ? 100_000 : 1_000_000;
    const sizeBytes = Math.ceil((objectCount * 1.1 * MIB) / GIB) * GIB;
    const options = { sizeBytes, mblockSizeBytes: MIB, preparation: 'sparse' as const };
    const path = await workspace.makePool(NAME, options);
    const pool = await openPoolAt(path);
    await commitMany(bench, pool, objectCount);
    await pool.close();
    const clean: Activation[] = [];
    const crashed: Activation[] = [];
    const compacted: Activation[] = [];
    for (let run = 0; run < runs; run++) {
      clean.push(await activate(path, 'crash'));
      crashed.push(await activate(path, 'close'));
      compacted.push(await activate(path, 'compact'));
    }
    report(bench, objectCount, clean, crashed);
    reportCompaction(bench, objectCount, compacted);
    workspace.remove(`${NAME}.mpool`);
  },
};

async function commitMany(bench: Bench, pool: Pool, objectCount: number): Promise<void> {
  const start = performance.now();
  for (let made = 0; made < objectCount; made += BATCH) {
    const batch: Mblock[] = [];
    for (let i = 0; i < Math.min(BATCH, objectCount - made); i++) {
      batch.push(await pool.mblocks.alloc());
    }
    await pool.mblocks.commit(batch);
  }
  const seconds = (performance.now() - start) / 1000;
  bench.note(`made ${objectCount} objects in ${seconds.toFixed(1)} s`);
}

async function activate(path: string, then: Then): Promise<Activation> {
  const script = fileURLToPath(new URL('../activate-once.js', import.meta.url));
  const child = fork(script, [path, then], { execArgv: ['--expose-gc'] });
  const ended = once(child, 'exit');
  const [result] = (await Promise.race([once(child, 'message'), ended])) as [Activation];
  await ended;
  if (typeof result !== 'object') throw new Error('the activating process failed');
  return result;
}

function report(bench: Bench, count: number, clean: Activation[], crashed: Activation[]): void {
  const objects = `${count.toLocaleString('en-GB')} objects`;
  const row = (
    id: string,
    work: string,
    unit: string,
    figures: number[],
    atMost?: number,
  ): void => {
    const target = atMost === undefined ? undefined : { atMost };
    bench.add(judged({ id: `${NAME}-${id}`, work, unit, ours: spreadOf(figures), target }));
  };
  const ms = (each: Activation): number => each.ms;
  row('clean', `activation, ${objects}, closed in order`, 'ms', clean.map(ms), 1000);
  row('crash', `activation, ${objects}, after a crash`, 'ms', crashed.map(ms), 1000);
  const all = [...clean, ...crashed];
  row(
    'table',
    `memory of the object table, ${objects}`,
    'bytes an object',
    all.map((each) => each.tableBytes / each.objectCount),
    96,
  );
  row(
    'heap',
    `JavaScript memory that activation leaves, ${objects}`,
    'bytes an object',
    all.map((each) => each.heapBytes / each.objectCount),
    96,
  );
  row(
    'rss',
    `resident memory that activation leaves, ${objects}`,
    'bytes an object',
    all.map((each) => each.rssBytes / each.objectCount),
    96,
  );
  row(
    'load',
    'load of MDC 1',
    'MB/s of log',
    all.map((each) => each.logBytes / 1e6 / (each.ms / 1000)),
  );
  row(
    'stall',
    'longest stall of the event loop, activation',
    'ms',
    all.map((each) => each.stallMs),
  );
}

function reportCompaction(bench: Bench, count: number, compacted: Activation[]): void {
  const compactions = compacted.map(({ compaction }) => compaction!);
  bench.add({
    id: `${NAME}-compaction`,
    work: `compaction of MDC 1, ${count.toLocaleString('en-GB')} objects`,
    unit: 'ms',
    ours: spreadOf(compactions.map(({ ms }) => ms)),
  });
  bench.add({
    id: `${NAME}-compaction-stall`,
    work: 'longest stall of the event loop, compaction',
    unit: 'ms',
    ours: spreadOf(compactions.map(({ stallMs }) => stallMs)),
  });
}
