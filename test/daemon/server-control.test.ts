// Goal: pools come and go by the control socket, never while someone has them open; who may do what is decided by
//   who connected, and a change of that is in force at once.
// Method: a daemon in this process on real files; clients of other users are real processes (as root).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, statSync } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { text } from 'node:stream/consumers';
import type { ErrorCode } from '../../src/base/errors.ts';
import { controlSocketPath, poolSocketPath } from '../../src/daemon/rundir.ts';
import { program } from '../device/places.ts';
import { MIB, pattern, POOL, type Rig, startRig } from './server-rig.ts';
import { until } from './sockets.ts';

const notRoot = process.geteuid!() === 0 ? false : 'needs root, to be other users';
const USER = 4711;
const OTHER = 4712;
const GROUP = 4713;

async function refuses(answer: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> {
  await assert.rejects(answer, (error: NodeJS.ErrnoException) => {
    assert.equal(error.code, code, error.stack);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });
}

interface Outcome {
  /** 'connect', when already that was refused. */
  step?: string;
  code?: string;
  body?: Record<string, unknown>;
}

/** What another user hears: an operation with its body, on that socket. */
async function asUser(
  path: string,
  ids: { uid: number; gid?: number },
  request: { operation: string; body: object; access?: 'read' | 'write' },
): Promise<Outcome> {
  const child = spawn(process.execPath, [program('../daemon/server-asker-child')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, SOCKET: path, REQUEST: JSON.stringify(request) },
    uid: ids.uid,
    gid: ids.gid ?? ids.uid,
  });
  return JSON.parse(await text(child.stdout)) as Outcome;
}

/** What a reaper may report. */
const REPORT = {
  pressure: 0.5,
  limit: 'machine',
  residentPages: { cold: 7, warm: 0, hot: 0, pinned: 1, unmapped: 0 },
  freePercent: 50,
  ttlMs: 500,
  objectCount: 3,
  evictedObjects: 1,
  evictedPages: 9,
  refaultedObjects: 0,
  delayedReads: 0,
  delayedMs: 0,
  shortenedReadAheads: 0,
  rounds: 1,
  threadMs: 0.5,
  poolMs: 1,
} as const;

function open(rig: Rig): void {
  chmodSync(rig.folder, 0o755);
}

test('a pool is made, seen, left, found, activated, renamed and destroyed', async (t) => {
  const rig = await startRig(t);
  const control = await rig.control();
  const path = join(rig.folder, 'files/p2');
  const capacity = { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB };
  await control.ask('create', { options: { name: 'p2', capacity, label: 'two' } });
  const { pools } = await control.ask('pools', {});
  assert.deepEqual(
    pools.map(({ name, parameters, clientCount }) => [name, parameters.label, clientCount]),
    [
      [POOL, 'raw', 0],
      ['p2', 'two', 0],
    ],
  );
  assert.equal((await control.ask('status', {})).poolCount, 2);
  await refuses(control.ask('create', { options: { name: 'p2', capacity } }), 'ERR_MPOOL_EXISTS');
  const second = { name: 'p3', capacity };
  await refuses(control.ask('create', { options: second }), 'ERR_MPOOL_BUSY');
  const relative = { name: 'p3', capacity: { ...capacity, path: 'p3' } };
  await refuses(control.ask('create', { options: relative }), 'ERR_MPOOL_INVALID_ARG', /absolute/);
  const reserved = { name: 'ctl', capacity: { ...capacity, path: `${path}x` } };
  await refuses(control.ask('create', { options: reserved }), 'ERR_MPOOL_INVALID_ARG');
  assert.equal(existsSync(`${path}x`), false);

  const { uuid } = pools[1]!;
  await control.ask('deactivate', { target: uuid });
  assert.equal(existsSync(poolSocketPath(rig.rundir, 'p2')), false);
  await refuses(control.ask('deactivate', { target: 'p2' }), 'ERR_MPOOL_NOT_FOUND');
  const scanned = await control.ask('scan', {});
  assert.deepEqual(
    scanned.pools.map(({ name, complete }) => [name, complete]),
    [
      [POOL, true],
      ['p2', true],
    ],
  );
  const parameters = { label: 'again', mode: 0o600 };
  const first = await control.ask('activate', { target: 'p2', parameters });
  assert.deepEqual(first, { name: 'p2', uuid, already: false });
  const again = await control.ask('activate', { target: path, parameters: { label: 'third' } });
  assert.equal(again.already, true);
  assert.equal((await rig.daemon.pools.find('p2')).parameters.label, 'third');

  await refuses(control.ask('rename', { target: 'p2', newName: POOL }), 'ERR_MPOOL_EXISTS');
  assert.ok(existsSync(poolSocketPath(rig.rundir, 'p2')), 'as it was');
  await control.ask('rename', { target: 'p2', newName: 'p4' });
  const client = await rig.client({}, 'p4');
  assert.equal((await client.ask('info', {})).name, 'p4');
  for (const busy of [
    control.ask('rename', { target: 'p4', newName: 'p5' }),
    control.ask('deactivate', { target: 'p4' }),
    control.ask('destroy', { target: 'p4' }),
  ]) {
    await refuses(busy, 'ERR_MPOOL_BUSY', /is open: session \d+ \(test, pid \d+\)/);
  }
  await client.close();
  await control.ask('destroy', { target: 'p4' });
  await refuses(control.ask('activate', { target: 'p4' }), 'ERR_MPOOL_NOT_FOUND');
  await refuses(control.ask('activate', { target: path }), 'ERR_MPOOL_NOT_FOUND');
});

test('a staging device: added, missing, done without', async (t) => {
  const rig = await startRig(t);
  const control = await rig.control();
  const path = join(rig.folder, 'files/stage');
  const options = { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB };
  const client = await rig.client();
  await control.ask('add', { target: POOL, options });
  await until(() => client.notices.some(({ name }) => name === 'devices'));
  const { body } = client.notices.find(({ name }) => name === 'devices')! as {
    body: { devices: { mediaClass: string }[]; descriptorToken: string };
  };
  assert.deepEqual(
    body.devices.map(({ mediaClass }) => mediaClass),
    ['capacity', 'staging'],
  );
  await client.close();
  await control.ask('deactivate', { target: POOL });
  await rename(path, join(rig.folder, 'elsewhere'));
  await refuses(control.ask('activate', { target: POOL }), 'ERR_MPOOL_NO_DEVICE');
  await control.ask('activate', { target: POOL, force: true });
  await refuses(rig.client(), 'ERR_MPOOL_READ_ONLY', /active read-only/);
  const reader = await rig.client({ access: 'read' });
  assert.equal((await reader.ask('info', {})).health, 'faulted');
  await reader.close();
  await control.ask('deactivate', { target: POOL });
  const stagingPath = join(rig.folder, 'elsewhere');
  await control.ask('activate', { target: POOL, stagingPath });
  await (await rig.client()).ask('mblock.alloc', { mediaClass: 'staging' });
});

test('clients are listed in pages, with what they hold', async (t) => {
  const rig = await startRig(t);
  const control = await rig.control();
  const clients = [await rig.client(), await rig.client({ access: 'read', client: 'viewer' })];
  await clients[0]!.ask('mblock.alloc', { count: 3 });
  await clients[0]!.mblock(pattern(8192));
  await clients[1]!.ask('mdc.open', {});
  const first = await control.ask('clients', { count: 1 });
  assert.equal(first.done, false);
  const [info] = first.clients;
  assert.deepEqual(
    [info!.pool, info!.pid, info!.access, info!.uncommittedCount, info!.leaseCount],
    [POOL, process.pid, 'write', 3, 1],
  );
  assert.equal(info!.writtenBytes, 8192);
  const rest = await control.ask('clients', { target: POOL, after: info!.session });
  assert.deepEqual(
    rest.clients.map(({ client, access, openLogCount }) => [client, access, openLogCount]),
    [['viewer', 'read', 1]],
  );
  await refuses(control.ask('clients', { target: 'nix' }), 'ERR_MPOOL_NOT_FOUND');
});

test('the reapers of all clients are told what to do, and what they report is told', async (t) => {
  const rig = await startRig(t);
  const [control, client] = [await rig.control(), await rig.client()];
  await control.ask('reaper', { changes: { ttlMs: 500, budgetBytes: null } });
  await until(() => client.notices.length > 0);
  assert.deepEqual(client.notices, [{ name: 'reaper', body: { ttlMs: 500, budgetBytes: null } }]);
  await refuses(control.ask('reaper', { changes: { memoryPercent: 4 } }), 'ERR_MPOOL_INVALID_ARG');
  const later = await rig.client();
  assert.deepEqual(later.channel.welcome.pool!.reaper, { ttlMs: 500, budgetBytes: null });
  const stats = REPORT;
  await client.ask('reaper.report', { stats: stats as never });
  const { settings, clients } = await control.ask('reaper', {});
  assert.deepEqual(settings, { ttlMs: 500, budgetBytes: null });
  assert.deepEqual(
    clients.map((each) => [each.pool, each.stats]),
    [[POOL, stats]],
  );
});

test('a reload changes what it can, and a wrong one nothing', async (t) => {
  let mode: unknown = 0o660;
  const config = Object.defineProperty({}, 'ctlMode', { enumerable: true, get: () => mode });
  const rig = await startRig(t, { config });
  const path = controlSocketPath(rig.rundir);
  assert.equal(statSync(path).mode & 0o777, 0o660);
  mode = 0o640;
  const control = await rig.control();
  await control.ask('reload', {});
  assert.equal(statSync(path).mode & 0o777, 0o660, 'connecting takes w');
  mode = 0o600;
  await control.ask('reload', {});
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test(
  'owner, group and mode of a pool decide who may come, and as what',
  { skip: notRoot },
  async (t) => {
    const rig = await startRig(t, { create: { uid: USER, gid: GROUP, mode: 0o640 } });
    open(rig);
    const path = poolSocketPath(rig.rundir, POOL);
    const facts = await stat(path);
    assert.deepEqual([facts.uid, facts.gid, facts.mode & 0o777], [USER, GROUP, 0o660]);
    const info = { operation: 'info', body: {} };
    const write = { ...info, access: 'write' } as const;
    const read = { ...info, access: 'read' } as const;
    const code = async (ids: { uid: number; gid?: number }, what: typeof write | typeof read) =>
      (await asUser(path, ids, what)).code ?? 'done';
    assert.equal(await code({ uid: USER }, write), 'done');
    assert.equal(await code({ uid: OTHER, gid: GROUP }, read), 'done');
    assert.equal(await code({ uid: OTHER, gid: GROUP }, write), 'ERR_MPOOL_ACCESS');
    assert.equal(await code({ uid: OTHER }, read), 'ERR_MPOOL_ACCESS');

    const control = await rig.control();
    const client = await rig.client();
    await control.ask('set', { target: POOL, changes: { mode: 0o604 } });
    assert.equal((await stat(path)).mode & 0o777, 0o606);
    assert.equal(await code({ uid: OTHER }, read), 'done');
    assert.equal(
      await code({ uid: OTHER, gid: GROUP }, read),
      'ERR_MPOOL_ACCESS',
      'the group first',
    );
    await control.ask('set', { target: POOL, changes: { mode: 0 } });
    assert.equal(await code({ uid: USER }, read), 'ERR_MPOOL_ACCESS', 'nobody but root');
    assert.ok(client.channel.open, 'root stays');
  },
);

test('who loses his permission loses his session', { skip: notRoot }, async (t) => {
  const rig = await startRig(t, { create: { uid: USER, gid: GROUP, mode: 0o660 } });
  open(rig);
  const path = poolSocketPath(rig.rundir, POOL);
  const waiting = asUser(path, { uid: USER }, { operation: 'wait', body: {}, access: 'write' });
  await until(() => rig.service.sessions.length === 1);
  const control = await rig.control();
  await control.ask('set', { target: POOL, changes: { mode: 0o460 } });
  const { code, body } = await waiting;
  assert.equal(code, 'ERR_MPOOL_CONNECTION_LOST');
  assert.equal(body!['cause'], 'ERR_MPOOL_ACCESS');
  await until(() => rig.service.sessions.length === 0);
});

test(
  'only its owner changes the mode of a pool, and only root the owner',
  { skip: notRoot },
  async (t) => {
    const rig = await startRig(t, { create: { uid: USER, gid: GROUP, mode: 0o666 } });
    open(rig);
    const path = poolSocketPath(rig.rundir, POOL);
    const set = async (ids: { uid: number; gid?: number }, changes: object): Promise<string> => {
      const request = { operation: 'setParameters', body: { changes }, access: 'write' } as const;
      return (await asUser(path, ids, request)).code ?? 'done';
    };
    assert.equal(await set({ uid: OTHER }, { label: 'x' }), 'done');
    assert.equal(await set({ uid: OTHER }, { mode: 0o600 }), 'ERR_MPOOL_PERMISSION');
    assert.equal(await set({ uid: OTHER }, { mode: 0o666, uid: USER }), 'done', 'no change');
    assert.equal(await set({ uid: USER }, { uid: OTHER }), 'ERR_MPOOL_PERMISSION');
    assert.equal(await set({ uid: USER }, { gid: 9 }), 'ERR_MPOOL_PERMISSION', 'not his group');
    assert.equal(await set({ uid: USER, gid: 9 }, { gid: 9, mode: 0o600 }), 'done');
    assert.deepEqual([rig.service.parameters.gid, rig.service.parameters.mode], [9, 0o600]);
    assert.equal(await set({ uid: USER }, { mode: 0o060 }), 'done', 'he has his answer');
    await until(() => rig.service.sessions.length === 0);
    assert.equal(await set({ uid: USER }, { mode: 0o600 }), 'ERR_MPOOL_ACCESS');
    await rig.service.setParameters({ mode: 0o600 });
    const options = { path: '/etc/hosts', force: true };
    const add = { operation: 'addMediaClass', body: { mediaClass: 'staging', options } } as const;
    const added = await asUser(path, { uid: USER }, { ...add, access: 'write' });
    assert.equal(added.code, 'ERR_MPOOL_PERMISSION', 'nobody has the daemon open what he may not');
  },
);

test('one user leaves room for others', { skip: notRoot }, async (t) => {
  const limits = { sessionsPerPool: 4, sessionsPerUser: 2 };
  const rig = await startRig(t, { limits, create: { mode: 0o666 } });
  open(rig);
  const path = poolSocketPath(rig.rundir, POOL);
  const wait = { operation: 'wait', body: {}, access: 'read' } as const;
  const waiting = [1, 2].map(() => asUser(path, { uid: USER }, wait));
  await until(() => rig.service.sessions.length === 2);
  const info = { operation: 'info', body: {}, access: 'read' } as const;
  assert.equal((await asUser(path, { uid: USER }, info)).code, 'ERR_MPOOL_LIMIT');
  assert.equal((await asUser(path, { uid: OTHER }, info)).code, undefined);
  const mute = spawn(process.execPath, [program('../daemon/server-asker-child')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, SOCKET: path, REQUEST: JSON.stringify({ operation: 'mute' }) },
    uid: USER,
    gid: USER,
  });
  t.after(() => mute.kill('SIGKILL'));
  await once(mute.stdout, 'data');
  assert.equal((await asUser(path, { uid: OTHER }, info)).code, undefined);
  await rig.daemon.stop();
  for (const outcome of await Promise.all(waiting)) {
    assert.equal(outcome.code, 'ERR_MPOOL_CONNECTION_LOST');
  }
});

test(
  'ctl is for its owner; its mode says who else may manage, and who may look',
  { skip: notRoot },
  async (t) => {
    const rig = await startRig(t, {
      config: { ctlMode: 0o664, ctlGroup: String(GROUP) },
      create: { uid: USER, mode: 0o600 },
    });
    open(rig);
    const path = controlSocketPath(rig.rundir);
    const ask = async (
      ids: { uid: number; gid?: number },
      operation: string,
      body: object = {},
    ) => {
      const { code = 'done', body: answer } = await asUser(path, ids, { operation, body });
      return { code, answer };
    };
    assert.equal((await ask({ uid: OTHER }, 'status')).code, 'done');
    const { answer: seen } = await ask({ uid: OTHER }, 'pools');
    assert.deepEqual(seen!['pools'], [], 'only those he may open');
    const { answer: own } = await ask({ uid: USER }, 'pools');
    assert.equal((own!['pools'] as unknown[]).length, 1);
    await rig.client();
    assert.deepEqual((await ask({ uid: OTHER }, 'clients')).answer!['clients'], []);
    const body = { target: POOL };
    for (const operation of [
      'scan',
      'deactivate',
      'destroy',
      'shutdown',
      'reload',
      'activate',
      'scrub',
    ]) {
      assert.equal((await ask({ uid: OTHER }, operation, body)).code, 'ERR_MPOOL_PERMISSION');
    }
    const changes = { enabled: false };
    assert.equal((await ask({ uid: OTHER }, 'reaper', { changes })).code, 'ERR_MPOOL_PERMISSION');
    const set = { target: POOL, changes: { label: 'mine' } };
    assert.equal((await ask({ uid: OTHER }, 'set', set)).code, 'ERR_MPOOL_PERMISSION');
    assert.equal((await ask({ uid: USER }, 'set', set)).code, 'done', 'the owner of the pool');
    assert.equal((await ask({ uid: OTHER, gid: GROUP }, 'scan')).code, 'done');
    assert.equal(
      (await ask({ uid: OTHER, gid: GROUP }, 'deactivate', body)).code,
      'ERR_MPOOL_BUSY',
    );
    const strict = await startRig(t, { config: { ctlMode: 0o600 } });
    open(strict);
    const closed = await asUser(
      controlSocketPath(strict.rundir),
      { uid: USER },
      { operation: 'status', body: {} },
    );
    assert.deepEqual([closed.step, closed.code], ['connect', 'ERR_MPOOL_ACCESS']);
  },
);

test(
  'by default anyone may look, at pools he may open and at clients of his own',
  { skip: notRoot },
  async (t) => {
    const rig = await startRig(t, { create: { uid: USER, mode: 0o600 } });
    open(rig);
    const path = controlSocketPath(rig.rundir);
    assert.equal(statSync(path).mode & 0o777, 0o666, 'connecting takes w');
    const ask = async (uid: number, operation: string, body: object = {}) =>
      asUser(path, { uid }, { operation, body });
    const answer = async (uid: number, operation: string, body: object = {}) => {
      const { body: answered, code } = await ask(uid, operation, body);
      assert.equal(code, undefined);
      return answered as Record<string, any>; // oxlint-disable-line typescript/no-explicit-any
    };
    const client = await rig.client();
    await client.mblock(pattern(4096));
    await client.ask('reaper.report', { stats: REPORT as never });
    assert.equal((await answer(OTHER, 'status'))['mayManage'], false);
    assert.equal((await (await rig.control()).ask('status', {})).mayManage, true);
    const seen = await answer(OTHER, 'metrics');
    assert.deepEqual([seen['pools'], seen['operations']], [[], {}]);
    assert.deepEqual((await answer(OTHER, 'reaper'))['clients'], []);
    const own = await answer(USER, 'metrics');
    assert.deepEqual(
      own['pools'].map((pool: { name: string }) => pool.name),
      [POOL],
    );
    assert.equal(own['pools'][0].stats.metadataGroups.operations > 0, true);
    assert.deepEqual(own['operations'], {}, 'what others ask for');
    assert.deepEqual((await answer(USER, 'reaper'))['clients'], [], 'which are root’s');
    assert.ok((await (await rig.control()).ask('reaper', {})).clients.length === 1);
    const device = join(rig.folder, 'files/p1');
    assert.deepEqual((await answer(USER, 'clients', { target: device }))['clients'], []);
    const guess = await ask(OTHER, 'clients', { target: device });
    assert.equal(guess.code, 'ERR_MPOOL_NOT_FOUND', 'where a pool is, is not to be guessed');
    const detour = { target: `${rig.folder}/files/../files/p1` };
    assert.equal((await ask(USER, 'clients', detour)).code, 'ERR_MPOOL_NOT_FOUND', 'not looked up');
    assert.equal((await (await rig.control()).ask('clients', detour)).clients.length, 1);
    for (const [operation, body] of [
      ['deactivate', { target: POOL }],
      ['create', { options: {} }],
      ['shutdown', {}],
    ] as const) {
      assert.equal((await ask(USER, operation, body)).code, 'ERR_MPOOL_PERMISSION');
    }
    const nested = { target: POOL, changes: { label: ['x'.repeat(10)] } };
    assert.equal((await ask(USER, 'set', nested)).code, 'ERR_MPOOL_INVALID_ARG');
  },
);

test('a pool whose file is taken away fails for its clients, and not the daemon', async (t) => {
  const rig = await startRig(t);
  const control = await rig.control();
  await control.ask('deactivate', { target: POOL });
  await rm(join(rig.folder, 'files/p1'));
  await refuses(control.ask('activate', { target: POOL }), 'ERR_MPOOL_NOT_FOUND');
  assert.equal((await control.ask('status', {})).state, 'running');
});
