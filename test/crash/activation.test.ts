// Goal: recovery can itself be cut at any operation, and finds the same each time (I1).
// Method: images of interrupted work, opened under a second sweep; also processes that were killed, whose
// writes are in the device's cache when the power goes later.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomSurvive, type SimHost } from '../../src/testing/index.ts';
import { PoolModel } from './model.ts';
import { Rig } from './rig.ts';
import { newPool, SECTORS, SEED, sweepTest, verifier } from './sweep.ts';
import { verifyPool } from './verify.ts';

/** What leaves recovery something to do: headers, superblocks, torn tails, all at once. */
async function work(rig: Rig): Promise<void> {
  const { root } = rig.model;
  await rig.append(root, 'old', true);
  const log = await rig.newMlog();
  await rig.append(log, 'one', true);
  await Promise.all([
    rig.compact(root, ['new 0', 'new 1']),
    rig.store.catalog.log.compact(),
    rig.store.poolRecords.log.compact(),
    rig.store.updateSuperblock({}),
    rig.append(log, 'two', true),
    rig.append(log, 'three'),
  ]);
  await rig.mblocks([5000]);
}

interface Crashed {
  image: SimHost;
  model: PoolModel;
}

/** The machine after a power cut at that operation of work(). */
async function crashed(sectorBytes: 512 | 4096, cut: number): Promise<Crashed | undefined> {
  const { host, model } = await newPool({ devices: 'both' }, sectorBytes);
  host.cutPowerAfter(cut);
  let rig: Rig | undefined;
  try {
    rig = await Rig.open(host, model);
    await work(rig);
  } catch (error) {
    if (!host.powerIsCut) throw error;
  }
  if (!host.powerIsCut) return undefined;
  await rig?.closeAfterCut();
  model.leakedBuffers = 0;
  return { image: host.crash({ survivors: randomSurvive(SEED + cut) }), model };
}

for (const sectorBytes of SECTORS) {
  test(`a crash during recovery, sectors of ${sectorBytes}`, async (t) => {
    let recoveries = 0;
    for (let cut = 3; ; cut += 4) {
      const first = await crashed(sectorBytes, cut);
      if (first === undefined) break;
      await sweepTest<PoolModel>(`${t.name}, first cut ${cut}`, {
        seed: SEED,
        prepare: async () => first.image,
        context: () => first.model.clone(),
        async scenario(host, model) {
          await (await Rig.open(host, model)).close();
        },
        verify: verifier(1000),
      });
      recoveries += 1;
    }
    assert.ok(recoveries > 6, `there were ${recoveries} crashes`);
  });

  test(`a process killed, then a power cut after recovery, sectors of ${sectorBytes}`, async () => {
    for (let step = 0; step < 6; step++) {
      const { host, model } = await newPool({ devices: 'both' }, sectorBytes);
      const rig = await Rig.open(host, model);
      await rig.append(model.root, 'old', true);
      if (step > 0) await rig.append(model.root, 'async');
      if (step > 1) await (await rig.log(model.root)).reader().next();
      if (step > 2) await rig.compact(model.root, ['new']);
      if (step > 3) await rig.write(await rig.alloc(), 5000);
      if (step > 4) await rig.append(model.root, 'newer');
      // The next process finds what this one left in the cache; nothing of it may depend on luck.
      const next = host.clone();
      const second = await Rig.open(next, model.clone());
      const seen: string[] = [];
      for await (const record of (await second.mdc(model.root)).records()) {
        seen.push(Buffer.from(record).toString());
      }
      await second.close();
      const after = next.crash();
      const judged = model.clone();
      judged.logs.get(model.root)!.settle(seen.map((record) => Buffer.from(record)));
      await verifyPool(after, judged);
      await rig.pool.close({ force: true });
    }
  });
}

/** As a process leaves it that is killed between the two halves of a superblock update. */
async function killedInUpdate(sectorBytes: 512 | 4096): Promise<Crashed> {
  const { host, model } = await newPool({}, sectorBytes);
  const rig = await Rig.open(host, model);
  // Copies 1 and 3 are in the device's cache, and copies 0 and 2 were not written.
  host.addFault({ op: 'flush', effect: { kind: 'lost' } });
  host.addFault({ op: 'write', nth: 3, times: Infinity, effect: { kind: 'error' } });
  await assert.rejects(rig.store.updateSuperblock({ capacityPath: '/dev/elsewhere' }));
  await rig.close().catch(() => {});
  host.clearFaults();
  return { image: host, model };
}

for (const sectorBytes of SECTORS) {
  test(`power cuts after a kill in a superblock update, sectors of ${sectorBytes}`, async (t) => {
    const killed = await killedInUpdate(sectorBytes);
    await sweepTest<PoolModel>(t.name, {
      seed: SEED,
      prepare: async () => killed.image,
      context: () => killed.model.clone(),
      async scenario(host, model) {
        await (await Rig.open(host, model)).close();
      },
      verify: verifier(1),
    });
  });
}
