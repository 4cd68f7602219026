// Tries the store as long as told, counts what was tried, and writes the figures to docs/reliability.json
// and into docs/reliability.md.
// Usage: npm run reliability [-- part…]   parts of PARTS below; all of them by default, some hours
//   MINUTES=30   how long each part that has no end of its own runs; 10 by default
//
// What is counted is told by the tests themselves (test/tally.ts), in all their processes.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';

const MINUTES = Number(process.env['MINUTES'] ?? 10);
const SECONDS = String(MINUTES * 60);
const FIGURES = 'docs/reliability.json';
const CARD = 'docs/reliability.md';
const BEGIN = '<!-- figures: npm run reliability -->';
const END = '<!-- end of figures -->';

/** Each a command, and what it is told by its environment. */
const PARTS = {
  suite: { command: 'node scripts/test.mjs' },
  sim: { command: 'npm run sim', env: { SIM_SECONDS: SECONDS } },
  exhaustive: { command: 'npm run sim -- exhaustive', env: { SIM_SECONDS: SECONDS } },
  hostile: { command: 'npm run hostile', env: { HOSTILE_SECONDS: SECONDS } },
  real: { command: 'npm run test:real', env: { REAL_SECONDS: SECONDS } },
  storm: { command: 'npm run storm', env: { STORM_SECONDS: SECONDS } },
  mutants: { command: 'npm run mutants' },
};

function run(name) {
  const { command, env = {} } = PARTS[name];
  const told = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  const shown = [...told, command].join(' ');
  console.log(`${name}: ${shown}`);
  const folder = mkdtempSync(join(tmpdir(), 'reliability-'));
  const path = join(folder, 'tally');
  writeFileSync(path, '');
  const start = performance.now();
  const { status } = spawnSync(command, {
    shell: true,
    stdio: 'inherit',
    env: { ...process.env, ...env, TALLY: path },
  });
  const seconds = Math.round((performance.now() - start) / 1000);
  const counts = countsOf(readFileSync(path, 'utf8'));
  rmSync(folder, { recursive: true });
  const date = new Date().toISOString().slice(0, 10);
  return { command: shown, date, ...machine(), seconds, passed: status === 0, counts };
}

function countsOf(text) {
  const totals = {};
  for (const line of text.split('\n').filter((each) => each !== '')) {
    for (const [what, count] of Object.entries(JSON.parse(line))) {
      totals[what] = (totals[what] ?? 0) + count;
    }
  }
  return Object.fromEntries(Object.entries(totals).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function machine() {
  const processors = cpus();
  return {
    machine: `${processors.length} × ${processors[0]?.model ?? 'unknown'}, Linux ${release()}`,
    node: process.version,
  };
}

function tableOf(figures) {
  const number = (count) => count.toLocaleString('en-US');
  const rows = Object.values(figures).map(({ command, date, node, seconds, passed, counts }) => {
    const tried = Object.entries(counts).map(([what, count]) => `${number(count)} ${what}`);
    const result = passed ? 'passed' : '**failed**';
    const cells = [`\`${command}\``, `${date}, Node ${node}`, number(seconds), tried.join(' · ')];
    return `| ${[...cells, result].join(' | ')} |`;
  });
  return ['| command | when | seconds | tried | result |', '|---|---|--:|---|---|', ...rows];
}

function writeCard(figures) {
  const text = readFileSync(CARD, 'utf8');
  const from = text.indexOf(BEGIN);
  const to = text.indexOf(END);
  if (from < 0 || to < from) throw new Error(`${CARD} has no place for the figures`);
  const machines = [...new Set(Object.values(figures).map((each) => each.machine))];
  const lines = [BEGIN, `Machine: ${machines.join('; ')}.`, '', ...tableOf(figures), ''];
  writeFileSync(CARD, text.slice(0, from) + lines.join('\n') + text.slice(to));
}

const parts = process.argv.slice(2);
const unknown = parts.filter((part) => !(part in PARTS));
if (unknown.length > 0 || !(MINUTES > 0)) {
  console.error(`parts are ${Object.keys(PARTS).join(', ')}; MINUTES is a number above 0`);
  process.exit(2);
}
let failed = false;
for (const part of parts.length > 0 ? parts : Object.keys(PARTS)) {
  const result = run(part);
  failed ||= !result.passed;
  const known = JSON.parse(readFileSync(FIGURES, 'utf8'));
  const merged = { ...known, [part]: result };
  const figures = Object.fromEntries(
    Object.keys(PARTS)
      .filter((name) => name in merged)
      .map((name) => [name, merged[name]]),
  );
  writeFileSync(FIGURES, `${JSON.stringify(figures, null, 2)}\n`);
  writeCard(figures);
}
process.exit(failed ? 1 : 0);
