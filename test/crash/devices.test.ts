// Goal: pools are made, changed and unmade all or nothing.
// Method: a power cut at every operation; what is there afterwards is the old, or the new, and whole.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { destroyPool, renamePool } from '../../src/pool/administer.ts';
import { createPool } from '../../src/pool/create.ts';
import { findPools } from '../../src/pool/find-pools.ts';
import { SimHost } from '../../src/testing/index.ts';
import { PoolModel } from './model.ts';
import { CAPACITY, FILE, MIB, Rig, STAGING } from './rig.ts';
import { newPool, SECTORS, SEED, sweepScenario, sweepTest, verifier } from './sweep.ts';
import { closeClean } from './verify.ts';

const WHERE = { places: ['/pool'], blockDevices: true };
const SIZE = 8 * MIB;

sweepScenario('setParameters', {
  async run(rig) {
    await rig.setLabel('one');
    await rig.setLabel('two');
  },
});

sweepScenario('addMediaClass, and use it', {
  spareDisk: true,
  async run(rig) {
    await rig.addStaging();
    await rig.mblocks([5000], 'staging');
  },
});

for (const devices of ['capacity', 'file'] as const) {
  sweepScenario(`grow a ${devices === 'file' ? 'file' : 'block device'}, and use the new space`, {
    devices,
    sizeBytes: 4 * MIB,
    async prepare(rig) {
      await rig.mblocks([4096]);
      rig.model.sizes = [4 * MIB + 32 * 4096];
    },
    async run(rig) {
      const sizeBytes = 9 * MIB + 7 * 4096;
      if (devices === 'file') await rig.host.growFile(FILE, sizeBytes);
      else rig.host.disk(CAPACITY).resize(sizeBytes);
      await rig.grow(sizeBytes);
      await rig.mblocks([1, 2, 3, 4, 5].map((n) => n * 1000));
    },
  });
}

for (const sectorBytes of SECTORS) {
  test(`rename, sectors of ${sectorBytes}`, async (t) => {
    let prepared = new PoolModel();
    await sweepTest(t.name, {
      seed: SEED,
      async prepare() {
        const { host, model } = await newPool({ devices: 'both' }, sectorBytes);
        const rig = await Rig.open(host, model);
        await rig.mblocks([9000]);
        await closeClean(rig);
        prepared = model;
        return host;
      },
      context: () => prepared.clone(),
      async scenario(host, model) {
        const done = model.rename('p2');
        await renamePool(host.environment, 'p1', 'p2', WHERE);
        done();
        const doneAgain = model.rename('p3');
        await renamePool(host.environment, CAPACITY, 'p3', WHERE);
        doneAgain();
      },
      verify: verifier(4),
    });
  });

  for (const devices of ['capacity', 'both', 'file'] as const) {
    test(`create on ${devices}, sectors of ${sectorBytes}`, (t) =>
      sweepCreate(t.name, devices, sectorBytes, false));
  }
  for (const devices of ['capacity', 'both'] as const) {
    test(`create over an old pool on ${devices} with force, sectors of ${sectorBytes}`, (t) =>
      sweepCreate(t.name, devices, sectorBytes, true));
    test(`destroy on ${devices}, sectors of ${sectorBytes}`, (t) =>
      sweepDestroy(t.name, devices, sectorBytes));
  }
}

interface Making {
  old: PoolModel | null;
  made: 'no' | 'maybe' | 'yes';
}

async function sweepCreate(
  name: string,
  devices: 'capacity' | 'both' | 'file',
  sectorBytes: 512 | 4096,
  over: boolean,
): Promise<void> {
  let old: PoolModel | null = null;
  const verify = verifier(4);
  await sweepTest<Making>(name, {
    seed: SEED,
    async prepare() {
      if (over) {
        const { host, model } = await newPool({ devices }, sectorBytes);
        const rig = await Rig.open(host, model);
        await rig.mblocks([5000]);
        await rig.append(model.root, 'of the old pool', true);
        await closeClean(rig);
        old = model;
        return host;
      }
      const host = new SimHost({ seed: SEED, fileSectorBytes: sectorBytes, keepTrace: false });
      if (devices !== 'file') host.addDisk(CAPACITY, { sizeBytes: SIZE, sectorBytes });
      if (devices === 'both') host.addDisk(STAGING, { sizeBytes: SIZE, sectorBytes });
      return host;
    },
    context: () => ({ old, made: 'no' }),
    async scenario(host, making) {
      making.made = 'maybe';
      await createPool(host.environment, {
        name: 'new',
        force: over,
        capacity: {
          path: devices === 'file' ? FILE : CAPACITY,
          mblockSizeBytes: MIB,
          ...(devices === 'file' && { sizeBytes: SIZE }),
        },
        ...(devices === 'both' && { staging: { path: STAGING, mblockSizeBytes: MIB } }),
      });
      making.made = 'yes';
    },
    async verify(image, { old: before, made }) {
      const found = await findPools(image, WHERE);
      const pool = found.find(({ devices: of }) => of.some((d) => d.mediaClass === 'capacity'));
      if (made === 'yes') assert.equal(pool?.name, 'new', 'I16: an acknowledged pool is there');
      if (pool === undefined) return refusesToOpen(image);
      if (pool.name === 'p1') return verify(image, before!);
      const model = new PoolModel();
      model.names = ['new'];
      model.staging = devices === 'both' ? 'yes' : 'no';
      await verify(image, model);
    },
  });
}

async function sweepDestroy(
  name: string,
  devices: 'capacity' | 'both',
  sectorBytes: 512 | 4096,
): Promise<void> {
  let model = new PoolModel();
  const verify = verifier(4);
  await sweepTest<{ destroyed: boolean }>(name, {
    seed: SEED,
    async prepare() {
      const pool = await newPool({ devices }, sectorBytes);
      const rig = await Rig.open(pool.host, pool.model);
      await rig.mblocks([5000]);
      await closeClean(rig);
      model = pool.model;
      return pool.host;
    },
    context: () => ({ destroyed: false }),
    async scenario(host, context) {
      await destroyPool(host.environment, CAPACITY, WHERE, {});
      context.destroyed = true;
    },
    async verify(image, { destroyed }) {
      const found = await findPools(image, WHERE);
      const whole = found.some(({ devices: of }) => of.some((d) => d.mediaClass === 'capacity'));
      if (destroyed) assert.equal(found.length, 0, 'I16: a destroyed pool is gone');
      if (whole) return verify(image, model);
      await refusesToOpen(image);
    },
  });
}

/** Where there is no pool, opening says so and writes nothing. */
async function refusesToOpen(image: SimHost): Promise<void> {
  const before = image.operationCount;
  if (!image.paths.includes(CAPACITY) && !image.paths.includes(FILE)) return;
  await assert.rejects(Rig.open(image, new PoolModel()), (error) => isMpoolError(error));
  assert.equal(image.operationCount, before, 'nothing is written where there is no pool');
  assert.equal(image.liveBufferCount, 0, 'a refused activation gives all memory back');
}
