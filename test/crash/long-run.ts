// Many pool lifetimes, each from its own seed, for as long as is asked:
//   SIM_SECONDS=300 npm run sim     SEED=1234 … starts (and with SIM_SECONDS=0 stays) there
//   SCRIPT=file npm run sim         plays a script again
//   npm run sim -- exhaustive       short sequences, all crash points, all survivors
// A lifetime that fails is made short and printed as a script.
import { readFileSync } from 'node:fs';
import { sweepSequences } from '../sim/exhaustive.ts';
import { addCounts, play, type Played } from '../sim/play.ts';
import { drawScript, formatScript, parseScript, type Script } from '../sim/script.ts';
import { failureOf, shrink } from '../sim/shrink.ts';

const SHRINK_MS = 60_000;
const FAILURES_MAX = 3;

async function tell(script: Script): Promise<void> {
  const { script: short, tries } = await shrink(script, { ms: SHRINK_MS });
  const count = `${script.steps.length} steps made ${short.steps.length} in ${tries} tries`;
  console.error(`# ${count}; save and play again with SCRIPT=file npm run sim`);
  console.error(formatScript(short));
}

async function runSeeds(seconds: number, first: number): Promise<number> {
  const beginMs = performance.now();
  const totals: Played & { lifetimes: number } = {
    lifetimes: 0,
    actions: 0,
    errors: 0,
    operations: 0,
    images: 0,
    traceHash: 0,
    seen: new Map(),
  };
  let failed = 0;
  console.log(`seeds from ${first}, for ${seconds} s`);
  for (let seed = first; failed < FAILURES_MAX; seed++) {
    const script = drawScript(seed);
    const failure = await failureOf(script, (played) => {
      for (const name of ['actions', 'errors', 'operations', 'images'] as const) {
        totals[name] += played[name];
      }
      addCounts(totals.seen, played.seen);
      totals.traceHash = (Math.imul(totals.traceHash, 31) + played.traceHash) >>> 0;
    });
    totals.lifetimes += 1;
    if (failure !== undefined) {
      failed += 1;
      console.error(`SEED=${seed}: ${failure}`);
      await tell(script);
    }
    if (performance.now() - beginMs >= seconds * 1000) break;
  }
  const minutes = (performance.now() - beginMs) / 60_000;
  console.log(JSON.stringify({ ...totals, seen: Object.fromEntries(totals.seen) }));
  const perMinute = (count: number): string => `${Math.round(count / minutes)}`;
  console.log(
    `a minute: ${perMinute(totals.lifetimes)} lifetimes, ${perMinute(totals.operations)} ` +
      `operations, ${perMinute(totals.images)} crash images`,
  );
  return failed;
}

const { SCRIPT: scriptPath, SEED: given } = process.env;
const seconds = Number(process.env['SIM_SECONDS'] ?? 60);
if (scriptPath !== undefined) {
  const played = await play(parseScript(readFileSync(scriptPath, 'utf8')));
  console.log(JSON.stringify({ ...played, seen: Object.fromEntries(played.seen) }));
} else if (process.argv.includes('exhaustive')) {
  console.log(JSON.stringify(await sweepSequences({ seconds, depth: 3 })));
} else {
  const first = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
  if ((await runSeeds(seconds, first)) > 0) process.exitCode = 1;
}
