import type { MblockId } from '../../format/object-id.ts';
import type { DeleteOptions } from '../../pool/api.ts';
import { idToWire } from '../wire-values.ts';
import type { ClientMblock } from './client-mblock.ts';
import type { Session } from './session.ts';

/**
 * Makes mblocks exist in one durable step; those committed already stay so. One that another commit is busy
 * with is waited for: it is then committed, or left to this one.
 */
export async function commitMblocks(
  session: Session,
  mblocks: readonly ClientMblock[],
): Promise<void> {
  session.assertWritable();
  while (mblocks.some((mblock) => mblock.unsettled)) {
    await Promise.all(mblocks.map((mblock) => mblock.settleCommit()));
    session.assertWritable();
  }
  for (const mblock of mblocks) mblock.assertNotDeleted();
  const open = [...new Set(mblocks)].filter((mblock) => !mblock.committed);
  if (open.length === 0) return;
  for (const mblock of open) mblock.assertCommittable();
  const begun: ClientMblock[] = [];
  try {
    const sending: Promise<void>[] = [];
    for (const mblock of open) {
      const wait = mblock.beginCommit();
      begun.push(mblock);
      if (wait !== null) sending.push(wait);
    }
    if (sending.length > 0) await allSent(open, sending);
    // They were all allocated on the connection there is: else assertCommittable() had thrown.
    const { attachment } = open[0]!.writer!;
    const ids = open.map(({ id }) => id);
    const asked = { ids: ids.map(idToWire) };
    const { body } = await session.requestOn(attachment, 'mblock.commit', asked);
    const indices = attachment.leases.adopt(ids, body.leases);
    open.forEach((mblock, i) => mblock.becomeCommitted(attachment, indices[i]!));
  } catch (error) {
    for (const mblock of begun) mblock.takeBackCommit(error);
    throw error;
  }
}

/** @throws ERR_MPOOL_FAILED when a write could not be sent: the rest must not be committed */
async function allSent(
  open: readonly ClientMblock[],
  sending: readonly Promise<void>[],
): Promise<void> {
  await Promise.all(sending);
  for (const mblock of open) mblock.writer!.assertSound();
}

/** @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_BUSY: nothing is deleted then */
export async function deleteMblocks(
  session: Session,
  ids: readonly MblockId[],
  options: DeleteOptions,
): Promise<void> {
  if (ids.length === 0) return;
  const attachment = session.attachment ?? (await session.attached());
  // What nothing reads is given up first, so that its space comes back with the deletion.
  const release = attachment.leases.takeIdle(ids);
  await session.requestOn(attachment, 'mblock.delete', {
    ids: ids.map(idToWire),
    ...(options.refuseMapped === true && { refuseMapped: true }),
    ...(release.length > 0 && { release }),
  });
  attachment.leases.revoke(ids);
}
