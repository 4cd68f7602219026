// Goal: whatever several users do to a pool, whatever its devices refuse and whenever the power goes, it
// holds what was acknowledged and nothing that was never asked for; and a lifetime that fails is made short.
// Method: lifetimes drawn from seeds, a slice of the exhaustive sequences, and devices whose flushes lie, which
// no store survives: that must be found, and be a few steps in the end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SEED } from '../crash/sweep.ts';
import { CONFIGS, sweepSequences } from './exhaustive.ts';
import { addCounts, play } from './play.ts';
import { drawScript, formatScript, parseScript, type Script } from './script.ts';
import { failureOf, shrink } from './shrink.ts';

const LIFETIMES = 120;
/** Which short sequences have their turn. */
const TURN = Number(process.env['SEED'] ?? Date.now() % 1e6);
/** Memory was taken away, and the reaper gave some back. */
const EXPECTED = [
  'commit',
  'scrub',
  'grow',
  'add-staging',
  'fill-up',
  'crashed',
  'killed',
  'evicted',
]
  .concat([
    'use-map',
    'map-and-reuse',
    'commit-and-delete',
    'delete-twice',
    'close-handle',
    'quiet',
  ])
  .concat(['held', 'wrong devices', 'closed abruptly', 'crashed at close', 'recovery cut']);

test('pool lifetimes, each from its own seed', async (t) => {
  const seen = new Map<string, number>();
  let images = 0;
  for (let seed = SEED; seed < SEED + LIFETIMES; seed++) {
    const script = drawScript(seed);
    const played = await play(script).catch((error: unknown) => {
      throw new Error(`SEED=${seed}: ${String(error)}\n${formatScript(script)}`, { cause: error });
    });
    images += played.images;
    addCounts(seen, played.seen);
  }
  t.diagnostic(`${images} images; ${JSON.stringify(Object.fromEntries(seen))}`);
  for (const what of EXPECTED) assert.ok((seen.get(what) ?? 0) > 0, `${what} was among it`);
});

test('a script is played the same each time, and after it was printed and read', async () => {
  for (let seed = SEED; seed < SEED + 10; seed++) {
    const script = drawScript(seed);
    const again = parseScript(formatScript(script));
    assert.deepEqual(await play(again), await play(script), `SEED=${seed}`);
  }
});

test('short sequences: all cuts, survivors as far as they can be counted', async (t) => {
  for (const [name, config] of Object.entries(CONFIGS)) {
    const slice = { config, seconds: Infinity, subsetsMax: 16, offset: TURN };
    const two = await sweepSequences({ ...slice, depth: 2, every: 40 });
    const three = await sweepSequences({ ...slice, depth: 3, from: 90, every: 500 });
    t.diagnostic(`${name} from ${TURN}: ${JSON.stringify(two)}, ${JSON.stringify(three)}`);
    assert.ok(two.sequences > 0 && two.images + three.images > 20);
  }
});

test('of a lifetime that fails, a few steps are left, and fail alike', async (t) => {
  const rule = { op: 'flush', times: 1e9, effect: { kind: 'lost' } } as const;
  for (let seed = SEED; seed < SEED + 100; seed++) {
    const drawn = drawScript(seed);
    const steps = [{ kind: 'fault', user: -1, rule } as const, ...drawn.steps];
    const script: Script = { ...drawn, steps };
    const failure = await failureOf(script);
    if (failure === undefined || steps.length < 20) continue;
    const { script: short, tries } = await shrink(script, { ms: Infinity });
    t.diagnostic(`${steps.length} steps, ${short.steps.length} after ${tries} tries: ${failure}`);
    assert.ok(short.steps.length <= 8, formatScript(short));
    assert.equal(await failureOf(parseScript(formatScript(short))), failure);
    return;
  }
  assert.fail('flushes that lie are found');
});
