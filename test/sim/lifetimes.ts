// Lifetimes from one seed on, one after the other; of those that fail, what is left of them once made short.
import { isDeepStrictEqual } from 'node:util';
import { play, type Played } from './play.ts';
import { drawScript, formatScript } from './script.ts';
import { failureOf, shrink } from './shrink.ts';
import { addPlayed, type Sum } from './totals.ts';

const SHRINK_MS = 60_000;
/** Played twice, to see that it is the same: I17. */
const TWICE_EVERY = 64;

/** @returns what to print and to keep of a lifetime that failed */
export async function liveOne(seed: number, sum: Sum): Promise<string | undefined> {
  const script = drawScript(seed);
  let first: Played | undefined;
  let failure = await failureOf(script, (played) => (first = played));
  if (first !== undefined) addPlayed(sum, first);
  sum.lifetimes += 1;
  if (failure === undefined && seed % TWICE_EVERY === 0) {
    if (!isDeepStrictEqual(await play(script), first)) failure = 'I17: not the same twice';
  }
  if (failure === undefined) return undefined;
  sum.failures += 1;
  const { script: short, tries } = await shrink(script, { ms: SHRINK_MS });
  const count = `${script.steps.length} steps made ${short.steps.length} in ${tries} tries`;
  return [
    `# SEED=${seed}: ${failure}`,
    `# ${count}; save and play again with SCRIPT=file npm run sim`,
    formatScript(short),
  ].join('\n');
}
