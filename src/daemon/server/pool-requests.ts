import { MpoolError } from '../../base/errors.ts';
import type { PoolInfo, PoolParameters } from '../../pool/api.ts';
import type { Wire } from '../protocol.ts';
import { idsToWire } from '../wire-values.ts';
import { DONE, onPool, type PoolHandler } from './handler.ts';
import { isManager, refuseOwnershipChange } from './permission.ts';
import { classOptions, reaperStats } from './pool-shapes.ts';
import { facts, maybe, mediaClass, oneOf, record } from './shape.ts';

const nothing = record({});

export const poolRequests: readonly PoolHandler[] = [
  onPool('info', 'read', nothing, async (session) => {
    const info = await session.service.pool.info();
    return { body: { ...infoToWire(info), readOnly: session.readOnly } };
  }),
  onPool('parameters', 'read', nothing, async (session) => ({
    body: await session.service.pool.parameters(),
  })),
  onPool('setParameters', 'write', record({ changes: facts }), async (session, body) => {
    // The pool checks them itself: names, types and ranges.
    const changes = body.changes as Partial<PoolParameters>;
    refuseOwnershipChange(session.peer, session.service.parameters, changes);
    await session.service.setParameters(changes);
    return DONE;
  }),
  onPool('usage', 'read', record({ mediaClass: maybe(mediaClass) }), async (session, body) => ({
    body: await session.service.pool.usage(body.mediaClass),
  })),
  onPool('devices', 'read', nothing, async (session) => ({
    body: { devices: await session.service.pool.devices() },
  })),
  onPool(
    'addMediaClass',
    'write',
    record({ mediaClass: oneOf('staging'), options: classOptions }),
    async (session, body) => {
      if (!isManager(session.peer)) {
        throw new MpoolError('ERR_MPOOL_PERMISSION', 'only root has the daemon open a device');
      }
      await session.service.addMediaClass(body.mediaClass, body.options);
      return DONE;
    },
  ),
  onPool('grow', 'write', nothing, async (session) => ({
    body: { gainedBytes: await session.service.grow() },
  })),
  onPool('sync', 'read', nothing, async (session) => {
    if (!session.readOnly) await session.service.pool.sync();
    return DONE;
  }),
  onPool('stats', 'read', nothing, (session) => ({ body: session.service.pool.stats() })),
  onPool('reaper.report', 'read', record({ stats: reaperStats }), (session, body) => {
    session.reaperStats = body.stats;
    return DONE;
  }),
];

export function infoToWire(info: PoolInfo): Wire<PoolInfo> {
  return { ...info, rootMdc: idsToWire(info.rootMdc, 'logA', 'logB') };
}
