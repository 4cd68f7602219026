// What two handles do to one object at the same moment: whatever comes of it, the pool and all who ask agree.
import { isMpoolError } from '../../src/base/errors.ts';
import { below, chance, type SeededPrng } from '../../src/base/prng.ts';
import type { MblockId } from '../../src/pool/api.ts';
import { contentOf, isRefusal, type Rig } from '../crash/rig.ts';
import { allOver, lengthOf, onlyMpoolErrors, sameBytes } from './choices.ts';
import { endMap, openMap } from './held-maps.ts';
import type { World } from './world.ts';

/** The same ids deleted by several handles: gone, once, and nobody is told otherwise. */
export async function deleteTwice(rig: Rig, ids: readonly bigint[]): Promise<void> {
  const done = rig.model.delete(ids);
  const { mblocks } = rig.pool;
  const deletions = [0, 1].map(() => mblocks.delete(ids as MblockId[]));
  const results = await Promise.allSettled(deletions);
  const isDone = results.some(({ status }) => status === 'fulfilled');
  if (isDone) done();
  for (const result of results) {
    if (result.status === 'fulfilled') continue;
    onlyMpoolErrors(result.reason);
    // It is gone, or going.
    if (isMpoolError(result.reason, 'ERR_MPOOL_NOT_FOUND') && isDone) continue;
    throw result.reason;
  }
}

/** An mblock that is committed, aborted, deleted and read, all at once. */
export async function commitAndDelete(rig: Rig, prng: SeededPrng): Promise<void> {
  const mblock = await rig.alloc();
  const { id } = mblock;
  const lengthBytes = lengthOf(prng);
  try {
    await rig.write(mblock, lengthBytes);
  } catch (error) {
    await mblock.abort().catch(onlyMpoolErrors);
    throw error;
  }
  const { model, pool } = rig;
  const bytes = contentOf(id, lengthBytes);
  const committed = model.commit([[id, { kind: 'mblock', bytes }]]);
  const early = chance(prng, 0.15) ? mblock.abort() : undefined;
  const committing = mblock.commit();
  const aborting = early ?? (chance(prng, 0.3) ? mblock.abort() : undefined);
  // Who waits for neither must not make a rejection of either look as if nobody cared.
  for (const each of [committing, aborting]) each?.catch(() => {});
  if (chance(prng, 0.6)) await rig.host.clock.advance(below(prng, 30) / 10);
  const reading = readRight(rig, id, bytes);
  const deleting = (async () => pool.mblocks.delete([id]))();
  const [commit, deletion, abort] = await Promise.allSettled([committing, deleting, aborting]);
  await reading;
  const wasAborted = aborting !== undefined && abort.status === 'fulfilled';
  const isThere = commit.status === 'fulfilled';
  if (wasAborted && isThere) throw new Error('I16: an mblock was committed and aborted');
  if (deletion.status === 'fulfilled') {
    committed();
    model.delete([id])();
  } else if (isThere) {
    settleCommit(deletion.reason, committed);
  } else if (wasAborted || isRefusal(commit.reason)) {
    model.withdraw([id]);
  }
  for (const each of [commit, deletion, abort]) {
    if (each.status === 'rejected') onlyMpoolErrors(each.reason);
  }
  if (commit.status === 'rejected') await mblock.abort().catch(onlyMpoolErrors);
}

/** The right bytes, or an error: its handle may be closed, and the object gone. */
async function readRight(rig: Rig, id: bigint, bytes: Uint8Array): Promise<void> {
  let found: Uint8Array;
  try {
    found = await rig.pool.mblocks.read(id as MblockId, 0, bytes.length);
  } catch (error) {
    return onlyMpoolErrors(error);
  }
  sameBytes(found, bytes, `I2: 0x${id.toString(16)}`);
}

/** The deletion came too early for it, or what became of it is not known. */
function settleCommit(reason: unknown, committed: () => void): void {
  const early =
    isMpoolError(reason, 'ERR_MPOOL_UNCOMMITTED') || isMpoolError(reason, 'ERR_MPOOL_NOT_FOUND');
  if (early) committed();
}

/** Mapped, read and deleted at once; then others want its space. A map keeps what it has, and only that. */
export async function mapAndReuse(
  rig: Rig,
  world: World,
  id: bigint,
  prng: SeededPrng,
): Promise<void> {
  const bytes = rig.model.objects.get(id)!.bytes!;
  const held = await openMap(rig, [id], prng);
  const check = async (what: string): Promise<void> =>
    sameBytes(await held.map.read(0, 0, bytes.length), bytes, `I11: 0x${id.toString(16)} ${what}`);
  try {
    await allOver([
      check('while it is deleted'),
      rig.deleteMblocks([id]),
      readRight(rig, id, bytes),
    ]);
    await rig.mblocks([lengthOf(prng)]);
    if (chance(prng, 0.5)) await world.evicting(() => held.map.purge());
    await check('after others were made');
  } finally {
    await endMap(held);
  }
  // First fit: mostly in the place of what is gone.
  const [next] = await rig.mblocks([bytes.length]);
  const map = await rig.pool.map([next as MblockId]);
  try {
    const wanted = contentOf(next!, bytes.length);
    sameBytes(await map.read(0, 0, bytes.length), wanted, `I11: 0x${next!.toString(16)} reused`);
  } finally {
    await map.unmap();
  }
}
