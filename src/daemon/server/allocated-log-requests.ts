import { invalidArgument } from '../../base/errors.ts';
import { type MlogId, printObjectId } from '../../format/object-id.ts';
import type { MdcId } from '../../pool/api.ts';
import { mdcOf } from '../../pool/mdcs.ts';
import { idsToWire } from '../wire-values.ts';
import { DONE, onPool, type PoolHandler } from './handler.ts';
import { IDS_MAX, LIST_ITEM_BYTES, LIST_PAGE_DEFAULT, LIST_PAGE_MAX } from './limits.ts';
import { flag, integer, list, maybe, mediaClass, mlogId, record } from './shape.ts';

const CAPACITY_BYTES_MAX = 2 ** 44;

const alloc = record({
  capacityBytes: integer(1, CAPACITY_BYTES_MAX),
  mediaClass: maybe(mediaClass),
  spare: maybe(flag),
});
const page = {
  after: maybe(mlogId),
  count: maybe(integer(1, LIST_PAGE_MAX)),
};
const ofMlog = record({ id: mlogId });
const ofMdc = record({ logA: mlogId, logB: mlogId });

/** Life of logs: mlogs and MDCs; what is done with open ones is in log-requests.ts. */
export const mlogRequests: readonly PoolHandler[] = [
  onPool('mlog.alloc', 'write', alloc, async (session, body) => {
    const { id, capacityBytes } = await session.objects.allocMlog(body);
    return { body: { id: printObjectId(id), capacityBytes } };
  }),
  onPool('mlog.commit', 'write', ofMlog, async (session, body) => {
    await session.objects.commitLog(body.id);
    return DONE;
  }),
  onPool('mlog.abort', 'write', ofMlog, async (session, body) => {
    await session.objects.abortLog(body.id);
    return DONE;
  }),
  onPool(
    'mlog.open',
    'read',
    record({ id: mlogId, compactionSemantics: maybe(flag), salvage: maybe(flag) }),
    async (session, { id, ...options }) => {
      const { mlogs } = session.service.shared;
      const { number, log } = await session.logs.open(async () => ({
        mlog: await mlogs.open(id, options),
      }));
      const { state } = log;
      const { recoveredLogs } = session.service;
      // What can be read of a damaged log is not what it held.
      const of =
        options.salvage === true ? recoveredLogs.without(state) : recoveredLogs.of(id, state);
      return { body: { log: number, recovered: of, ...state } };
    },
  ),
  onPool('mlog.properties', 'read', ofMlog, async (session, body) => {
    const properties = await session.service.shared.mlogs.properties(body.id);
    return { body: idsToWire(properties, 'id', 'generation') };
  }),
  onPool('mlog.delete', 'write', record({ ids: list(mlogId, IDS_MAX) }), async (session, body) => {
    await session.service.shared.mlogs.delete(body.ids);
    session.service.recoveredLogs.forget(body.ids);
    return DONE;
  }),
  onPool(
    'mlog.list',
    'read',
    record({ ...page, mediaClass: maybe(mediaClass) }),
    async (session, { after, count = LIST_PAGE_DEFAULT, mediaClass: only }, request) => {
      await request.room(count * LIST_ITEM_BYTES);
      const { mlogs } = session.service.shared;
      const { items, done } = await session.service.listings.page({
        owner: session,
        key: `mlogs ${only ?? ''}`,
        begin: () => mlogs.list({ mediaClass: only }),
        idOf: ({ id }) => id,
        after,
        count,
      });
      return { body: { mlogs: items.map((each) => idsToWire(each, 'id', 'generation')), done } };
    },
  ),
];

export const mdcRequests: readonly PoolHandler[] = [
  onPool('mdc.alloc', 'write', alloc, async (session, body) => {
    const { id } = await session.objects.allocMdc(body);
    return { body: idsToWire(id, 'logA', 'logB') };
  }),
  onPool('mdc.commit', 'write', ofMdc, async (session, body) => {
    await session.objects.commitLog(logAOf(body));
    return DONE;
  }),
  onPool('mdc.abort', 'write', ofMdc, async (session, body) => {
    await session.objects.abortLog(logAOf(body));
    return DONE;
  }),
  onPool(
    'mdc.open',
    'read',
    record({ logA: maybe(mlogId), logB: maybe(mlogId) }),
    async (session, { logA, logB }) => {
      const { mdcs, store } = session.service.shared;
      const id = mdcIdOf(logA, logB) ?? store.poolRecords.properties.rootMdc;
      const { number, log } = await session.logs.open(async () => ({ mdc: await mdcs.open(id) }));
      const { state } = log;
      const recovered = session.service.recoveredLogs.of(id.logA, state);
      return { body: { log: number, ...idsToWire(id, 'logA', 'logB'), recovered, ...state } };
    },
  ),
  onPool('mdc.delete', 'write', ofMdc, async (session, body) => {
    await session.service.shared.mdcs.delete(body);
    session.service.recoveredLogs.forget([body.logA]);
    return DONE;
  }),
  onPool(
    'mdc.list',
    'read',
    record(page),
    async (session, { after, count = LIST_PAGE_DEFAULT }, request) => {
      await request.room(count * LIST_ITEM_BYTES);
      const { mdcs } = session.service.shared;
      const { items, done } = await session.service.listings.page({
        owner: session,
        key: 'mdcs',
        begin: () => mdcs.list(),
        idOf: ({ id }) => id.logA,
        after,
        count,
      });
      const onWire = items.map(({ id, ...rest }) => ({
        id: idsToWire(id, 'logA', 'logB'),
        ...rest,
      }));
      return { body: { mdcs: onWire, done } };
    },
  ),
];

/** @throws RangeError when these are not the logs of one MDC */
function logAOf({ logA, logB }: MdcId): MlogId {
  if (mdcOf(logA).logB === logB) return logA;
  const names = `${printObjectId(logA)} and ${printObjectId(logB)}`;
  throw invalidArgument(`mlogs ${names} are not the logs of one MDC`);
}

function mdcIdOf(logA: MlogId | undefined, logB: MlogId | undefined): MdcId | undefined {
  if (logA !== undefined && logB !== undefined) return { logA, logB };
  if (logA === undefined && logB === undefined) return undefined;
  throw invalidArgument('an MDC has the ids of two mlogs', 'type');
}
