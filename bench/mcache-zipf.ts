/**
 * The claims of the original: what the reaper is worth when the data is three times the memory. As root,
 *   node build/bench/mcache-zipf.js [C-raw …] [--quick] [--runs N] [--heat object|even] [--limit MIB]
 *     [--mblock MIB] [--warm-up S] [--seconds S] [--dir FOLDER] [--json FILE]
 * Zipfian reads of 1 KiB by two threads, in a process with a memory control group; with the reaper and
 * without it in turn. Prints a table in Markdown and writes JSON.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MIB } from '../src/base/units.ts';
import { judged, printRow, type Row } from './comparison.ts';
import { commitOf, describeMachine } from './machine.ts';
import { resultText } from './result-text.ts';
import { MemoryGroup } from './mcache-group.ts';
import { commitObjects, openForMaps } from './mcache-pool.ts';
import type { Heat } from './mcache-zipf-load.ts';
import type { ZipfJob, ZipfResult } from './mcache-zipf-child.ts';
import type { Access } from './mcache-zipf-reader.ts';
import { describe, spreadOf } from './spread.ts';
import { Workspace } from './workspace.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(HERE, '..', '..');
const GROUP = 'mpool-bench';
const NAME = 'mcache-zipf';
const FACTOR = 3;
/** How often a log-structured merge tree writes what is updated once. */
const AMPLIFICATION = 4;

interface Mix {
  name: string;
  access: Access;
  updateShare: number;
  /** By the original's authors, YCSB with their storage engine: how many times better with the reaper. */
  published: { throughput: number; p9999: number };
}

// Tails of reads 63 and 39 % shorter.
const C = { updateShare: 0, published: { throughput: 1.84, p9999: 2.7 } };
const B = { updateShare: 0.05, published: { throughput: 1.77, p9999: 1.64 } };
const MIXES: readonly Mix[] = [
  { name: 'C-raw', access: 'raw', ...C },
  { name: 'C-pages', access: 'pages', ...C },
  { name: 'B-raw', access: 'raw', ...B },
  { name: 'B-pages', access: 'pages', ...B },
];

interface Run extends ZipfResult {
  majorFaults: number;
  limitHits: number;
  groupCacheBytes: number;
  groupUsedBytes: number;
  /** Of the machine, as it ended: above 3 others took a part of the two cores that this needs. */
  load: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    runs: { type: 'string' },
    heat: { type: 'string', default: 'object' },
    limit: { type: 'string' },
    mblock: { type: 'string' },
    'warm-up': { type: 'string' },
    seconds: { type: 'string' },
    dir: { type: 'string', default: join(HERE, 'work') },
    json: { type: 'string' },
  },
});
const number = (text: string | undefined, usual: number, quick: number): number =>
  Number(text ?? (values.quick ? quick : usual));
const settings = {
  runs: number(values.runs, 3, 1),
  limitBytes: number(values.limit, 1024, 512) * MIB,
  mblockBytes: number(values.mblock, 32, 8) * MIB,
  warmUpMs: number(values['warm-up'], 20, 5) * 1000,
  runMs: number(values.seconds, 20, 5) * 1000,
  heat: values.heat as Heat,
};
const say = (text: string): void => void process.stdout.write(`${text}\n`);

await main();

async function main(): Promise<void> {
  const unknown = positionals.find((name) => !MIXES.some((mix) => mix.name === name));
  if (unknown !== undefined) throw new RangeError(`no mix '${unknown}'`);
  const mixes = MIXES.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const workspace = new Workspace(resolve(values.dir));
  const machine = describeMachine(workspace.folder, null);
  say(JSON.stringify({ ...machine, ...settings }));
  const rows: Row[] = [];
  const runs: Record<string, { on: Run[]; off: Run[] }> = {};
  try {
    const path = await prepare(workspace);
    for (const mix of mixes) {
      const found = await inTurn(path, mix);
      runs[mix.name] = found;
      rows.push(...rowsOf(mix, found));
      for (const row of rows.slice(-4)) say(printRow(row));
    }
  } finally {
    workspace.end();
  }
  say(`\n${tableOf(mixes, runs)}`);
  save(machine, rows, runs);
}

async function prepare(workspace: Workspace): Promise<string> {
  const { limitBytes, mblockBytes } = settings;
  const count = Math.round((FACTOR * limitBytes) / mblockBytes);
  const path = await workspace.makePool(NAME, {
    sizeBytes: Math.ceil(count * 1.1 + 8) * mblockBytes,
    mblockSizeBytes: mblockBytes,
    preparation: 'written',
  });
  const pool = await openForMaps(path);
  await commitObjects(pool, count);
  await pool.close();
  return path;
}

/** Off, on, off, on, …, off. */
async function inTurn(path: string, mix: Mix): Promise<{ on: Run[]; off: Run[] }> {
  const found: { on: Run[]; off: Run[] } = { on: [], off: [] };
  for (let turn = 0; turn <= 2 * settings.runs; turn++) {
    const isOn = turn % 2 === 1;
    const run = await runOnce({
      path,
      access: mix.access,
      heat: settings.heat,
      updateShare: mix.updateShare,
      amplification: AMPLIFICATION,
      reaper: isOn,
      seed: 1 + (turn >>> 1),
      warmUpMs: settings.warmUpMs,
      runMs: settings.runMs,
    });
    found[isOn ? 'on' : 'off'].push(run);
    say(`${mix.name}, reaper ${isOn ? 'on' : 'off'}: ${JSON.stringify(brief(run))}`);
  }
  return found;
}

async function runOnce(job: ZipfJob): Promise<Run> {
  const group = MemoryGroup.create(GROUP, settings.limitBytes);
  try {
    const script = join(HERE, 'mcache-zipf-child.js');
    // The shell enters the group, so that all memory of the child counts.
    const enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
    const words = [group.folder, process.execPath, script, JSON.stringify(job)];
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const;
    const child = spawn('/bin/sh', ['-c', enter, ...words], { stdio: [...stdio] });
    const exited = once(child, 'exit');
    const received = once(child, 'message');
    const first = await Promise.race([received, exited.then(() => undefined)]);
    if (first === undefined) throw new Error(`the child ended: ${String(await exited)}`);
    const counters = group.counters();
    const groupUsedBytes = group.usedBytes;
    const [load = 0] = loadavg();
    await exited;
    const { cacheBytes: groupCacheBytes, ...rest } = counters;
    return { ...(first[0] as ZipfResult), ...rest, groupCacheBytes, groupUsedBytes, load };
  } finally {
    group.remove();
  }
}

function brief(run: Run): Record<string, number> {
  const { readsPerSecond, p50, p99, p999, p9999, max, missShare, replacedObjects } = run;
  const { cpuShare, majorFaults, limitHits, load } = run;
  const cacheMib = run.groupCacheBytes / MIB;
  const evictedMib = (run.reaperAfter.evictedPages - run.reaperBefore.evictedPages) / 256;
  const reads = { readsPerSecond, p50, p99, p999, p9999, max, missShare, replacedObjects };
  const all = { ...reads, cpuShare, majorFaults, limitHits, cacheMib, evictedMib, load };
  const rounded = Object.entries(all).map(([key, value]) => [key, Number(value.toPrecision(4))]);
  return Object.fromEntries(rounded) as Record<string, number>;
}

/** Each run with the reaper against the mean of those before and after it. */
function rowsOf(mix: Mix, { on, off }: { on: Run[]; off: Run[] }): Row[] {
  const reads = `zipfian reads, ${mix.name}`;
  const compared = (
    what: string,
    unit: string,
    of: (run: Run) => number,
    published?: number,
  ): Row => {
    const isLatency = unit === 'µs';
    const ratios = on.map((run, i) => {
      const without = (of(off[i]!) + of(off[i + 1]!)) / 2;
      return isLatency ? without / of(run) : of(run) / without;
    });
    return judged({
      id: `${NAME}-${mix.name}-${what}`,
      work: `${reads}: ${what}`,
      unit,
      ours: spreadOf(on.map(of)),
      peer: { name: 'reaper off', figures: spreadOf(off.map(of)) },
      ratio: spreadOf(ratios),
      target: published === undefined ? undefined : { atLeastRatio: published },
      note: isLatency ? 'the ratio says how many times shorter' : undefined,
    });
  };
  return [
    compared('throughput', 'reads/s', (run) => run.readsPerSecond, mix.published.throughput),
    compared('p99', 'µs', (run) => run.p99),
    compared('p99.9', 'µs', (run) => run.p999),
    compared('p99.99', 'µs', (run) => run.p9999, mix.published.p9999),
  ];
}

function tableOf(mixes: readonly Mix[], runs: Record<string, { on: Run[]; off: Run[] }>): string {
  const lines = [
    '| mix | reaper | reads/s | misses % | p50 µs | p99 µs | p99.9 µs | p99.99 µs | limit hits |',
    '|---|---|--:|--:|--:|--:|--:|--:|--:|',
  ];
  for (const { name } of mixes) {
    for (const state of ['off', 'on'] as const) {
      const of = (value: (run: Run) => number): string =>
        describe(spreadOf(runs[name]![state].map(value)));
      const cells = [
        of((run) => run.readsPerSecond),
        of((run) => run.missShare * 100),
        of((run) => run.p50),
        of((run) => run.p99),
        of((run) => run.p999),
        of((run) => run.p9999),
        of((run) => run.limitHits),
      ];
      lines.push(`| ${name} | ${state} | ${cells.join(' | ')} |`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function save(machine: object, rows: Row[], runs: object): void {
  const date = new Date().toISOString();
  const { limitBytes, mblockBytes, warmUpMs, runMs, heat } = settings;
  const words = ['node build/bench/mcache-zipf.js', ...positionals, '--runs', settings.runs];
  words.push('--limit', limitBytes / MIB, '--mblock', mblockBytes / MIB, '--heat', heat);
  words.push('--warm-up', warmUpMs / 1000, '--seconds', runMs / 1000);
  const command = words.join(' ');
  const result = {
    date,
    commit: commitOf(ROOT),
    command,
    ...settings,
    machine,
    rows,
    details: runs,
  };
  const name = `${NAME}-${date.replaceAll(':', '-').slice(0, 19)}.json`;
  const file = resolve(values.json ?? join(ROOT, 'bench/results', name));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, resultText(result));
  say(file);
}
