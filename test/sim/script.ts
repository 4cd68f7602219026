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
  /** Of the capacity class; 1 by default. */
  mblockMib?: number;
}

/** How a machine or a pool ends; what follows runs on what is left of it. */
export interface End {
  how: 'crash' | 'close' | 'kill';
  /** Of a crash: each of them is an image that is verified, and the last one goes on. */
  survivors: string[];
  verify: 'light' | 'full';
  /** Of a close: what is under way is not waited for. */
  abrupt?: boolean;
  /** Of a close: the power goes that many operations after it began. */
  cutAfter?: number;
  /** Of a close: set before it begins. */
  fault?: DrawnFault;
  /** Recovery of what is left is itself cut after so many operations, and must not have done harm. */
  recoveryCutAfter?: number;
}

export interface DrawnFault {
  rule: FaultRule;
  /** Of operations that are held: after so much time they go on. */
  releaseMs?: number;
}

/** Which devices somebody tries to open the pool with, before it is opened with the right ones. */
export const WRONG_DEVICES = ['missing', 'blank', 'swapped', 'cloned', 'stale', 'shrunk'] as const;
export type WrongDevices = (typeof WRONG_DEVICES)[number];

export type Step =
  /** By the user of that number; all that is random in it comes from the seed. */
  | { kind: 'act'; user: number; action: string; seed: number; overlapped?: boolean }
  /** The power goes that many operations after the user got here. */
  | { kind: 'cut'; user: number; operations: number }
  | ({ kind: 'fault'; user: number } & DrawnFault)
  /** Before the pool is opened. */
  | { kind: 'rename'; name: string }
  | { kind: 'devices'; wrong: WrongDevices }
  | { kind: 'end'; end: End };

export interface Script {
  shape: PoolShape;
  steps: Step[];
}

export const USERS = 4;

export function formatScript({ shape, steps }: Script): string {
  return [`pool ${JSON.stringify(shape)}`, ...steps.map(formatStep)].join('\n') + '\n';
}

function formatStep(step: Step): string {
  switch (step.kind) {
    case 'act':
      return `${step.user} ${step.overlapped === true ? '&' : ''}${step.action} ${step.seed}`;
    case 'cut':
      return `${step.user} cut-power-after ${step.operations}`;
    case 'fault':
      return `${step.user} fault ${JSON.stringify({ rule: step.rule, releaseMs: step.releaseMs })}`;
    case 'devices':
      return `devices ${step.wrong}`;
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
  if (word === 'devices') return { kind: 'devices', wrong: name as WrongDevices };
  if (word === 'end') return { kind: 'end', end: JSON.parse(line.slice(4)) as End };
  const user = Number(word);
  const rest = more.join(' ');
  if (!Number.isSafeInteger(user) || rest === '') throw new SyntaxError(`no step: ${line}`);
  if (name === 'cut-power-after') return { kind: 'cut', user, operations: Number(rest) };
  if (name === 'fault') return { kind: 'fault', user, ...(JSON.parse(rest) as DrawnFault) };
  const seed = Number(rest);
  if (!name.startsWith('&')) return { kind: 'act', user, action: name, seed };
  return { kind: 'act', user, action: name.slice(1), seed, overlapped: true };
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
    mblockMib: chance(prng, 0.2) ? 2 : 1,
  };
  const faults = chance(prng, 0.6);
  const steps: Step[] = [];
  for (let epochs = 1 + below(prng, 3); epochs > 0; epochs--) {
    steps.push(...drawEpoch(prng, faults));
  }
  return { shape, steps };
}

function drawEpoch(prng: SeededPrng, faults: boolean): Step[] {
  const steps: Step[] = [];
  const count = 3 + below(prng, chance(prng, 0.2) ? 60 : 20);
  const how = chance(prng, 0.65) ? 'crash' : chance(prng, 0.6) ? 'close' : 'kill';
  const cutAt = how === 'crash' && chance(prng, 0.85) ? below(prng, count) : -1;
  const faultAt = faults && chance(prng, 0.5) ? below(prng, count) : -1;
  // Of half of the epochs nothing is overlapped: that says more about what a user must be told, and when.
  const overlaps = chance(prng, 0.5) ? 0.4 : 0;
  const aboutMemory = chance(prng, 0.15);
  if (chance(prng, 0.06)) {
    const wrong = WRONG_DEVICES[below(prng, WRONG_DEVICES.length)]!;
    steps.push({ kind: 'devices', wrong });
  }
  // The power may go while the pool is renamed or activated, too.
  if (chance(prng, 0.08)) steps.push({ kind: 'rename', name: `p${below(prng, 1000)}` });
  for (let i = 0; i < count; i++) {
    const user = below(prng, USERS);
    const operations = 1 + below(prng, chance(prng, 0.5) ? 8 : 40);
    const early = i === 0 || chance(prng, 0.1);
    if (i === cutAt) steps.push({ kind: 'cut', user: early ? -1 : user, operations });
    if (i === faultAt) {
      steps.push({ kind: 'fault', user: chance(prng, 0.2) ? -1 : user, ...drawFault(prng) });
    }
    const action = drawAction(prng, aboutMemory);
    const step: Step = { kind: 'act', user, action, seed: prng.u32() };
    if (chance(prng, overlaps)) step.overlapped = true;
    steps.push(step);
  }
  steps.push({ kind: 'end', end: drawEnd(prng, how, faults) });
  return steps;
}

function drawEnd(prng: SeededPrng, how: End['how'], faults: boolean): End {
  const survivors = Array.from({ length: 1 + below(prng, 3) }, () => drawSurvivors(prng));
  const end: End = { how, survivors, verify: chance(prng, 0.15) ? 'full' : 'light' };
  if (chance(prng, 0.1)) end.recoveryCutAfter = 1 + below(prng, 8);
  if (how !== 'close') return end;
  if (chance(prng, 0.3)) end.abrupt = true;
  if (chance(prng, 0.3)) end.cutAfter = 1 + below(prng, 6);
  if (faults && chance(prng, 0.3)) end.fault = drawFault(prng, 4);
  return end;
}

const TOTAL_WEIGHT = Object.values(ACTION_WEIGHTS).reduce((sum, weight) => sum + weight, 0);

/** Of epochs in which memory is short most of the time. */
const ABOUT_MEMORY = ['commit', 'commit', 'starve', 'starve', 'use-map', 'keep-map', 'delete'];

function drawAction(prng: SeededPrng, aboutMemory: boolean): string {
  if (aboutMemory && chance(prng, 0.7)) return ABOUT_MEMORY[below(prng, ABOUT_MEMORY.length)]!;
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

/** @param firstMax the first operation hit is no later than that */
function drawFault(prng: SeededPrng, firstMax = 20): DrawnFault {
  const lands = (['none', 'some', 'all'] as const)[below(prng, 3)]!;
  const nth = 1 + below(prng, firstMax);
  const times = chance(prng, 0.3) ? 1e9 : 1;
  const delayMs = chance(prng, 0.8) ? 30 : 30_000;
  const op = (['write', 'flush', 'read', 'discard'] as const)[below(prng, 4)]!;
  const rules: FaultRule[] = [
    { op: 'write', nth, times, effect: { kind: 'error', lands } },
    { op: 'write', nth, times, effect: { kind: 'error', errno: 'ENOSPC' } },
    { op: 'write', durability: 'durable', nth, times, effect: { kind: 'error', lands } },
    { op: 'write', nth, effect: { kind: 'torn' } },
    { op: 'flush', nth: 1 + below(prng, 8), times, effect: { kind: 'error' } },
    { op: 'discard', times, effect: { kind: 'error' } },
    { op: 'read', nth, times, effect: { kind: 'error' } },
    { op: ['grow', 'open', 'peek'], times, effect: { kind: 'error', errno: 'ENOSPC' } },
    { op: 'map', times, effect: { kind: 'error', errno: 'ENOMEM' } },
    { op: 'cache', nth, times, effect: { kind: 'error' } },
    { op: 'cache', nth, times, effect: { kind: 'lost' } },
    { op, nth, times: 20, effect: { kind: 'delay', delayMs } },
    { op, nth, times: 1 + below(prng, 5), effect: { kind: 'hold' } },
    { op: ['write', 'flush', 'read'], nth, times: 1 + below(prng, 5), effect: { kind: 'hold' } },
  ];
  const rule = rules[below(prng, rules.length)]!;
  if (rule.effect.kind !== 'hold') return { rule };
  return { rule, releaseMs: 1 + below(prng, chance(prng, 0.7) ? 50 : 20_000) };
}
