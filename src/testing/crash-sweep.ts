import { below, SeededPrng } from '../base/prng.ts';
import type { SimHost } from './sim-host.ts';
import { survivorPolicies } from './survivors.ts';
import type { SurvivorPolicy, VolatileOperation } from './survivors.ts';

export interface CrashSweep<Context> {
  seed: number;
  /** Makes the host that the scenario starts from, once: devices closed, nothing in flight. */
  prepare(): Promise<SimHost>;
  /** Where a run of the scenario notes what was acknowledged; a new one for each run. */
  context(): Context;
  /**
   * Does the work, on a clone of the prepared host. Once the power is cut, it may fail as it likes, but it
   * must end. Must do the same each time, up to the cut.
   */
  scenario(host: SimHost, context: Context): Promise<void>;
  /** Checks what is left: throws when it is not as it must be. The image is its own. */
  verify(image: SimHost, context: Context, point: CrashPoint): Promise<void>;
  /** What survives; by default survivorPolicies() with a limit of 8 for each cut. */
  policies?: (operations: readonly VolatileOperation[], seed: number) => Iterable<SurvivorPolicy>;
  /** At most so many cuts, chosen by the seed when there are more. All by default. */
  maxCuts?: number;
  /** Only this one: what a failure message says, to replay it. */
  only?: { cut: number; policy?: string };
  /** Real milliseconds after which a scenario that does not end is a failure; 10,000 by default. */
  hangMs?: number;
}

export interface CrashPoint {
  seed: number;
  /** The power went after so many operations were submitted; Infinity: after the scenario ended. */
  cut: number;
  policy: string;
  /** The policy chose among these. */
  operations: readonly VolatileOperation[];
}

export interface CrashSweepResult {
  /** Operations in the scenario. */
  operations: number;
  /** Power cuts tried, the one after its end included. */
  cuts: number;
  /** Crash images verified. */
  images: number;
}

const POLICIES_PER_CUT = 8;

/**
 * Cuts the power after the first operation of a scenario, then in another run after the second … and
 * at last after its end; each time with several choices of what survives. Whatever fails names seed,
 * cut and policy.
 */
export async function sweepCrashes<Context>(sweep: CrashSweep<Context>): Promise<CrashSweepResult> {
  const prepared = await sweep.prepare();
  const whole = await runUntil(sweep, prepared, Infinity);
  const operations = whole.host.operationCount;
  let cuts = 0;
  let images = 0;
  for (const cut of chosenCuts(sweep, operations)) {
    const run = cut === Infinity ? whole : await runUntil(sweep, prepared, cut);
    cuts++;
    images += await verifyAll(sweep, cut, run);
  }
  return { operations, cuts, images };
}

interface Run<Context> {
  host: SimHost;
  context: Context;
}

function chosenCuts<Context>(sweep: CrashSweep<Context>, operations: number): number[] {
  if (sweep.only !== undefined) return [sweep.only.cut];
  const cuts = Array.from({ length: operations }, (_, i) => i + 1);
  const prng = new SeededPrng(sweep.seed);
  const maxCuts = Math.max(1, sweep.maxCuts ?? Infinity);
  while (cuts.length + 1 > maxCuts) cuts.splice(below(prng, cuts.length), 1);
  return [...cuts, Infinity];
}

async function runUntil<Context>(
  sweep: CrashSweep<Context>,
  prepared: SimHost,
  cut: number,
): Promise<Run<Context>> {
  const host = prepared.clone();
  const context = sweep.context();
  if (cut !== Infinity) host.cutPowerAfter(cut);
  try {
    await withinMs(sweep.hangMs ?? 10_000, sweep.scenario(host, context));
  } catch (error) {
    if (error instanceof ScenarioHangs || !host.powerIsCut) {
      throw failure('the scenario fails', { seed: sweep.seed, cut, policy: '-' }, error);
    }
    return { host, context };
  }
  if (cut !== Infinity && !host.powerIsCut) {
    const cause = new Error('it has fewer operations than before: it must do the same each time');
    throw failure('the scenario fails', { seed: sweep.seed, cut, policy: '-' }, cause);
  }
  return { host, context };
}

async function verifyAll<Context>(
  sweep: CrashSweep<Context>,
  cut: number,
  { host, context }: Run<Context>,
): Promise<number> {
  host.cutPower();
  const operations = host.volatileOperations();
  const seed = Math.imul(sweep.seed, 31) + (cut === Infinity ? 0 : cut);
  const policies =
    sweep.policies?.(operations, seed) ??
    survivorPolicies(operations, { limit: POLICIES_PER_CUT, seed });
  let images = 0;
  for (const survivors of policies) {
    const policy = survivors.name;
    if (sweep.only?.policy !== undefined && sweep.only.policy !== policy) continue;
    const point: CrashPoint = { seed: sweep.seed, cut, policy, operations };
    images++;
    try {
      const verified = sweep.verify(host.crash({ survivors }), context, point);
      await withinMs(sweep.hangMs ?? 10_000, verified);
    } catch (error) {
      throw failure('what survived is wrong', point, error);
    }
  }
  return images;
}

class ScenarioHangs extends Error {}

function withinMs<T>(limitMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const alarm = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ScenarioHangs(`no end after ${limitMs} ms`)), limitMs);
  });
  return Promise.race([work, alarm]).finally(() => clearTimeout(timer));
}

function failure(
  what: string,
  { seed, cut, policy }: Pick<CrashPoint, 'seed' | 'cut' | 'policy'>,
  cause: unknown,
): Error {
  const place = `seed ${seed}, only: { cut: ${cut}, policy: '${policy}' }`;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Error(`${what} (${place}): ${reason}`, { cause });
}
