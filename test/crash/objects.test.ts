// Goal: commits, deletions and aborts of objects are done or not done, whenever the power goes.
// Method: a power cut at every operation of each scenario; see sweep.ts and verify.ts.
import { PAGE_BYTES } from '../../src/base/units.ts';
import { sweepScenario } from './sweep.ts';

sweepScenario('one mblock: alloc, write, commit', {
  run: async (rig) => void (await rig.mblocks([5000])),
});

sweepScenario('an mblock with a checksum table, and an empty one', {
  async run(rig) {
    await rig.mblocks([20 * PAGE_BYTES + 1]);
    await rig.mblocks([0]);
  },
});

sweepScenario('several mblocks in one commit, on both classes', {
  devices: 'both',
  prepare: async (rig) => void (await rig.mblocks([4096])),
  async run(rig) {
    const made = [await rig.alloc(), await rig.alloc('staging'), await rig.alloc()];
    for (const [i, mblock] of made.entries()) await rig.write(mblock, 4096 * (i + 1) + i);
    await rig.commit(made);
  },
});

sweepScenario('commits in flight at once', {
  async run(rig) {
    await Promise.all([4096, 8192, 100, 12_288].map((length) => rig.mblocks([length])));
  },
});

sweepScenario('delete one and then its zone is used again', {
  prepare: async (rig) => void (await Promise.all([1, 2, 3, 4].map(() => rig.mblocks([5000])))),
  async run(rig) {
    const [first] = rig.model.idsOf('mblock');
    await rig.deleteMblocks([first!]);
    // More than are free, so that the zone of the deleted one is among them.
    await rig.mblocks(Array.from({ length: 9 }, () => 4096));
  },
});

sweepScenario('delete many in one step, beside commits', {
  prepare: async (rig) => void (await rig.mblocks([1, 2, 3, 4, 5].map((n) => n * 1000))),
  async run(rig) {
    const ids = rig.model.idsOf('mblock');
    await Promise.all([rig.deleteMblocks(ids.slice(0, 4)), rig.mblocks([7000])]);
  },
});

sweepScenario('aborts, of mblocks and logs, leave nothing', {
  async run(rig) {
    const [one, other] = await Promise.all([rig.alloc(), rig.alloc()]);
    await rig.write(one, 9000);
    await other.abort();
    const log = await rig.pool.mlogs.alloc({ capacityBytes: 40_000 });
    rig.model.newId(log.id);
    await log.abort();
    await one.abort();
    await rig.mblocks([4096]);
  },
});

sweepScenario('freed zones are discarded in the background', {
  prepare: async (rig) => void (await rig.mblocks([4096, 4096, 4096])),
  async run(rig) {
    await rig.deleteMblocks(rig.model.idsOf('mblock'));
    const id = await rig.newMlog();
    await rig.host.clock.advance(1500);
    await rig.mblocks([8192]);
    await rig.append(id, 'beside discards', true);
    await rig.host.clock.advance(10);
  },
});

sweepScenario('delete when the pool is full', {
  sizeBytes: 4 * 2 ** 20,
  async prepare(rig) {
    for (;;) {
      const full = await rig.mblocks([4096]).then(
        () => false,
        () => true,
      );
      if (full) break;
    }
  },
  async run(rig) {
    await rig.deleteMblocks(rig.model.idsOf('mblock').slice(0, 1));
    await rig.mblocks([6000]);
  },
});
