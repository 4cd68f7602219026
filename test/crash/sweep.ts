// Runs a scenario of the rig through sweepCrashes(): a power cut at every operation, several survivors each.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { binding } from '../../src/native/binding.ts';
import { createPool } from '../../src/pool/create.ts';
import { SimHost, survivorPolicies, sweepCrashes } from '../../src/testing/index.ts';
import type { CrashSweep, SurvivorPolicy, VolatileOperation } from '../../src/testing/index.ts';
import { tallySweep } from '../tally.ts';
import { PoolModel } from './model.ts';
import { CAPACITY, FILE, MIB, Rig, STAGING, type RigOptions } from './rig.ts';
import { closeClean, verifyPool } from './verify.ts';

/** Of this run: printed with every failure; SEED=… repeats it. */
export const SEED = Number(process.env['SEED'] ?? 1);
/** Survivors for each cut; SIM_POLICIES=… for more than the slice of every day. */
export const POLICIES = Number(process.env['SIM_POLICIES'] ?? 4);

export interface Scenario {
  devices?: 'capacity' | 'both' | 'file';
  /** A second disk that is no part of the pool yet. */
  spareDisk?: boolean;
  sizeBytes?: number;
  /** Of the capacity class; 1 by default. */
  mblockMib?: number;
  /** Not swept. */
  prepare?: (rig: Rig) => Promise<void>;
  run: (rig: Rig) => Promise<void>;
  open?: RigOptions;
  maxCuts?: number;
  /** Every how-manieth image is also used further; 3 by default. */
  goOnEvery?: number;
}

export const SECTORS = [512, 4096] as const;
const PAGES = 2 ** 12;
// Loaded for its checksums: the plain ones take a third of the time of a simulation.
assert.ok(binding !== undefined);

export async function newPool(
  scenario: Omit<Scenario, 'run'>,
  sectorBytes: 512 | 4096,
  seed = SEED,
): Promise<{ host: SimHost; model: PoolModel }> {
  const host = new SimHost({ seed, keepTrace: false, fileSectorBytes: sectorBytes });
  const { devices = 'capacity', sizeBytes = 16 * MIB, mblockMib = 1 } = scenario;
  // Not a whole number of zones, so that the tail lies apart.
  const diskBytes = sizeBytes + 32 * PAGES;
  const isFile = devices === 'file';
  if (!isFile) host.addDisk(CAPACITY, { sizeBytes: diskBytes, sectorBytes });
  if (devices === 'both' || scenario.spareDisk === true) {
    host.addDisk(STAGING, { sizeBytes: 8 * MIB, sectorBytes });
  }
  await createPool(host.environment, {
    name: 'p1',
    capacity: {
      path: isFile ? FILE : CAPACITY,
      mblockSizeBytes: mblockMib * MIB,
      ...(isFile && { sizeBytes: diskBytes }),
    },
    ...(devices === 'both' && { staging: { path: STAGING, mblockSizeBytes: MIB } }),
  });
  const model = new PoolModel();
  model.names = ['p1'];
  model.staging = devices === 'both' ? 'yes' : 'no';
  return { host, model };
}

/** Two tests, one for each sector size. */
export function sweepScenario(name: string, scenario: Scenario): void {
  for (const sectorBytes of SECTORS) {
    test(`${name}, sectors of ${sectorBytes}`, async (t) => {
      let prepared = new PoolModel();
      await sweepTest(t.name, {
        seed: SEED,
        async prepare() {
          const { host, model } = await newPool(scenario, sectorBytes);
          const rig = await Rig.open(host, model);
          await scenario.prepare?.(rig);
          await closeClean(rig);
          prepared = model;
          return host;
        },
        context: () => prepared.clone(),
        scenario: (host, model) => runScenario(scenario, host, model),
        verify: verifier(scenario.goOnEvery ?? 3),
        ...(scenario.maxCuts !== undefined && { maxCuts: scenario.maxCuts }),
      });
    });
  }
}

/** Sums up over all sweeps of the process: printed by each test file's last line. */
export async function sweepTest<T>(name: string, sweep: CrashSweep<T>): Promise<void> {
  const result = await sweepCrashes({ ...sweep, policies: chosenPolicies, ...onlyOf() });
  assert.ok(result.images > 0, 'there are images');
  tallySweep(result);
  if (process.env['SIM_VERBOSE'] !== undefined) {
    console.log(`${name}: ${result.operations} operations, ${result.images} images`);
  }
}

/** Every write torn: what random ones seldom do to all of them at once. */
const secondSectors: SurvivorPolicy = {
  name: 'every second sector',
  survives: (_, piece) => piece % 2 === 0,
};

function* chosenPolicies(
  operations: readonly VolatileOperation[],
  seed: number,
): Iterable<SurvivorPolicy> {
  const long = operations.some(({ pieceCount }) => pieceCount > 1);
  if (long) yield secondSectors;
  yield* survivorPolicies(operations, { limit: long ? POLICIES - 1 : POLICIES, seed });
}

/** ONLY='cut 7 random 3' repeats one image of a failure message. */
function onlyOf(): Pick<CrashSweep<unknown>, 'only'> {
  const match = /^cut (\d+|Infinity)(?: (.+))?$/.exec(process.env['ONLY'] ?? '');
  if (match === null) return {};
  const [, cut, policy] = match;
  return { only: { cut: Number(cut), ...(policy !== undefined && { policy }) } };
}

async function runScenario(scenario: Scenario, host: SimHost, model: PoolModel): Promise<void> {
  let rig: Rig | undefined;
  try {
    rig = await Rig.open(host, model, scenario.open);
    await scenario.run(rig);
    await closeClean(rig);
  } catch (error) {
    await rig?.closeAfterCut();
    if (rig === undefined) model.leakedBuffers = host.liveBufferCount;
    throw error;
  }
}

export function verifier(goOnEvery: number) {
  let images = 0;
  return async (image: SimHost, context: PoolModel): Promise<void> => {
    assert.equal(context.leakedBuffers, 0, 'a power cut leaks no buffer');
    const goOn = images++ % goOnEvery === 0;
    await verifyPool(image, context.clone(), { goOn });
  };
}
