// Goal: space is nobody else's while anything may still use it: a read, a deletion not yet durable, a late write.
// Method: operations held by the simulated device, in a pool so full that only the space in question is left.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import type { Mblock } from '../../src/pool/api.ts';
import { contentOf, MIB, Rig } from './rig.ts';
import { newPool } from './sweep.ts';
import { closeClean, verifyPool } from './verify.ts';

/** A pool in which every zone for an mblock is taken by one. */
async function fullPool() {
  const { host, model } = await newPool({ sizeBytes: 4 * MIB }, 512);
  const rig = await Rig.open(host, model);
  for (;;) {
    try {
      await rig.mblocks([9000]);
    } catch (error) {
      assert.ok(isMpoolError(error, 'ERR_MPOOL_NO_SPACE'));
      return { host, model, rig };
    }
  }
}

const isFull = (rig: Rig): Promise<boolean> =>
  rig.alloc().then(
    (mblock) => mblock.abort().then(() => false),
    (error: unknown) => isMpoolError(error, 'ERR_MPOOL_NO_SPACE'),
  );

test('a deleted object keeps its zone until its last read is done', async () => {
  const { host, model, rig } = await fullPool();
  const [id] = model.idsOf('mblock');
  const mblock: Mblock = await rig.pool.mblocks.find(id as Mblock['id']);
  const late = host.addFault({ op: 'read', effect: { kind: 'hold' } });
  const reading = mblock.read(0, 9000);
  await rig.deleteMblocks([id!]);
  await assert.rejects(mblock.read(0, 1), { code: 'ERR_MPOOL_NOT_FOUND' });
  await host.clock.advance(2000);
  assert.equal(late.hits, 1);
  assert.ok(await isFull(rig), 'the zone is still in use');
  late.release();
  const bytes = await reading;
  assert.equal(Buffer.compare(bytes, contentOf(id!, 9000)), 0, 'the right bytes');
  await rig.mblocks([5000]);
  await closeClean(rig);
  await verifyPool(host.crash(), model);
});

test('a deleted object keeps its zone until its deletion is durable', async () => {
  const { host, model, rig } = await fullPool();
  const [id] = model.idsOf('mblock');
  const late = host.addFault({ op: 'write', effect: { kind: 'hold' } });
  const deleting = rig.deleteMblocks([id!]);
  await host.clock.advance(2000);
  assert.equal(late.hits, 1);
  assert.ok(await isFull(rig), 'the zone is still in use');
  late.release();
  await deleting;
  assert.ok(!(await isFull(rig)));
  await closeClean(rig);
  await verifyPool(host.crash(), model);
});

test('an aborted object keeps its zone until its last write is done', async () => {
  const { host, model, rig } = await fullPool();
  await rig.deleteMblocks(model.idsOf('mblock').slice(0, 1));
  const mblock = await rig.alloc();
  const late = host.addFault({ op: 'write', effect: { kind: 'hold' } });
  const writing = rig.write(mblock, 5000);
  const aborting = mblock.abort();
  await host.clock.advance(2000);
  assert.ok(late.hits === 1 && (await isFull(rig)), 'the zone is still in use');
  late.release();
  await Promise.all([writing.catch(() => {}), aborting]);
  await rig.mblocks([6000]);
  await closeClean(rig);
  await verifyPool(host.crash(), model);
});

test('a log that failed keeps its space until its last write is done', async () => {
  const { host, model } = await newPool({ sizeBytes: 8 * MIB }, 512);
  const rig = await Rig.open(host, model);
  const id = await rig.newMlog(2 * MIB);
  const log = await rig.log(id);
  const late = host.addFault({ op: 'write', nth: 2, times: 2, effect: { kind: 'hold' } });
  host.addFault({ op: 'write', effect: { kind: 'error' } });
  const appends = [1, 2, 3].map((n) => log.append(Buffer.alloc(250_000, n)));
  await Promise.allSettled([...appends, log.sync()]);
  let gone = false;
  const deleting = rig
    .closeLog(id)
    .catch(() => rig.deleteMlog(id))
    .then(() => (gone = true));
  await host.clock.advance(2000);
  assert.ok(late.hits > 0 && !gone, 'it is not closed, so it cannot be deleted');
  late.release();
  await deleting;
  await rig.mblocks([MIB - 8192, MIB - 8192]);
  await closeClean(rig);
  await verifyPool(host.crash(), model);
});
