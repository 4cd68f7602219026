// Goal: the pool's own MDCs are compacted and moved all or nothing, and nothing acknowledged meanwhile is lost.
// Method: pools whose logs are nearly full, then a power cut at every operation of what fills them.
import assert from 'node:assert/strict';
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { Rig } from './rig.ts';
import { sweepScenario } from './sweep.ts';

/** Commits and deletes until MDC 1 is about to need a compaction. */
async function fillObjectLog(rig: Rig): Promise<void> {
  const { log } = rig.store.catalog;
  const roomBytes = 3 * rig.store.capacity.descriptor.sectorBytes;
  const [id] = await rig.mblocks([4096]);
  assert.ok(id !== undefined, 'there is an mblock');
  while (log.pair.active.usedBytes + roomBytes < log.pair.active.capacityBytes * 0.7) {
    await rig.deleteMblocks(await rig.mblocks([100]));
  }
  assert.equal(log.compactionCount, 0, 'it is not compacted yet');
}

sweepScenario('MDC 1 is compacted in the background of commits', {
  prepare: fillObjectLog,
  async run(rig) {
    for (let i = 0; i < 3; i++) {
      await Promise.all([rig.mblocks([1000]), rig.mblocks([2000, 3000])]);
      await rig.deleteMblocks(rig.model.idsOf('mblock').slice(0, 2));
    }
    assert.equal(rig.store.catalog.log.compactionCount, 1, 'it was compacted');
  },
});

/** Commits small logs until all that lives hardly fits MDC 1. */
async function fillWithObjects(rig: Rig): Promise<void> {
  const limit = rig.store.catalog.log.pair.active.capacityBytes * 0.6;
  // Each has its record and its mark.
  const count = Math.floor((limit - 1024) / (2 * 41)) - rig.store.table.count;
  for (let made = 0; made < count; made += 64) {
    const part = Math.min(64, count - made);
    await Promise.all(Array.from({ length: part }, () => rig.newMlog(2 * PAGE_BYTES)));
  }
}

sweepScenario('MDC 1 moves to larger logs', {
  sizeBytes: 24 * 2 ** 20,
  prepare: fillWithObjects,
  // Each of its cuts, and with more survivors, on a small catalog: test/pool/catalog.test.ts.
  maxCuts: 6,
  goOnEvery: 100,
  async run(rig) {
    const pages = rig.store.catalog.log.pair.places[0].extent.pageCount;
    await Promise.all([rig.newMlog(), rig.mblocks([5000]), rig.newMlog()]);
    await rig.deleteMlog(rig.model.idsOf('mlog')[0]!);
    assert.equal(rig.store.catalog.log.pair.places[0].extent.pageCount, 2 * pages, 'it moved');
    await rig.host.clock.advance(1500);
    await rig.mblocks([6000]);
  },
});

sweepScenario('MDC 0 is compacted by changes of parameters', {
  async prepare(rig) {
    const { log } = rig.store.poolRecords;
    const roomBytes = 3 * rig.store.capacity.descriptor.sectorBytes;
    for (
      let i = 0;
      log.pair.active.usedBytes + roomBytes < log.pair.active.capacityBytes * 0.7;
      i++
    )
      await rig.setLabel(`label-${i}`);
  },
  async run(rig) {
    for (const label of ['a', 'b', 'c', 'd', 'e']) await rig.setLabel(label);
    assert.equal(rig.store.poolRecords.log.compactionCount, 1, 'it was compacted');
  },
});

sweepScenario('ids: the checkpoint that allocations wait for', {
  async run(rig) {
    const { catalog } = rig.store;
    // All but the last few ids of the checkpoint at hand.
    while ((await catalog.newUniquifier()) % 4096 !== 4090);
    await rig.mblocks([100]);
    await Promise.all(Array.from({ length: 6 }, () => rig.newMlog(2 * PAGE_BYTES)));
    await rig.mblocks([100]);
  },
});
