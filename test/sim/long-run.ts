// Many pool lifetimes, each from its own seed, for as long as is asked:
//   SIM_SECONDS=300 npm run sim     SEED=1234 … starts (and with SIM_SECONDS=0 stays) there
//   SCRIPT=file npm run sim         plays a script again
//   npm run sim -- nightly          on all processors (or SIM_JOBS), for eight hours or SIM_SECONDS
//   npm run sim -- exhaustive       short sequences, all crash points, all survivors
//     CONFIG=both-4096  one of the configurations; DEPTH=2 shorter sequences
//     PART=1/4 EXHAUSTIVE_FROM=200  every fourth of them; from that one on
// A lifetime that fails is made short and printed as a script.
import { readFileSync } from 'node:fs';
import { CONFIGS, sweepSequences } from './exhaustive.ts';
import { liveOne } from './lifetimes.ts';
import { runNightly } from './nightly.ts';
import { play } from './play.ts';
import { parseScript } from './script.ts';
import { lineOf, noSum, tableOf } from './totals.ts';

const FAILURES_MAX = 3;
const NIGHT_SECONDS = 8 * 3600;

const { env } = process;

async function runSeeds(seconds: number, first: number): Promise<number> {
  const beginMs = performance.now();
  const sum = noSum();
  console.log(`seeds from ${first}, for ${seconds} s`);
  for (let seed = first; sum.failures < FAILURES_MAX; seed++) {
    const failure = await liveOne(seed, sum);
    if (failure !== undefined) console.error(failure);
    if (performance.now() - beginMs >= seconds * 1000) break;
  }
  console.log(tableOf(sum));
  console.log(lineOf(sum, (performance.now() - beginMs) / 1000));
  return sum.failures;
}

async function runExhaustive(seconds: number): Promise<void> {
  const [part = 1, parts = 1] = (env['PART'] ?? '1/1').split('/').map(Number);
  const names = Object.keys(CONFIGS).filter((name) => name === (env['CONFIG'] ?? name));
  for (const name of names) {
    const total = await sweepSequences({
      config: CONFIGS[name]!,
      seconds: seconds / names.length,
      depth: Number(env['DEPTH'] ?? 3),
      every: parts,
      offset: part - 1,
      from: Number(env['EXHAUSTIVE_FROM'] ?? 0),
      onMinute: (now) => console.log(`${name}: ${JSON.stringify(now)}`),
    });
    console.log(`${name}: ${JSON.stringify(total)}`);
  }
}

const first = Number(env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const seconds = env['SIM_SECONDS'] === undefined ? undefined : Number(env['SIM_SECONDS']);
if (env['SCRIPT'] !== undefined) {
  const played = await play(parseScript(readFileSync(env['SCRIPT'], 'utf8')));
  console.log(JSON.stringify({ ...played, seen: Object.fromEntries(played.seen) }));
} else if (process.argv.includes('exhaustive')) {
  await runExhaustive(seconds ?? Infinity);
} else if (process.argv.includes('nightly')) {
  const { failures } = await runNightly({
    seconds: seconds ?? NIGHT_SECONDS,
    firstSeed: first,
    failuresPath: env['SIM_FAILURES'] ?? 'build/sim-failures.txt',
    ...(env['SIM_JOBS'] !== undefined && { jobs: Number(env['SIM_JOBS']) }),
  });
  if (failures > 0) process.exitCode = 1;
} else if ((await runSeeds(seconds ?? 60, first)) > 0) process.exitCode = 1;
