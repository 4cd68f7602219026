// Goal: logs recover as ordered prefixes with all that was acknowledged; erase is all or nothing; what a
// crash took never comes back.
// Method: a power cut at every operation of each scenario; see sweep.ts and verify.ts.
import { PAGE_BYTES } from '../../src/base/units.ts';
import { recordOf } from './rig.ts';
import { sweepScenario } from './sweep.ts';

sweepScenario('mlog: alloc, commit, append sync and async', {
  async run(rig) {
    const id = await rig.newMlog();
    await rig.append(id, 'first', true);
    for (let i = 0; i < 5; i++) await rig.append(id, `async ${i}`);
    await rig.append(id, 'second', true);
    await rig.append(id, 'never synced');
  },
});

sweepScenario('mlog: appends in flight at once share frames', {
  prepare: async (rig) => void (await rig.newMlog(40 * PAGE_BYTES)),
  async run(rig) {
    const [id] = rig.model.idsOf('mlog');
    const records = Array.from({ length: 12 }, (_, i) => recordOf(`${i},`, 200 * i));
    await rig.log(id!);
    for (let i = 0; i < records.length; i += 4) {
      await Promise.all(records.slice(i, i + 4).map((record) => rig.append(id!, record, true)));
    }
  },
});

sweepScenario('mlog: long records in pieces, in many frames in flight', {
  prepare: async (rig) => void (await rig.newMlog(2 ** 21)),
  maxCuts: 12,
  async run(rig) {
    const [id] = rig.model.idsOf('mlog');
    await rig.append(id!, 'short', true);
    await rig.append(id!, recordOf('long ', 700_000));
    await rig.append(id!, recordOf('longer ', 400_000), true);
    await rig.append(id!, recordOf('unsynced ', 300_000));
    await rig.append(id!, 'last');
  },
});

sweepScenario('mlog: erase, append, close, open, append, delete', {
  async prepare(rig) {
    const id = await rig.newMlog();
    for (let i = 0; i < 6; i++) await rig.append(id, `old ${i}`, i % 2 === 0);
  },
  async run(rig) {
    const [id] = rig.model.idsOf('mlog');
    await rig.append(id!, 'old, async');
    await rig.erase(id!);
    await rig.append(id!, 'new 0', true);
    await rig.append(id!, 'new 1');
    await rig.closeLog(id!);
    await rig.append(id!, 'new 2', true);
    await rig.erase(id!);
    await rig.closeLog(id!);
    await rig.deleteMlog(id!);
  },
});

sweepScenario('MDC: alloc, append, startCompaction … endCompaction', {
  async run(rig) {
    const id = await rig.newMdc();
    await rig.append(id, 'old 0', true);
    await rig.append(id, 'old 1');
    await rig.startCompaction(id);
    await rig.append(id, 'new 0');
    await rig.append(id, 'new 1');
    await rig.endCompaction(id);
    await rig.append(id, 'newer 0', true);
    await rig.append(id, 'newer 1');
  },
});

sweepScenario('MDC: cancelled compactions, compact(), close, open, delete', {
  prepare: async (rig) => rig.append(await rig.newMdc(), 'old', true),
  async run(rig) {
    const id = rig.model.idsOf('mdc').find((each) => each !== rig.model.root)!;
    await rig.startCompaction(id);
    await rig.append(id, 'cancelled', true);
    await rig.cancelCompaction(id);
    await rig.append(id, 'old, too', true);
    await rig.compact(id, ['compact 0', 'compact 1']);
    await rig.append(id, 'tail');
    await rig.closeLog(id);
    await rig.compact(id, []);
    await rig.closeLog(id);
    await rig.deleteMdc(id);
  },
});

sweepScenario('the root MDC is compacted twice over', {
  prepare: async (rig) => rig.append(rig.model.root, 'old', true),
  async run(rig) {
    const { root } = rig.model;
    await rig.compact(root, ['1', '2', '3']);
    await rig.append(root, '4', true);
    await rig.startCompaction(root);
    await rig.append(root, recordOf('long ', 30_000));
    await rig.append(root, recordOf('longer ', 90_000));
    await rig.endCompaction(root);
    await rig.append(root, '5');
  },
});
