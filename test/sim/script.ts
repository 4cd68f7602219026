// A pool's lifetime as a list of plain steps: drawn from a seed, printed a line each, read back, and cut
// short. Crashes and faults are steps like all others, counted from where they stand: taking other steps
// away leaves them as they are.
import { below, chance, SeededPrng } from '../../src/base/prng.ts';
import type { FaultRule } from '../../src/testing/index.ts';
import { ACTION_WEIGHTS } from './actions.ts';

export interface PoolShape {
  seed: number;
  devices: 'capacity' | 'both' | 'file';
  spareDisk: boolean;
  sectorBytes: 512 | 4096;
  sizeMib: number;
}

/** How a machine or a pool ends; what follows runs on what is left of it. */
export interface End {
  how: 'crash' | 'close' | 'kill';
  /** Of a crash: each of them is an image that is verified, and the last one goes on. */
  survivors: string[];
  verify: 'light' | 'full';
}

export type Step =
  /** By the user of that number; all that is random in it comes from the seed. */
  | { kind: 'act'; user: number; action: string; seed: number }
  /** The power goes that many operations after the user got here. */
  | { kind: 'cut'; user: number; operations: number }
  | { kind: 'fault'; user: number; rule: FaultRule }
  /** Before the pool is opened. */
  | { kind: 'rename'; name: string }
  | { kind: 'end'; end: End };

export interface Script {
  shape: PoolShape;
  steps: Step[];
}

export const USERS = 3;

export function formatScript({ shape, steps }: Script): string {
  return [`pool ${JSON.stringify(shape)}`, ...steps.map(formatStep)].join('\n') + '\n';
}

function formatStep(step: Step): string {
  switch (step.kind) {
    case 'act':
      return `${step.user} ${step.action} ${step.seed}`;
    case 'cut':
      return `${step.user} cut-power-after ${step.operations}`;
    case 'fault':
      return `${step.user} fault ${JSON.stringify(step.rule)}`;
    case 'rename':
      return `rename ${step.name}`;
    default:
      return `end ${JSON.stringify(step.end)}`;
  }
}

/** @throws SyntaxError for what is no script; empty lines and those that begin with # are passed over */
export function parseScript(text: string): Script {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  const [first, ...rest] = lines;
  if (first?.startsWith('pool ') !== true) throw new SyntaxError('a script begins with pool {…}');
  return { shape: JSON.parse(first.slice(5)) as PoolShape, steps: rest.map(parseStep) };
}

function parseStep(line: string): Step {
  const [word = '', name = '', ...more] = line.split(' ');
  if (word === 'rename') return { kind: 'rename', name };
  if (word === 'end') return { kind: 'end', end: JSON.parse(line.slice(4)) as End };
  const user = Number(word);
  const rest = more.join(' ');
  if (!Number.isSafeInteger(user) || rest === '') throw new SyntaxError(`no step: ${line}`);
  if (name === 'cut-power-after') return { kind: 'cut', user, operations: Number(rest) };
  if (name === 'fault') return { kind: 'fault', user, rule: JSON.parse(rest) as FaultRule };
  return { kind: 'act', user, action: name, seed: Number(rest) };
}

export function drawScript(seed: number): Script {
  const prng = new SeededPrng(seed);
  const devices = (['capacity', 'both', 'file'] as const)[below(prng, 3)]!;
  const shape: PoolShape = {
    seed,
    devices,
    spareDisk: devices === 'capacity' && chance(prng, 0.5),
    sectorBytes: chance(prng, 0.5) ? 512 : 4096,
    sizeMib: 4 + below(prng, 12),
  };
  const faults = chance(prng, 0.6);
  const steps: Step[] = [];
  for (let epochs = 1 + below(prng, 3); epochs > 0; epochs--)
    steps.push(...drawEpoch(prng, faults));
  return { shape, steps };
}

function drawEpoch(prng: SeededPrng, faults: boolean): Step[] {
  const steps: Step[] = [];
  const count = 3 + below(prng, chance(prng, 0.2) ? 60 : 20);
  const how = chance(prng, 0.75) ? 'crash' : chance(prng, 0.5) ? 'close' : 'kill';
  const cutAt = how === 'crash' && chance(prng, 0.85) ? below(prng, count) : -1;
  const faultAt = faults && chance(prng, 0.5) ? below(prng, count) : -1;
  // The power may go while the pool is renamed or activated, too.
  if (chance(prng, 0.08)) steps.push({ kind: 'rename', name: `p${below(prng, 1000)}` });
  for (let i = 0; i < count; i++) {
    const user = below(prng, USERS);
    const operations = 1 + below(prng, chance(prng, 0.5) ? 8 : 40);
    if (i === cutAt) steps.push({ kind: 'cut', user: i === 0 ? -1 : user, operations });
    if (i === faultAt) {
      steps.push({ kind: 'fault', user: chance(prng, 0.2) ? -1 : user, rule: drawFault(prng) });
    }
    steps.push({ kind: 'act', user, action: drawAction(prng), seed: prng.u32() });
  }
  const survivors = Array.from({ length: 1 + below(prng, 3) }, () => drawSurvivors(prng));
  const verify = chance(prng, 0.15) ? 'full' : 'light';
  steps.push({ kind: 'end', end: { how, survivors, verify } });
  return steps;
}

const TOTAL_WEIGHT = Object.values(ACTION_WEIGHTS).reduce((sum, weight) => sum + weight, 0);

function drawAction(prng: SeededPrng): string {
  let at = below(prng, TOTAL_WEIGHT);
  for (const [name, weight] of Object.entries(ACTION_WEIGHTS)) {
    at -= weight;
    if (at < 0) return name;
  }
  return 'commit';
}

function drawSurvivors(prng: SeededPrng): string {
  const number = below(prng, 12);
  const names = ['none', 'all', 'odd', `prefix ${number}`, `only ${number}`, `but ${number}`];
  const at = below(prng, 10);
  return names[at] ?? `random ${prng.u32()}`;
}

function drawFault(prng: SeededPrng): FaultRule {
  const lands = (['none', 'some', 'all'] as const)[below(prng, 3)]!;
  const nth = 1 + below(prng, 20);
  const times = chance(prng, 0.3) ? 1e9 : 1;
  const rules: FaultRule[] = [
    { op: 'write', nth, times, effect: { kind: 'error', lands } },
    { op: 'write', nth, times, effect: { kind: 'error', errno: 'ENOSPC' } },
    { op: 'write', durability: 'durable', nth, times, effect: { kind: 'error', lands } },
    { op: 'write', nth, effect: { kind: 'torn' } },
    { op: 'flush', nth: 1 + below(prng, 8), times, effect: { kind: 'error' } },
    { op: 'discard', times, effect: { kind: 'error' } },
    { op: 'read', nth, times, effect: { kind: 'error' } },
    { op: 'write', nth, times: 20, effect: { kind: 'delay', delayMs: 30 } },
    { op: 'flush', nth, times: 20, effect: { kind: 'delay', delayMs: 30 } },
    { op: 'read', nth, times: 20, effect: { kind: 'delay', delayMs: 30 } },
  ];
  return rules[below(prng, rules.length)]!;
}
