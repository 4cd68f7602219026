/** Verbs that tell of the daemon itself. */
import type { ClientInfo, DaemonStatus } from '../../client.ts';
import type { PoolInfo } from '../../pool/api.ts';
import { accountName } from '../accounts.ts';
import { activePools, findActive } from '../active-pools.ts';
import { command } from '../command.ts';
import { askEach, needRunning } from '../daemons.ts';
import { jsonDocument } from '../json.ts';
import { column, reportColumns, sizeColumn } from '../report-columns.ts';
import { sortRows, writeTable } from '../report.ts';
import { utcTime } from '../times.ts';
import { safeText } from '../top/line.ts';
import { JSON_IS_WHOLE, POOL, whyMissing } from './common.ts';

const STATUS_COLUMNS = reportColumns<DaemonStatus>({
  always: [
    column('rundir', 'RUNDIR', 'directory of its sockets', ({ rundir }) => rundir),
    column('pid', '>PID', 'process', ({ pid }) => pid),
    column('state', 'STATE', 'running, or stopping', ({ state }) => state),
    column('pools', '>POOLS', 'active pools', ({ poolCount }) => poolCount),
    column('clients', '>CLIENTS', 'clients that have a pool open', (row) => row.clientCount),
    column('since', 'SINCE', 'when it began, in UTC', ({ startedMs }) => startedMs, utcTime),
  ],
  verbose: [
    column('version', 'VERSION', 'of the program', ({ version }) => version),
    column('manage', 'MANAGE', 'whether you may manage it', ({ mayManage }) =>
      mayManage ? 'yes' : 'no',
    ),
  ],
});

export const status = command({
  name: 'status',
  about: 'daemon',
  summary: 'Show the daemons that run, and what is wrong with their pools',
  columns: STATUS_COLUMNS,
  details: [
    'Exit status 0: one runs, and its pools that you may open are well. 1: none runs, or a ' +
      'pool is degraded or faulted, and what is wrong with it is told: see mpool-list(8).',
    JSON_IS_WHOLE,
  ],
  examples: ['mpool status', 'mpool status --json'],
  async run(call, context) {
    const running = await needRunning(context.daemons);
    const all = await askEach(running, (daemon) => daemon.status(), context);
    const rows = sortRows(call, STATUS_COLUMNS, all);
    const pools = await activePools(running);
    const faulted = pools.filter(({ info }) => info.health !== 'optimal');
    if (call.options.has('json')) {
      const faults = faulted.map(({ info: { name, uuid, health, fault, problems } }) => ({
        name,
        uuid,
        health,
        fault,
        problems,
      }));
      const content = { daemons: rows, faults, pools: pools.map(({ info }) => featuresOf(info)) };
      await context.out.write(jsonDocument('status', content));
    } else {
      await writeTable(call, context, STATUS_COLUMNS, rows);
    }
    for (const { info } of faulted) {
      const told = info.problems.map(({ message }) => message);
      for (const message of told.length > 0 ? told : [info.fault ?? info.health]) {
        context.note(`${info.name}: ${message}`);
      }
    }
    return faulted.length > 0 ? 1 : 0;
  },
});

function featuresOf({ name, uuid, formatVersion, features }: PoolInfo): object {
  return { name, uuid, formatVersion, features };
}

const CLIENT_COLUMNS = reportColumns<ClientInfo>({
  always: [
    column('pool', 'MPOOL', 'name of the pool', ({ pool }) => pool),
    column('pid', '>PID', 'process', ({ pid }) => pid),
    column(
      'user',
      'USER',
      'whose process it is',
      ({ uid }) => uid,
      (uid, style) => (style.resolve ? accountName('user', uid) : String(uid)),
    ),
    column('program', 'PROGRAM', 'what it calls itself', ({ client }) => safeText(client)),
    column('access', 'ACCESS', 'read or write; excl when nobody else may open the pool', (row) =>
      row.exclusive ? `${row.access},excl` : row.access,
    ),
    column('leases', '>LEASES', 'mblocks that it may be reading', ({ leaseCount }) => leaseCount),
    column('maps', '>MAPPED', 'mblocks that it has mapped', ({ mappedCount }) => mappedCount),
    column(
      'uncommitted',
      '>UNCOMMITTED',
      'objects that it has not committed',
      (row) => row.uncommittedCount,
    ),
    column('logs', '>LOGS', 'logs that it has open', ({ openLogCount }) => openLogCount),
    sizeColumn('written', 'WRITTEN', 'what it wrote', ({ writtenBytes }) => writtenBytes),
  ],
  verbose: [
    column('session', '>SESSION', 'number of its connection', ({ session }) => session),
    column('requests', '>REQUESTS', 'requests so far', ({ requestCount }) => requestCount),
    column('inflight', '>INFLIGHT', 'requests under way', (row) => row.requestsInFlight),
    column(
      'since',
      'SINCE',
      'when it connected, in UTC',
      ({ connectedMs }) => connectedMs,
      utcTime,
    ),
  ],
});

export const clients = command({
  name: 'clients',
  about: 'daemon',
  summary: 'Show who has pools open in the daemon',
  positionals: [{ ...POOL, count: 'any' }],
  options: ['noresolve', 'nosuffix'],
  columns: CLIENT_COLUMNS,
  details: [
    'Who may not manage the daemon sees his own clients. Reads are done by the clients ' +
      'themselves: only what passes through the daemon is counted.',
    JSON_IS_WHOLE,
  ],
  examples: ['mpool clients', 'mpool clients mp1 --sort -written', 'mpool clients -Ho pid mp1'],
  async run(call, context) {
    const running = await needRunning(context.daemons);
    const store = await context.store();
    const active = await activePools(running);
    const found: ClientInfo[] = [];
    const missing: string[] = [];
    if (call.words.length === 0) {
      const all = await askEach(running, (daemon) => daemon.clients(), context);
      found.push(...all.flat());
    }
    for (const word of call.words) {
      const pool = await findActive(word, active, store);
      if (pool === undefined) missing.push(word);
      else found.push(...(await pool.daemon.clients(pool.info.name)));
    }
    for (const word of missing) {
      const there = (await store.scan({ places: context.places })).some(
        ({ name }) => name === word,
      );
      const why = there ? `mpool ${word} is not active` : await whyMissing(word, context);
      context.note(`clients: ${why}`);
    }
    if (missing.length > 0 && missing.length === call.words.length) return 1;
    const rows = sortRows(call, CLIENT_COLUMNS, found);
    if (call.options.has('json')) {
      await context.out.write(jsonDocument('clients', { clients: rows }));
    } else {
      await writeTable(call, context, CLIENT_COLUMNS, rows);
    }
    return missing.length > 0 ? 1 : 0;
  },
});
