import { MpoolError } from '../../base/errors.ts';
import type { PoolParameters } from '../../pool/api.ts';
import { checkScrubOptions } from '../../pool/parameters.ts';
import type { ControlSession } from './control-session.ts';
import { type ControlHandler, DONE, onControl } from './handler.ts';
import { LIST_PAGE_DEFAULT } from './limits.ts';
import { infoToWire } from './pool-requests.ts';
import { classOptions, createOptions, reaperChanges } from './pool-shapes.ts';
import type { PoolService } from './pool-service.ts';
import {
  absolutePath,
  facts,
  flag,
  integer,
  maybe,
  measure,
  object,
  record,
  text,
} from './shape.ts';

const nothing = record({});
const ofScrub = record({ scrub: integer(1, Number.MAX_SAFE_INTEGER) });
/** Of JSON, more or less. */
const POOL_INFO_BYTES = 3072;
const CLIENT_INFO_BYTES = 512;
const METRICS_BYTES = 65_536;
const POOL_METRICS_BYTES = 4096;
/** A hundred findings of each of ten structures. */
const SCRUB_REPORT_BYTES = 524_288;
/** So that a page of them fits in a frame. */
const CLIENTS_PAGE_MAX = 1024;
/** A name, a UUID, or a path. */
const target = text(4095);

export const controlRequests: readonly ControlHandler[] = [
  onControl('status', 'look', nothing, ({ daemon, isManaging }) => ({
    body: { ...daemon.status, mayManage: isManaging },
  })),
  onControl('pools', 'look', nothing, async (session, _body, request) => {
    const { services } = session.daemon.pools;
    const visible = services.filter(({ parameters }) => session.maySeePool(parameters));
    await request.room(visible.length * POOL_INFO_BYTES);
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
  onControl('set', 'look', record({ target, changes: facts }), async (session, body) => {
    const service = await findFor(session, body.target);
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
    async (session, body, request) => {
      const { target: wanted, after = 0, count = LIST_PAGE_DEFAULT } = body;
      await request.room(count * CLIENT_INFO_BYTES);
      const { services } = session.daemon.pools;
      const found = wanted === undefined ? services : [await findFor(session, wanted)];
      const clients = found
        .flatMap(({ sessions }) => sessions)
        .filter(({ id, peer }) => id > after && session.maySeeClient(peer))
        .sort((a, b) => a.id - b.id);
      const page = clients.slice(0, count).map(({ info }) => info);
      return { body: { clients: page, done: clients.length <= count } };
    },
  ),
  onControl('metrics', 'look', nothing, async (session, _body, request) => {
    const { services } = session.daemon.pools;
    const visible = services.filter(({ parameters }) => session.maySeePool(parameters));
    await request.room(METRICS_BYTES + visible.length * POOL_METRICS_BYTES);
    const metrics = session.daemon.metrics(visible);
    // What others ask for is their own business.
    return { body: session.isManaging ? { ...metrics } : { ...metrics, operations: {} } };
  }),
  onControl('reaper', 'look', record({ changes: maybe(reaperChanges) }), (session, body) => {
    const { daemon } = session;
    if (body.changes !== undefined) {
      session.assertManaging();
      daemon.changeReaper(body.changes);
    }
    const clients = daemon.reaperReports((client) => session.maySeeClient(client));
    return { body: { settings: daemon.context.reaper, clients } };
  }),
  onControl(
    'scrub',
    'manage',
    record({
      target,
      bytesPerSecond: maybe(measure(1, Number.MAX_SAFE_INTEGER)),
      from: maybe(text(64)),
    }),
    async ({ daemon, scrubs }, { target: wanted, ...options }) => {
      const service = await daemon.pools.find(wanted);
      checkScrubOptions(options);
      return { body: { scrub: scrubs.start(service, options) } };
    },
  ),
  onControl('scrub.wait', 'manage', ofScrub, async ({ scrubs }, { scrub }, request) => {
    const state = await scrubs.wait(scrub);
    if (state.report !== undefined) await request.room(SCRUB_REPORT_BYTES);
    return { body: state };
  }),
  onControl('scrub.stop', 'manage', ofScrub, ({ scrubs }, { scrub }) => {
    scrubs.stop(scrub);
    return DONE;
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

/** For who may only look the daemon looks up no paths: where they lead is his choice, and may hang. */
async function findFor(session: ControlSession, named: string): Promise<PoolService> {
  const { daemon, isManaging } = session;
  const service = await daemon.pools.find(named, { lookUpPaths: isManaging });
  // Names are there for all to see, as sockets; where a pool is, is not to be guessed.
  if (!named.includes('/') || session.maySeePool(service.parameters)) return service;
  throw new MpoolError('ERR_MPOOL_NOT_FOUND', `active pool '${named}'`);
}
