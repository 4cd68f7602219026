/**
 * The store beside its peers: `npm run bench -- [WORKLOAD …] [--quick] [--runs N] [--dir FOLDER]
 * [--size GIB] [--json FILE]`. Prints a row for each comparison and writes all of them as JSON.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { GIB } from '../src/base/units.ts';
import { compare, printRow, type Row } from './comparison.ts';
import { findFio, HOW_TO_GET_FIO } from './fio.ts';
import { commitOf, describeMachine } from './machine.ts';
import { resultText } from './result-text.ts';
import type { Bench, Workload } from './workload.ts';
import { activation } from './workloads/activation.ts';
import { asyncAppend } from './workloads/async-append.ts';
import { bulk } from './workloads/bulk.ts';
import { churn } from './workloads/churn.ts';
import { daemonAppend } from './workloads/daemon-append.ts';
import { daemonMap } from './workloads/daemon-map.ts';
import { daemonObjects } from './workloads/daemon-objects.ts';
import { daemonRead } from './workloads/daemon-read.ts';
import { daemonWrite } from './workloads/daemon-write.ts';
import { durableAppend } from './workloads/durable-append.ts';
import { facts } from './workloads/facts.ts';
import { mcacheCold } from './workloads/mcache-cold.ts';
import { mcacheMap } from './workloads/mcache-map.ts';
import { mcacheWarm } from './workloads/mcache-warm.ts';
import { randomRead } from './workloads/random-read.ts';
import { Workspace } from './workspace.ts';

const WORKLOADS: readonly Workload[] = [
  randomRead,
  bulk,
  durableAppend,
  asyncAppend,
  churn,
  activation,
  mcacheCold,
  mcacheWarm,
  mcacheMap,
  daemonRead,
  daemonMap,
  daemonWrite,
  daemonAppend,
  daemonObjects,
  facts,
];
const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(HERE, '..', '..');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    runs: { type: 'string' },
    dir: { type: 'string', default: join(HERE, 'work') },
    size: { type: 'string' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) printHelp();
else await main(chosen(positionals));

function printHelp(): void {
  const names = WORKLOADS.map(({ name, about }) => `  ${name.padEnd(16)} ${about}`);
  process.stdout.write(
    'npm run bench -- [WORKLOAD …] [--quick] [--runs N] [--dir FOLDER] [--size GIB] [--json FILE]\n' +
      `${names.join('\n')}\n`,
  );
}

function chosen(names: readonly string[]): readonly Workload[] {
  const unknown = names.find((name) => !WORKLOADS.some((workload) => workload.name === name));
  if (unknown !== undefined) throw new RangeError(`no workload '${unknown}': see --help`);
  return names.length === 0 ? WORKLOADS : WORKLOADS.filter(({ name }) => names.includes(name));
}

async function main(workloads: readonly Workload[]): Promise<void> {
  const fio = findFio();
  const workspace = new Workspace(resolve(values.dir));
  const rows: Row[] = [];
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const runs = Number(values.runs ?? (values.quick ? 3 : 5));
  const add = (row: Row): void => {
    rows.push(row);
    say(printRow(row));
  };
  const bench: Bench = {
    workspace,
    fio,
    runs,
    seconds: values.quick ? 0.5 : 1.5,
    sizeBytes: Number(values.size ?? (values.quick ? 1 : 4)) * GIB,
    quick: values.quick,
    note: say,
    add,
    compare: async (comparison) => add(await compare(comparison, runs)),
  };
  const machine = describeMachine(workspace.folder, fio?.version ?? null);
  say(JSON.stringify(machine));
  if (fio === null) say(`${HOW_TO_GET_FIO}; the rows beside it are left out`);
  try {
    for (const workload of workloads) {
      say(`\n${workload.name}: ${workload.about}`);
      await workload.run(bench);
    }
  } finally {
    workspace.end();
  }
  const command = commandLine(runs, bench.sizeBytes);
  const date = new Date().toISOString();
  const result = { date, commit: commitOf(ROOT), command, runs, machine, rows };
  const file = resolve(
    values.json ?? join(ROOT, 'bench/results', `${date.replaceAll(':', '-').slice(0, 19)}.json`),
  );
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, resultText(result));
  say(`\n${file}`);
}

/** What must be the same to get the same, and no paths. */
function commandLine(runs: number, sizeBytes: number): string {
  const words = ['npm run bench --', ...positionals, ...(values.quick ? ['--quick'] : [])];
  return [...words, '--runs', runs, '--size', sizeBytes / GIB].join(' ');
}
