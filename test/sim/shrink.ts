// Makes a failing script short: takes away what it fails without, then makes numbers small (delta debugging:
// Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).
import { play, type Played } from './play.ts';
import type { Script, Step } from './script.ts';

const HANG_MS = 20_000;

/** What is the same of two failures of one kind: their words, not their numbers. */
export async function failureOf(
  script: Script,
  onEnd: (played: Played) => void = () => {},
): Promise<string | undefined> {
  let alarm: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    alarm = setTimeout(() => reject(new Error('I18: no end')), HANG_MS);
  });
  try {
    onEnd(await Promise.race([play(script), hang]));
    return undefined;
  } catch (error) {
    return kindOf(error);
  } finally {
    clearTimeout(alarm);
  }
}

export function kindOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const words = text.replaceAll(/0x[0-9a-f]+|\d{2,}|\b\d\b/g, '#').split('\n')[0]!;
  return /\bI\d+\b/.exec(text)?.[0] ?? words.slice(0, 60);
}

export interface Shrunk {
  script: Script;
  tries: number;
}

/** @param limits real time after which what there is must do */
export async function shrink(script: Script, limits: { ms: number }): Promise<Shrunk> {
  const failure = await failureOf(script);
  if (failure === undefined) return { script, tries: 1 };
  const endMs = performance.now() + limits.ms;
  let tries = 1;
  let best = script.steps;
  const fails = async (steps: Step[]): Promise<boolean> => {
    if (performance.now() > endMs) return false;
    tries += 1;
    if ((await failureOf({ ...script, steps })) !== failure) return false;
    best = steps;
    return true;
  };
  for (let before = Infinity; best.length < before;) {
    before = best.length;
    await dropChunks(() => best, fails);
    await lowerNumbers(() => best, fails);
  }
  return { script: { ...script, steps: best }, tries };
}

type Fails = (steps: Step[]) => Promise<boolean>;

async function dropChunks(now: () => Step[], fails: Fails): Promise<void> {
  for (let size = Math.ceil(now().length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = now().length - size; at > -size; at -= size) {
      const steps = now();
      const start = Math.max(0, at);
      if (start >= steps.length) continue;
      await fails([...steps.slice(0, start), ...steps.slice(start + size)]);
    }
  }
}

async function lowerNumbers(now: () => Step[], fails: Fails): Promise<void> {
  for (let at = 0; at < now().length; at++) {
    for (const simpler of simplerThan(now()[at]!)) {
      if (await fails(now().map((step, i) => (i === at ? simpler : step)))) break;
    }
  }
}

/** The simplest first. */
function* simplerThan(step: Step): Generator<Step> {
  if ('user' in step && step.user > 0) yield { ...step, user: 0 };
  if (step.kind === 'act' && step.overlapped === true) {
    const { kind, user, action, seed } = step;
    yield { kind, user, action, seed };
  }
  if (step.kind === 'cut') {
    for (let operations = 1; operations < step.operations; operations++) {
      yield { ...step, operations };
    }
  }
  if (step.kind !== 'end') return;
  const { end } = step;
  for (const name of ['abrupt', 'cutAfter', 'fault', 'recoveryCutAfter'] as const) {
    if (end[name] === undefined) continue;
    const simpler = { ...end };
    delete simpler[name];
    yield { ...step, end: simpler };
  }
  if (end.verify === 'full') yield { ...step, end: { ...end, verify: 'light' } };
  for (const name of end.survivors.length > 1 ? end.survivors : []) {
    yield { ...step, end: { ...end, survivors: [name] } };
  }
  for (const name of ['none', 'all']) {
    if (end.survivors.length > 1 || end.survivors[0] !== name) {
      yield { ...step, end: { ...end, survivors: [name] } };
    }
  }
}
