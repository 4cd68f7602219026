import { idsToWire } from '../wire-values.ts';
import { DONE, onPool, type PoolHandler } from './handler.ts';
import {
  IDS_MAX,
  LEASES_PER_REQUEST,
  LIST_ITEM_BYTES,
  LIST_PAGE_DEFAULT,
  LIST_PAGE_MAX,
} from './limits.ts';
import { flag, integer, list, maybe, mblockId, mediaClass, record } from './shape.ts';
import { inSlots, withBytes } from './slot-bytes.ts';

/** At once, in one request: as many as fit into one answer. */
const ALLOC_MAX = 4096;

const ids = list(mblockId, IDS_MAX);
const leasable = list(mblockId, LEASES_PER_REQUEST);
const lengths = list(integer(0, Number.MAX_SAFE_INTEGER), LEASES_PER_REQUEST);

export const mblockRequests: readonly PoolHandler[] = [
  onPool(
    'mblock.alloc',
    'write',
    record({
      mediaClass: maybe(mediaClass),
      spare: maybe(flag),
      count: maybe(integer(1, ALLOC_MAX)),
    }),
    async (session, { count = 1, ...options }) => {
      const mblocks = await session.objects.allocMblocks(options, count);
      return { body: { mblocks: mblocks.map((each) => idsToWire(each.properties(), 'id')) } };
    },
  ),
  onPool(
    'mblock.write',
    'write',
    record({ id: mblockId, slots: maybe(inSlots) }),
    async (session, { id, slots }, request) => {
      const mblock = session.objects.mblockToWrite(id);
      await withBytes(session, slots, request, async (pieces) => {
        // Copied, and the copy checksummed: whatever the client does to its slots is its own loss.
        await mblock.write(pieces);
        for (const { length } of pieces) session.countWritten(length);
      });
      return { body: { writtenBytes: mblock.writtenBytes } };
    },
  ),
  onPool(
    'mblock.commit',
    'write',
    record({ ids: leasable, lengths: maybe(lengths) }),
    async (session, body) => {
      if (body.lengths !== undefined) session.objects.assertWhole(body.ids, body.lengths);
      const commit = (): Promise<void> => session.objects.commitMblocks(body.ids);
      return { body: { leases: await session.leases.takeAfter(commit, body.ids) } };
    },
  ),
  onPool('mblock.abort', 'write', record({ ids }), async (session, body) => {
    await session.objects.abortMblocks(body.ids);
    return DONE;
  }),
  onPool(
    'mblock.delete',
    'write',
    record({ ids, refuseMapped: maybe(flag), release: maybe(ids) }),
    async (session, body) => {
      if (body.release !== undefined) session.leases.release(body.release, false);
      const committing = session.objects.settled(body.ids);
      if (committing !== undefined) await committing;
      await session.service.deleteMblocks(session, body.ids, body.refuseMapped === true);
      return DONE;
    },
  ),
  onPool(
    'mblock.lease',
    'read',
    record({ ids: leasable, mapped: maybe(flag) }),
    (session, body) => {
      const take = () => ({
        body: { leases: session.leases.take(body.ids, body.mapped === true) },
      });
      return session.objects.settled(body.ids)?.then(take) ?? take();
    },
  ),
  onPool('mblock.release', 'read', record({ ids, mapped: maybe(flag) }), (session, body) => {
    session.leases.release(body.ids, body.mapped === true);
    return DONE;
  }),
  onPool(
    'mblock.list',
    'read',
    record({
      after: maybe(mblockId),
      count: maybe(integer(1, LIST_PAGE_MAX)),
      mediaClass: maybe(mediaClass),
    }),
    async (session, { after, count = LIST_PAGE_DEFAULT, mediaClass: only }, request) => {
      await request.room(count * LIST_ITEM_BYTES);
      const { mblocks } = session.service.shared;
      const page = await session.service.listings.page({
        owner: session,
        key: `mblocks ${only ?? ''}`,
        begin: () => mblocks.list({ mediaClass: only }),
        idOf: ({ id }) => id,
        after,
        count,
      });
      return {
        body: { mblocks: page.items.map((each) => idsToWire(each, 'id')), done: page.done },
      };
    },
  ),
];
