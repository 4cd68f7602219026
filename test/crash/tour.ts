// A tour of all that a pool can do, in steps that use objects of their own, so that one may fail without
// the others; for tests that put one fault at each place.
import { isMpoolError } from '../../src/base/errors.ts';
import { MIB, recordOf, type Rig } from './rig.ts';

export async function prepareTour(rig: Rig): Promise<void> {
  await rig.mblocks([5000, 12_000]);
  await rig.mblocks([100]);
  const log = await rig.newMlog();
  await rig.append(log, 'of the mlog', true);
  await rig.append(log, recordOf('and more of it ', 3000), true);
  await rig.append(log, 'at last', true);
  await rig.closeLog(log);
  await rig.append(rig.model.root, 'of the root', true);
  await rig.append(rig.model.root, recordOf('and more ', 2000), true);
  await rig.setLabel('prepared');
}

const STEPS: ((rig: Rig) => Promise<void>)[] = [
  async (rig) => void (await rig.mblocks([9000])),
  async (rig) => void (await rig.mblocks([MIB - 2 * 4096, 100, 4096])),
  (rig) => rig.setLabel('toured'),
  async (rig) => {
    const id = await rig.newMlog();
    await rig.append(id, 'one', true);
    await rig.append(id, 'two');
    await rig.append(id, 'three', true);
    await rig.erase(id);
    await rig.append(id, recordOf('four ', 20_000), true);
    await rig.closeLog(id);
  },
  async (rig) => {
    const id = rig.model.idsOf('mlog')[0]!;
    await rig.append(id, 'added', true);
    await rig.append(id, 'added async');
    await rig.sync(id);
  },
  async (rig) => rig.deleteMblocks(rig.model.idsOf('mblock').slice(0, 1)),
  async (rig) => {
    const { root } = rig.model;
    await rig.append(root, 'before', true);
    await rig.startCompaction(root);
    await rig.append(root, 'compacted');
    await rig.endCompaction(root);
    await rig.append(root, 'after', true);
  },
  async (rig) => rig.store.catalog.log.compact(),
  async (rig) => rig.store.poolRecords.log.compact(),
  async (rig) => void (await rig.mblocks([300])),
  async (rig) => {
    await rig.host.clock.advance(1500);
    await rig.mblocks([8192]);
  },
];

/** @returns errors of the steps that failed; what is no MpoolError is thrown */
export async function tour(rig: Rig): Promise<Error[]> {
  const errors: Error[] = [];
  for (const step of STEPS) {
    try {
      await step(rig);
    } catch (error) {
      if (!isMpoolError(error)) throw error;
      errors.push(error);
    }
  }
  return errors;
}
