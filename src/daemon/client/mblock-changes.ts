import type { MblockId } from '../../format/object-id.ts';
import type { DeleteOptions } from '../../pool/api.ts';
import { idToWire } from '../wire-values.ts';
import type { Attachment } from './attachment.ts';
import type { ClientMblock } from './client-mblock.ts';
import type { Session } from './session.ts';
import { Together } from './together.ts';

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
    const lengths = open.map(({ writer }) => writer!.reservedBytes);
    const indices = await session.during(session.commits.add({ attachment, ids, lengths }));
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

/**
 * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_BUSY: nothing is deleted then, or of very many only some: see
 *   DELETIONS_MAX
 */
export async function deleteMblocks(
  session: Session,
  ids: readonly MblockId[],
  { refuseMapped = false }: DeleteOptions,
): Promise<void> {
  for (let at = 0; at < ids.length; at += DELETIONS_MAX) {
    const some = ids.slice(at, at + DELETIONS_MAX);
    await session.during(session.deletions.add({ ids: some, refuseMapped }));
  }
}

/** Mblocks of one commit. */
export interface Commit {
  attachment: Attachment;
  ids: readonly MblockId[];
  /** What was written to each. */
  lengths: readonly number[];
}

/** Commits of one turn are one: all of them or none, which is more than each asks for. */
export function commitsTogether(session: Session): Together<Commit, number[]> {
  return new Together({
    ask: async (commits) => {
      const { attachment } = commits[0]!;
      const ids = commits.flatMap((commit) => commit.ids);
      const lengths = commits.flatMap((commit) => commit.lengths);
      const asked = { ids: ids.map(idToWire), lengths };
      const { body } = await session.requestOn(attachment, 'mblock.commit', asked);
      const indices = attachment.leases.adopt(ids, body.leases);
      let at = 0;
      return commits.map((commit) => indices.slice(at, (at += commit.ids.length)));
    },
    cut: (commits) => {
      let idCount = 0;
      const isOther = (commit: Commit): boolean =>
        commit.attachment !== commits[0]!.attachment || (idCount += commit.ids.length) > IDS_MAX;
      const end = commits.findIndex((commit, i) => isOther(commit) && i > 0);
      return end < 0 ? commits.length : end;
    },
  });
}

export interface Deletion {
  ids: readonly MblockId[];
  refuseMapped: boolean;
}

/** Deletions of one turn are one, where no mblock is deleted twice: the second must be refused. */
export function deletionsTogether(session: Session): Together<Deletion, void> {
  return new Together({
    ask: async (deletions) => {
      const attachment = session.attachment ?? (await session.attached());
      const ids = deletions.flatMap((deletion) => deletion.ids);
      // What nothing reads is given up first, so that its space comes back with the deletion.
      const release = attachment.leases.takeIdle(ids);
      await session.requestOn(attachment, 'mblock.delete', {
        ids: ids.map(idToWire),
        ...(deletions[0]!.refuseMapped && { refuseMapped: true }),
        ...(release.length > 0 && { release }),
      });
      attachment.leases.revoke(ids);
      return deletions.map(() => {});
    },
    cut: (deletions) => {
      const seen = new Set<MblockId>();
      const end = deletions.findIndex(({ ids, refuseMapped }, i) => {
        if (i > 0 && refuseMapped !== deletions[0]!.refuseMapped) return true;
        if (i > 0 && (ids.some((id) => seen.has(id)) || seen.size + ids.length > IDS_MAX))
          return true;
        for (const id of ids) seen.add(id);
        return false;
      });
      return end < 0 ? deletions.length : end;
    },
  });
}

/** Of what is asked by many together. */
const IDS_MAX = 1024;
/** That fit in a frame, twice. */
const DELETIONS_MAX = 16_384;
