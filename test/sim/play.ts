// Plays a script on a simulated machine, against the model.
import { MpoolError } from '../../src/base/errors.ts';
import { SeededPrng } from '../../src/base/prng.ts';
import { renamePool } from '../../src/pool/administer.ts';
import {
  allSurvive,
  allSurviveBut,
  noneSurvive,
  onlySurvive,
  prefixSurvives,
  randomSurvive,
  type SimHost,
  type SurvivorPolicy,
} from '../../src/testing/index.ts';
import type { PoolModel } from '../crash/model.ts';
import { CAPACITY, FILE, MIB, Rig } from '../crash/rig.ts';
import { newPool } from '../crash/sweep.ts';
import { closeClean, settleOn, verifyPool } from '../crash/verify.ts';
import { User, World } from './actions.ts';
import { type End, type Script, type Step, USERS } from './script.ts';

export interface Played {
  actions: number;
  errors: number;
  operations: number;
  images: number;
  traceHash: number;
  /** How many of each action succeeded, errors by their code, ends of machines. */
  seen: Map<string, number>;
}

const WHERE = { places: ['/pool'], blockDevices: true };

/** @throws when the pool is not as the model says */
export async function play(script: Script): Promise<Played> {
  const { shape, steps } = script;
  const total: Played = {
    actions: 0,
    errors: 0,
    operations: 0,
    images: 0,
    traceHash: 0,
    seen: new Map(),
  };
  const { devices, spareDisk, sectorBytes, seed } = shape;
  const scenario = { devices, spareDisk, sizeBytes: shape.sizeMib * MIB };
  const made = await newPool(scenario, sectorBytes, seed);
  const { model } = made;
  model.sizes = [made.host.disk(devices === 'file' ? FILE : CAPACITY).sizeBytes];
  let host = made.host;
  let epoch: Step[] = [];
  for (const step of [...steps, LAST]) {
    if (step.kind !== 'end') {
      epoch.push(step);
      continue;
    }
    if (epoch.length > 0) host = await playEpoch(host, model, epoch, step.end, total);
    epoch = [];
  }
  return total;
}

/** For scripts that were cut short. */
const LAST: Step = { kind: 'end', end: { how: 'crash', survivors: ['none'], verify: 'light' } };

async function playEpoch(
  host: SimHost,
  model: PoolModel,
  steps: Step[],
  end: End,
  total: Played,
): Promise<SimHost> {
  const world = new World();
  let rig: Rig | undefined;
  let next: SimHost | undefined;
  try {
    for (const step of steps) await beforeOpening(host, model, step, world);
    rig = await Rig.open(host, model);
    await playUsers(rig, steps, world);
    if (end.how === 'kill' && !host.powerIsCut) next = await kill(host, rig, model);
    else if (end.how === 'close' && !host.powerIsCut) await closeClean(rig);
    // Of a pool that the power leaves in use, nothing more is written.
    else {
      host.cutPower();
      await rig.closeAfterCut();
    }
  } catch (error) {
    if (!(error instanceof MpoolError)) throw error;
    await rig?.closeAfterCut();
  }
  if (host.liveBufferCount !== 0) throw new Error(`${host.liveBufferCount} buffers leaked`);
  total.actions += world.actions;
  total.errors += world.errors;
  total.operations += host.operationCount;
  total.traceHash = (Math.imul(total.traceHash, 31) + host.trace.hash) >>> 0;
  const crashed = next === undefined && (end.how === 'crash' || host.powerIsCut);
  world.see(rig === undefined ? 'never opened' : crashed ? 'crashed' : end.how);
  addCounts(total.seen, world.seen);
  const images = crashed
    ? end.survivors.map((name) => host.crash({ survivors: survivorsOf(name) }))
    : [next ?? host.clone()];
  for (const image of images.slice(0, -1)) await verify(image, model.clone(), end);
  const last = images.at(-1)!;
  last.clearFaults();
  await verify(last, model, end);
  total.images += images.length;
  return last;
}

export function addCounts(to: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [name, count] of counts) to.set(name, (to.get(name) ?? 0) + count);
}

async function verify(image: SimHost, model: PoolModel, end: End): Promise<void> {
  if (end.verify === 'light') await settleOn(image, model);
  else await verifyPool(image, model);
}

async function beforeOpening(
  host: SimHost,
  model: PoolModel,
  step: Step,
  world: World,
): Promise<void> {
  if (step.kind === 'cut' && step.user < 0) host.cutPowerAfter(step.operations);
  if (step.kind === 'fault' && step.user < 0) {
    world.faulty = true;
    host.addFault(step.rule);
  }
  if (step.kind !== 'rename' || model.names.includes(step.name)) return;
  const done = model.rename(step.name);
  const path = host.paths.includes(CAPACITY) ? CAPACITY : FILE;
  await renamePool(host.environment, path, step.name, WHERE);
  done();
}

/** Each user takes its steps one after the other, beside the others. */
async function playUsers(rig: Rig, steps: readonly Step[], world: World): Promise<void> {
  const { host, store } = rig;
  const users = Array.from({ length: USERS }, (_, number) => ({
    user: new User(number === 0 ? rig : rig.another(), world),
    steps: steps.filter((step) => 'user' in step && step.user === number),
  }));
  await Promise.all(
    users.map(async ({ user, steps: own }) => {
      for (const step of own) {
        if (host.powerIsCut || store.failure !== null) return;
        if (step.kind === 'cut') host.cutPowerAfter(step.operations);
        if (step.kind === 'fault') {
          world.faulty = true;
          host.addFault(step.rule);
        }
        if (step.kind === 'act') await user.act(step.action, new SeededPrng(step.seed));
      }
    }),
  );
}

/** The process is gone without a word; what it wrote is in the device's cache. */
async function kill(host: SimHost, rig: Rig, model: PoolModel): Promise<SimHost> {
  while (host.inFlightCount > 0) await host.clock.advance(1);
  const next = host.clone();
  const kept = model.clone();
  await rig.close().catch(() => {});
  Object.assign(model, kept);
  return next;
}

/** @throws SyntaxError */
export function survivorsOf(name: string): SurvivorPolicy {
  const [word, argument] = name.split(' ');
  const number = Number(argument ?? 0);
  switch (word) {
    case 'none':
      return noneSurvive;
    case 'all':
      return allSurvive;
    case 'odd':
      return { name, survives: (_, piece) => piece % 2 === 1 };
    case 'prefix':
      return prefixSurvives(number);
    case 'only':
      return onlySurvive([number]);
    case 'but':
      return allSurviveBut([number]);
    case 'random':
      return randomSurvive(number);
    default:
      throw new SyntaxError(`no survivors: ${name}`);
  }
}
