// Goal: devices that keep what they acknowledge are never said to have lost anything (I1), however much is
//   under way when the power goes: commits beside appends, erases, compactions of users' MDCs and of the pool's own.
// Method: the crash sweep of the other scenarios; a false alarm refuses a pool or a log, and fails the verification.
import { type Rig } from './rig.ts';
import { sweepScenario } from './sweep.ts';

async function prepare(rig: Rig): Promise<void> {
  const logs = [await rig.newMlog(), await rig.newMlog(), await rig.newMdc()];
  for (const id of logs) await rig.append(id, 'prepared', true);
}

const CUTS = Number(process.env['SIM_CUTS'] ?? 24);

sweepScenario('commits beside appends to several logs', {
  devices: 'both',
  prepare,
  goOnEvery: 4,
  maxCuts: CUTS,
  async run(rig) {
    const [a, b] = rig.model.idsOf('mlog') as [bigint, bigint];
    for (let round = 0; round < 3; round++) {
      await Promise.all([
        rig.mblocks([5000 + round]),
        rig.append(a, `a ${round}`, true),
        rig.mblocks([100], 'staging'),
        rig.append(b, `b ${round}`.repeat(200 * round), true),
        rig.append(rig.model.root, `root ${round}`, true),
      ]);
    }
  },
});

sweepScenario('erases and compactions beside commits, deletions and compactions of MDC 1', {
  devices: 'both',
  prepare,
  goOnEvery: 4,
  maxCuts: CUTS,
  async run(rig) {
    const [a, b] = rig.model.idsOf('mlog') as [bigint, bigint];
    const mdc = rig.model.idsOf('mdc').find((id) => id !== rig.model.root)!;
    const [first] = await rig.mblocks([300, 300]);
    await Promise.all([rig.erase(a), rig.mblocks([700]), rig.append(b, 'beside', true)]);
    await Promise.all([
      rig.compact(mdc, ['one', 'two']),
      rig.deleteMblocks([first!]),
      rig.append(a, 'after the erase', true),
    ]);
    await Promise.all([rig.store.catalog.log.compact(), rig.append(b, 'compacting', true)]);
    await Promise.all([rig.append(mdc, 'three', true), rig.mblocks([50], 'staging')]);
    await Promise.all([rig.store.poolRecords.log.compact(), rig.append(a, 'more', true)]);
    await rig.closeLog(b);
    await rig.append(b, 'opened again', true);
  },
});
