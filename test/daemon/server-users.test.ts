// Goal: one user, with as many clients as he likes, has a bounded part of the daemon; what he gives back others, and
//   he himself, can have again; and nobody keeps root from managing.
// Method: processes of other users (as root) take step by step what small limits allow, of two pools; what each
//   step was answered is compared, and at the end the daemon must count nothing of them.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { DaemonLimits } from '../../src/daemon/server/limits.ts';
import { UserAccounts } from '../../src/daemon/server/user-accounts.ts';
import { DAEMON_LIMITS, UNCROWDED_CLIENTS } from '../../src/daemon/server/limits.ts';
import { controlSocketPath, poolSocketPath } from '../../src/daemon/rundir.ts';
import { program } from '../device/places.ts';
import type { Outcome, Step } from './server-hoarder-child.ts';
import { MIB, pattern, POOL, type Rig, startRig } from './server-rig.ts';
import { until } from './sockets.ts';

const notRoot = process.geteuid!() === 0 ? false : 'needs root, to be other users';
const [USER, OTHER, THIRD] = [4721, 4722, 4723];

interface Hoard {
  outcomes: Outcome[];
  /** With all that it has. */
  end: () => Promise<void>;
}

/** A process of that user, when it has done all steps; it keeps what it got. */
async function hoard(t: TestContext, uid: number, steps: readonly Step[]): Promise<Hoard> {
  const child: ChildProcess = spawn(process.execPath, [program('../daemon/server-hoarder-child')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, STEPS: JSON.stringify(steps) },
    uid,
    gid: uid,
  });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until(() => said.endsWith('\n') || child.exitCode !== null);
  return {
    outcomes: JSON.parse(said) as Outcome[],
    end: async () => {
      const ended = once(child, 'exit');
      child.stdin!.end();
      await ended;
    },
  };
}

async function openRig(t: TestContext, limits: Partial<DaemonLimits>): Promise<Rig> {
  const rig = await startRig(t, { limits: { lingerMs: 20, ...limits }, create: { mode: 0o666 } });
  chmodSync(rig.folder, 0o755);
  return rig;
}

async function secondPool(rig: Rig): Promise<string> {
  const control = await rig.control();
  const path = join(rig.folder, 'files/p2');
  const capacity = { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB };
  await control.ask('create', { options: { name: 'p2', capacity, mode: 0o666 } });
  await control.close();
  return poolSocketPath(rig.rundir, 'p2');
}

test('what a user has is counted until it is given back; root is not bounded', () => {
  const users = new UserAccounts({ ...DAEMON_LIMITS, openLogsPerUser: 3 });
  const account = users.of({ uid: USER, gid: 1, groups: [] });
  account.take('openLogs', 2);
  assert.throws(() => account.take('openLogs', 2), {
    code: 'ERR_MPOOL_LIMIT',
    message: /3 open logs of user 4721/,
  });
  assert.equal(account.held('openLogs'), 2, 'all or nothing');
  assert.equal(users.of({ uid: USER, gid: 9, groups: [7] }), account);
  account.add('openLogs', 5);
  assert.ok(account.isFull('openLogs'));
  account.give('openLogs', 7);
  assert.equal(users.count, 0);
  const root = users.of({ uid: 0, gid: 0, groups: [] });
  root.take('openLogs', 1000);
  assert.ok(!root.isFull('openLogs'));
});

test('so many reads of records at once, and the next when one is done, however it ended', async () => {
  const users = new UserAccounts({ ...DAEMON_LIMITS, recordReadsPerUser: 2 });
  const account = users.of({ uid: USER, gid: 1, groups: [] });
  const ends: ((failed: boolean) => void)[] = [];
  const read = (): Promise<void> =>
    account.reading(
      () =>
        new Promise((resolve, reject) => {
          ends.push((failed) => (failed ? reject(new Error('no')) : resolve()));
        }),
    );
  const reads = Array.from({ length: 5 }, () => read().catch(() => {}));
  await new Promise(setImmediate);
  assert.equal(ends.length, 2);
  ends[0]!(true);
  await reads[0];
  await new Promise(setImmediate);
  assert.equal(ends.length, 3);
  for (let i = 1; i < 5; i++) {
    ends[i]!(i % 2 === 0);
    await reads[i];
    await new Promise(setImmediate);
  }
  assert.equal(ends.length, 5);
});

test(
  'each total of a user is a refusal that names it, across pools',
  { skip: notRoot },
  async (t) => {
    const rig = await openRig(t, {
      sessionsPerUser: 3,
      sharedBytesPerUser: 2 * 64 * 2 ** 18,
      openLogsPerUser: 2,
      readersPerUser: 2,
      recordBytesPerUser: 100_000,
      uncommittedPerUser: 3,
      leasesPerUser: 2,
    });
    const [p1, p2] = [poolSocketPath(rig.rundir, POOL), await secondPool(rig)];
    const owner = await rig.client();
    const ids = [1, 2, 3].map((seed) => owner.mblock(pattern(4096, seed)));
    const [first, second, third] = await Promise.all(ids);
    const long = await owner.ask('mlog.alloc', { capacityBytes: 4 * MIB });
    await owner.ask('mlog.commit', { id: long.id });
    const { log } = await owner.ask('mlog.open', { id: long.id });
    for (let i = 0; i < 3; i++) {
      await owner.ask('log.append', { log, lengths: [300_000] }, pattern(300_000, i));
    }
    const a = { by: 'a', socket: p1 };
    const b = { by: 'b', socket: p2 };
    const c = { by: 'c', socket: p1 };
    const read = { ...a, operation: 'log.read' } as const;
    const steps: [Step, RegExp | undefined][] = [
      [a, undefined],
      [b, undefined],
      [c, undefined],
      [{ by: 'd', socket: p2 }, /3 clients of user 4721/],
      [{ ...a, operation: 'descriptors' }, undefined],
      [{ ...b, operation: 'descriptors' }, undefined],
      [{ ...c, operation: 'descriptors' }, /33554432 bytes of shared memory of user 4721/],
      [{ ...b, operation: 'close' }, undefined],
      [{ ...c, operation: 'mblock.alloc', body: { count: 2 } }, undefined],
      [{ ...a, operation: 'mblock.alloc', body: { count: 2 } }, /3 uncommitted objects of user/],
      [{ ...a, operation: 'mblock.alloc' }, undefined],
      [{ ...a, operation: 'mlog.alloc', body: { capacityBytes: 65_536 } }, /3 uncommitted objects/],
      [{ ...a, operation: 'mblock.lease', body: { ids: [first] } }, undefined],
      [{ ...c, operation: 'mblock.lease', body: { ids: [second, third] } }, /2 objects leased of/],
      [{ ...c, operation: 'mblock.lease', body: { ids: [first] } }, undefined],
      [{ ...a, operation: 'mlog.open', body: { id: long.id } }, undefined],
      [{ ...c, operation: 'mlog.open', body: { id: long.id } }, undefined],
      [{ ...c, operation: 'mdc.open' }, /2 open logs of user 4721/],
      [{ ...read, body: { log: 1, reader: 1, maxBytes: 1000 } }, undefined],
      [
        { ...read, body: { log: 1, reader: 2 } },
        /100000 bytes of log records that are read in part/,
      ],
      [{ ...read, body: { log: 1, reader: 3 } }, /2 log readers of user 4721/],
      [{ ...read, operation: 'log.rewind', body: { log: 1, reader: 1 } }, undefined],
      [{ ...read, body: { log: 1, reader: 2, maxRecordBytes: 10 } }, /300000 bytes, the buffer 10/],
      [{ ...read, body: { log: 1, reader: 1 } }, /bytes of log records that are read in part/],
      [{ ...read, body: { log: 1, reader: 2, maxBytes: MIB } }, undefined],
      [{ ...read, body: { log: 1, reader: 1, maxBytes: 200_000 } }, undefined],
      [{ ...read, body: { log: 1, reader: 1, maxBytes: 200_000 } }, undefined],
    ];
    const { outcomes, end } = await hoard(
      t,
      USER,
      steps.map(([step]) => step),
    );
    for (const [i, [step, refusal]] of steps.entries()) {
      const { message, code } = outcomes[i]!;
      const what = `step ${i}, ${JSON.stringify(step)}: ${message}`;
      if (refusal === undefined) assert.equal(code, undefined, what);
      else assert.match(`${code} ${message}`, refusal, what);
    }
    const lengths = outcomes.slice(-3).map(({ body }) => [body!['lengths'], body!['restBytes']]);
    assert.deepEqual(lengths, [
      [[300_000, 300_000, 300_000], undefined],
      [[200_000], 100_000],
      [[100_000], undefined],
    ]);
    const { users } = rig.daemon.context;
    const account = users.of({ uid: USER, gid: USER, groups: [] });
    assert.deepEqual(
      [account.held('clients'), account.held('uncommittedObjects'), account.held('recordBytes')],
      [2, 3, 0],
    );
    // Another user has all of his own.
    const other = await hoard(t, OTHER, [a, b, { ...a, operation: 'mblock.alloc' }]);
    assert.deepEqual(
      other.outcomes.map(({ code }) => code),
      [undefined, undefined, undefined],
    );
    await end();
    await other.end();
    await owner.close();
    await until(() => users.count === 0);
    assert.deepEqual(
      rig.events.filter((line) => / error /.test(line)),
      [],
    );
  },
);

test(
  'the more clients a user has the less memory each may take for requests',
  { skip: notRoot },
  async (t) => {
    const rig = await openRig(t, {});
    const socket = poolSocketPath(rig.rundir, POOL);
    const owner = await rig.client();
    const log = await owner.ask('mlog.alloc', { capacityBytes: 4 * MIB });
    await owner.ask('mlog.commit', { id: log.id });
    const count = UNCROWDED_CLIENTS + 1;
    const connects = Array.from({ length: count }, (_, i) => ({ by: `c${i}`, socket }));
    const last = `c${count - 1}`;
    const work: Step[] = [
      // Longer than what it may have under way: one at a time is always possible.
      { by: last, socket, operation: 'mlog.open', body: { id: log.id } },
      {
        by: last,
        socket,
        operation: 'log.append',
        body: { log: 1, lengths: [MIB] },
        payloadBytes: MIB,
      },
      { by: last, socket, operation: 'log.read', body: { log: 1, reader: 1, maxBytes: MIB } },
    ];
    const { outcomes } = await hoard(t, USER, [...connects, ...work]);
    const inline = outcomes.slice(0, count).map(({ limits }) => limits!.inlineBytes);
    assert.deepEqual(new Set(inline.slice(0, -1)), new Set([8 * MIB]));
    assert.equal(inline.at(-1), 2 ** 18);
    const [, appended, read] = outcomes.slice(count);
    assert.equal(appended!.code, undefined, appended!.message);
    assert.deepEqual(read!.body?.['lengths'], [MIB], read!.message);
  },
);

test('who may only look keeps nobody from managing', { skip: notRoot }, async (t) => {
  const rig = await openRig(t, {
    controlSessions: 6,
    controlSessionsKept: 2,
    controlSessionsPerUser: 3,
  });
  const socket = controlSocketPath(rig.rundir);
  const four = ['a', 'b', 'c', 'd'].map((by): Step => ({ by, socket, operation: 'status' }));
  const one = await hoard(t, USER, four);
  assert.deepEqual(
    one.outcomes.map(({ code, body }) => code ?? body!['mayManage']),
    [false, false, false, 'ERR_MPOOL_LIMIT'],
  );
  assert.match(one.outcomes[3]!.message!, /3 clients of ctl of user 4721/);
  const two = await hoard(t, OTHER, four);
  assert.match(two.outcomes[1]!.message!, /4 clients of ctl/);
  const managers = [await rig.control(), await rig.control()];
  for (const each of managers) assert.equal((await each.ask('status', {})).mayManage, true);
  await assert.rejects(rig.control(), { code: 'ERR_MPOOL_LIMIT', message: /6 clients of ctl/ });
  await one.end();
  await until(
    () =>
      rig.daemon.context.users.of({ uid: USER, gid: 0, groups: [] }).held('controlClients') === 0,
  );
  const again = await hoard(t, THIRD, four.slice(0, 3));
  assert.deepEqual(
    again.outcomes.map(({ code }) => code),
    [undefined, undefined, undefined],
  );
});

test(
  'connections that say nothing keep neither other users nor root out',
  { skip: notRoot },
  async (t) => {
    const rig = await openRig(t, { arrivals: 24, arrivalsKept: 2, arrivalsPerUser: 10 });
    const socket = poolSocketPath(rig.rundir, POOL);
    const mutes = [USER, OTHER, THIRD].map((uid) => {
      const child = spawn(process.execPath, [program('../daemon/server-asker-child')], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, SOCKET: socket, REQUEST: JSON.stringify({ operation: 'mute' }) },
        uid,
        gid: uid,
      });
      t.after(() => child.kill('SIGKILL'));
      return child;
    });
    await once(mutes[0]!.stdout, 'data');
    const { users } = rig.daemon.context;
    assert.ok(users.of({ uid: USER, gid: 0, groups: [] }).held('arrivals') <= 10);
    const fourth = await hoard(t, 4724, [{ by: 'a', socket, operation: 'info', access: 'read' }]);
    await Promise.all(mutes.slice(1).map((child) => once(child.stdout, 'data')));
    const root = await rig.client();
    await root.mblock(pattern(4096));
    const refused = rig.events.filter((line) => /connections that say nothing/.test(line));
    assert.ok(refused.length > 0);
    // While two of three had all they may there was room; with the third there may be none.
    assert.match(fourth.outcomes[0]!.code ?? 'done', /^(done|ERR_MPOOL_CONNECTION_LOST)$/);
  },
);
