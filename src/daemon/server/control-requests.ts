import type { PoolParameters } from '../../pool/api.ts';
import type { ClientInfo } from '../protocol.ts';
import { type ControlHandler, DONE, onControl } from './handler.ts';
import { LIST_PAGE_DEFAULT } from './limits.ts';
import { poolAccessOf } from './permission.ts';
import { infoToWire } from './pool-requests.ts';
import { classOptions, createOptions, reaperChanges } from './pool-shapes.ts';
import { absolutePath, flag, integer, maybe, object, record, text } from './shape.ts';

const nothing = record({});
/** Of JSON, more or less. */
const POOL_INFO_BYTES = 3072;
const CLIENT_INFO_BYTES = 512;
const METRICS_BYTES = 65_536;
/** So that a page of them fits in a frame. */
const CLIENTS_PAGE_MAX = 1024;
/** A name, a UUID, or a path. */
const target = text(4095);

export const controlRequests: readonly ControlHandler[] = [
  onControl('status', 'look', nothing, ({ daemon }) => ({ body: daemon.status })),
  onControl('pools', 'look', nothing, async ({ daemon, peer }, _body, request) => {
    await request.room(daemon.pools.services.length * POOL_INFO_BYTES);
    const visible = daemon.pools.services.filter(
      ({ parameters }) => poolAccessOf(peer, parameters) !== undefined,
    );
    const pools = await Promise.all(
      visible.map(async ({ pool, sessions }) => ({
        ...infoToWire(await pool.info()),
        clientCount: sessions.length,
      })),
    );
    return { body: { pools } };
  }),
  onControl('scan', 'manage', nothing, async ({ daemon }) => ({
    body: { pools: await daemon.pools.scan() },
  })),
  onControl('create', 'manage', record({ options: createOptions }), async (session, body) => {
    const { uid, gid } = session.peer;
    // Whoever makes a pool owns it, unless he says otherwise.
    await session.daemon.pools.create({ uid, gid, ...body.options });
    return DONE;
  }),
  onControl(
    'activate',
    'manage',
    record({
      target,
      force: maybe(flag),
      grow: maybe(flag),
      stagingPath: maybe(absolutePath),
      parameters: maybe(object),
    }),
    async ({ daemon }, { target: wanted, parameters, ...rest }) => {
      const { service, already } = await daemon.pools.activate(wanted, {
        ...rest,
        parameters: parameters as Partial<PoolParameters> | undefined,
      });
      return { body: { name: service.name, uuid: service.uuid, already } };
    },
  ),
  onControl('deactivate', 'manage', record({ target }), async ({ daemon }, body) => {
    await daemon.pools.deactivate(body.target);
    return DONE;
  }),
  onControl(
    'destroy',
    'manage',
    record({ target, force: maybe(flag) }),
    async ({ daemon }, { target: wanted, ...options }) => {
      await daemon.pools.destroy(wanted, options);
      return DONE;
    },
  ),
  onControl(
    'rename',
    'manage',
    record({ target, newName: text(255) }),
    async ({ daemon }, body) => {
      await daemon.pools.rename(body.target, body.newName);
      return DONE;
    },
  ),
  onControl(
    'add',
    'manage',
    record({ target, options: classOptions }),
    async ({ daemon }, body) => {
      const service = await daemon.pools.find(body.target);
      await service.addMediaClass('staging', body.options);
      return DONE;
    },
  ),
  onControl('set', 'look', record({ target, changes: object }), async (session, body) => {
    const service = await session.daemon.pools.find(body.target);
    const changes = body.changes as Partial<PoolParameters>;
    session.assertMayChange(service.parameters, changes);
    await service.setParameters(changes);
    return DONE;
  }),
  onControl(
    'clients',
    'look',
    record({
      target: maybe(target),
      after: maybe(integer(0, Number.MAX_SAFE_INTEGER)),
      count: maybe(integer(1, CLIENTS_PAGE_MAX)),
    }),
    async ({ daemon, peer, access }, body, request) => {
      const { target: wanted, after = 0, count = LIST_PAGE_DEFAULT } = body;
      await request.room(count * CLIENT_INFO_BYTES);
      const services =
        wanted === undefined ? daemon.pools.services : [await daemon.pools.find(wanted)];
      const clients = services
        .flatMap(({ sessions }) => sessions.map(({ info }) => info))
        .filter((info) => info.session > after && maySee(info, access === 'manage', peer.uid))
        .sort((a, b) => a.session - b.session);
      return { body: { clients: clients.slice(0, count), done: clients.length <= count } };
    },
  ),
  onControl('metrics', 'look', nothing, async ({ daemon }, _body, request) => {
    await request.room(METRICS_BYTES);
    return { body: { ...daemon.metrics() } };
  }),
  onControl('reaper', 'look', record({ changes: maybe(reaperChanges) }), (session, body) => {
    const { daemon } = session;
    if (body.changes !== undefined) {
      session.assertManaging();
      daemon.changeReaper(body.changes);
    }
    return { body: { settings: daemon.context.reaper, clients: daemon.reaperReports() } };
  }),
  onControl('reload', 'manage', nothing, async ({ daemon }) => {
    await daemon.reload();
    return DONE;
  }),
  onControl('shutdown', 'manage', nothing, ({ daemon }) => {
    // The answer leaves first.
    setImmediate(() => daemon.requestStop('asked to by a client'));
    return DONE;
  }),
];

/** Others' clients are their own business. */
function maySee(info: ClientInfo, isManaging: boolean, uid: number): boolean {
  return isManaging || info.uid === uid;
}
