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
import { checkUsage, closeClean, settleOn, verifyPool } from '../crash/verify.ts';
import { User } from './actions.ts';
import { allOver } from './choices.ts';
import { checkGone, checkMaps, endMap, watchEvictions } from './held-maps.ts';
import { type End, type Script, type Step, USERS } from './script.ts';
import { World } from './world.ts';
import { tryWrongDevices } from './wrong-devices.ts';
import { tally } from '../tally.ts';

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
  tally('lifetimes simulated');
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
  const { mblockMib = 1 } = shape;
  const scenario = { devices, spareDisk, sizeBytes: shape.sizeMib * MIB, mblockMib };
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

const ENDS = { crash: 'ended', close: 'closed', kill: 'killed' };

/** The machine, and what is left of it. */
interface Left {
  crashed: boolean;
  /** Of a process that was killed: the machine without it. */
  next?: SimHost;
}

async function playEpoch(
  host: SimHost,
  model: PoolModel,
  steps: Step[],
  end: End,
  total: Played,
): Promise<SimHost> {
  const world = new World();
  let rig: Rig | undefined;
  let left: Left = { crashed: false };
  try {
    for (const step of steps) await beforeOpening(host, model, step, world);
    rig = await Rig.open(host, model);
    watchEvictions(rig, world);
    await playUsers(rig, steps, world);
    left = await endOf(rig, world, end);
  } catch (error) {
    if (!(error instanceof MpoolError)) throw error;
    await rig?.closeAfterCut();
  }
  await world.drain();
  if (host.liveBufferCount !== 0) throw new Error(`${host.liveBufferCount} buffers leaked`);
  world.countFaults();
  total.actions += world.actions;
  total.errors += world.errors;
  total.operations += host.operationCount;
  total.traceHash = (Math.imul(total.traceHash, 31) + host.trace.hash) >>> 0;
  const crashed = left.crashed || (left.next === undefined && host.powerIsCut);
  world.see(rig === undefined ? 'never opened' : crashed ? 'crashed' : ENDS[end.how]);
  world.see('evicted', host.environment.mcache.reaper.stats().evictedObjects);
  addCounts(total.seen, world.seen);
  const images = crashed
    ? end.survivors.map((name) => host.crash({ survivors: survivorsOf(name) }))
    : [left.next ?? host.clone()];
  total.images += images.length;
  tally('actions simulated', world.actions);
  tally('crash images simulated', images.length);
  return verifyAll(images, model, end, total);
}

/** @returns the last of them, with which the model then agrees */
async function verifyAll(
  images: readonly SimHost[],
  model: PoolModel,
  end: End,
  total: Played,
): Promise<SimHost> {
  for (const image of images.slice(0, -1)) await verify(image, model.clone(), end);
  const last = images.at(-1)!;
  last.clearFaults();
  if (end.recoveryCutAfter !== undefined) {
    const cut = last.clone();
    cut.cutPowerAfter(end.recoveryCutAfter);
    await settleOn(cut, model.clone()).catch((error: unknown) => {
      if (!(error instanceof MpoolError)) throw error;
    });
    const survivors = survivorsOf(end.survivors[0]!);
    await verify(cut.crash({ survivors }), model.clone(), end);
    total.images += 1;
    addCounts(total.seen, new Map([['recovery cut', 1]]));
  }
  await verify(last, model, end);
  return last;
}

async function endOf(rig: Rig, world: World, end: End): Promise<Left> {
  const { host, model } = rig;
  if (host.powerIsCut) {
    await rig.closeAfterCut();
    return { crashed: true };
  }
  if (end.how === 'kill') return { crashed: false, next: await kill(rig, world) };
  if (end.how === 'crash') {
    host.cutPower();
    await rig.closeAfterCut();
    return { crashed: true };
  }
  if (end.abrupt !== true) {
    await world.drain();
    if (!world.faulty && !host.powerIsCut) await checkQuiet(rig, world);
  }
  if (end.fault !== undefined) world.addFault(host, end.fault.rule, end.fault.releaseMs);
  if (end.cutAfter !== undefined) host.cutPowerAfter(end.cutAfter);
  if (end.cutAfter === undefined) await closeClean(rig);
  else await rig.closeAfterCut();
  for (const held of world.maps) checkGone(held);
  model.leakedBuffers = 0;
  if (end.abrupt === true) world.see('closed abruptly');
  if (host.powerIsCut) world.see('crashed at close');
  return { crashed: host.powerIsCut };
}

/** Nobody does anything: what maps and counters say is what is there. */
async function checkQuiet(rig: Rig, world: World): Promise<void> {
  await checkMaps(rig, world);
  await allOver(world.maps.splice(0).map((held) => endMap(held)));
  // What is being discarded counts as used.
  await allOver(rig.store.allMedia.map((media) => media.yieldDiscards()));
  await checkUsage(rig);
  world.see('quiet');
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
  if (step.kind === 'fault' && step.user < 0) world.addFault(host, step.rule, step.releaseMs);
  if (step.kind === 'devices') await tryWrongDevices(host, model, step.wrong, world);
  if (step.kind !== 'rename' || model.names.includes(step.name)) return;
  const done = model.rename(step.name);
  const path = host.paths.includes(CAPACITY) ? CAPACITY : FILE;
  await renamePool(host.environment, path, step.name, WHERE);
  done();
}

/** Each user takes its steps one after the other, beside the others, and does not wait for some. */
async function playUsers(rig: Rig, steps: readonly Step[], world: World): Promise<void> {
  const { host, store } = rig;
  const users = Array.from({ length: USERS }, (_, number) => ({
    user: new User(rig, world, number === 0),
    steps: steps.filter((step) => 'user' in step && step.user === number),
  }));
  await allOver(
    users.map(async ({ user, steps: own }) => {
      for (const step of own) {
        if (host.powerIsCut || store.failure !== null) return;
        if (step.kind === 'cut') host.cutPowerAfter(step.operations);
        if (step.kind === 'fault') world.addFault(host, step.rule, step.releaseMs);
        if (step.kind !== 'act') continue;
        const acting = user.act(step.action, new SeededPrng(step.seed));
        if (step.overlapped === true) world.overlap(acting);
        else await acting;
      }
    }),
  );
}

/** The process is gone without a word; what it wrote is in the device's cache. */
async function kill(rig: Rig, world: World): Promise<SimHost> {
  const { host, model } = rig;
  while (host.inFlightCount > 0) await host.clock.advance(1);
  const next = host.clone();
  const kept = model.clone();
  await rig.close().catch(() => {});
  await world.drain();
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
