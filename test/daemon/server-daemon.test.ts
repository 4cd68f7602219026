// Goal: what goes wrong stays where it went wrong: a bug in a request, garbage on a socket, a request that hangs, a
//   daemon that is told to stop in the middle of it.
// Method: a daemon in this process, parts of whose store are replaced by ones that fail; a clock whose long timers
//   are run by hand; seeded garbage.
import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { assert as assert_ } from '../../src/base/assert.ts';
import { MpoolError } from '../../src/base/errors.ts';
import { systemClock } from '../../src/base/clock.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { controlSocketPath, poolSocketPath } from '../../src/daemon/rundir.ts';
import { MIB, pattern, POOL, startRig } from './server-rig.ts';
import { until } from './sockets.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);

test('a bug in a request is told, and ends the session it belongs to', async (t) => {
  const rig = await startRig(t, { limits: { lingerMs: 20 } });
  const [unlucky, other] = [await rig.client(), await rig.client()];
  await unlucky.ask('mblock.alloc', { count: 2 });
  rig.service.shared.mlogs.alloc = () => {
    throw new TypeError('x is not a function');
  };
  await assert.rejects(unlucky.ask('mlog.alloc', { capacityBytes: 65_536 }), /x is not a function/);
  const { error } = await unlucky.channel.ended;
  assert.match((error.cause as Error).message, /a bug of the daemon/);
  await until(() => rig.service.sessions.length === 1);
  assert.equal(rig.service.store.held.size, 0);
  assert.ok(rig.events.some((line) => / error a request failed .*stack="TypeError/.test(line)));
  const id = await other.mblock(pattern(4096));
  assert.equal((await other.ask('mblock.lease', { ids: [id] })).leases.length, 1);
  const { errors } = rig.daemon.metrics().operations['mlog.alloc']!;
  assert.deepEqual(errors, { bug: 1 });

  rig.service.shared.mdcs.open = async () => {
    assert_(false, 'a page has one owner');
  };
  await assert.rejects(other.ask('mdc.open', {}), /a page has one owner/);
  const last = await rig.client();
  await last.ask('mblock.lease', { ids: [id] });
  await assert.rejects(last.ask('mblock.alloc', {}), { code: 'ERR_MPOOL_FAILED' });
  assert.equal((await last.ask('info', {})).health, 'faulted', 'what is believed of it is wrong');
});

test('a device that fails makes its pool read-only, and nobody else anything', async (t) => {
  const rig = await startRig(t, { limits: { lingerMs: 20 } });
  const control = await rig.control();
  const path = join(rig.folder, 'files/p2');
  const capacity = { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB };
  await control.ask('create', { options: { name: 'p2', capacity } });
  const [client, other] = [await rig.client(), await rig.client({}, 'p2')];
  const id = await client.mblock(pattern(4096));
  const { device } = rig.service.store.capacity;
  device.flush = (done) => {
    process.nextTick(done, new MpoolError('ERR_MPOOL_IO', device.path));
  };
  await assert.rejects(client.mblock(pattern(4096)), { code: 'ERR_MPOOL_IO' });
  await assert.rejects(client.mblock(pattern(4096)), { code: 'ERR_MPOOL_FAILED' });
  assert.equal((await client.ask('mblock.lease', { ids: [id] })).leases.length, 1);
  await other.mblock(pattern(4096));
  const faults = rig.daemon.metrics().pools.map(({ name, fault }) => [name, fault !== undefined]);
  assert.deepEqual(faults, [
    [POOL, true],
    ['p2', false],
  ]);
  await until(() => rig.events.some((line) => / error a pool is faulted pool=p1 /.test(line)));
  await client.close();
  await control.ask('deactivate', { target: POOL });
  await control.ask('activate', { target: POOL });
  const again = await rig.client();
  assert.equal((await again.ask('mblock.lease', { ids: [id] })).leases.length, 1);
  await again.mblock(pattern(4096));
});

test('garbage ends the connection it came by, and no other', async (t) => {
  console.log(`SEED=${SEED}`);
  const rig = await startRig(t);
  const prng = new SeededPrng(SEED);
  const witness = await rig.client();
  const paths = [controlSocketPath(rig.rundir), poolSocketPath(rig.rundir, POOL)];
  const throwAt = (path: string): Promise<void> =>
    new Promise((resolve) => {
      const socket = createConnection(path);
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.resume();
      const bytes = pattern(below(prng, 3000), prng.u32());
      // A length that may be believed, now and then.
      if (bytes.length > 4 && below(prng, 2) === 0) bytes.writeUInt32LE(below(prng, 20_000), 0);
      socket.write(bytes);
      if (below(prng, 2) === 0) socket.end();
      else setTimeout(() => socket.destroy(), below(prng, 20));
    });
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 20 }, (_, i) => throwAt(paths[i % 2]!)));
  }
  await witness.mblock(pattern(4096));
  assert.equal(rig.service.sessions.length, 1);
  const bugs = rig.events.filter((line) => / error /.test(line));
  assert.deepEqual(bugs, []);
});

test('stopping waits for what is under way, but not for ever', async (t) => {
  const rig = await startRig(t, { config: { stopSeconds: 0.05 } });
  const client = await rig.client();
  let goOn = (): void => {};
  const never = new Promise<void>((resolve) => (goOn = resolve));
  const { mdcs } = rig.service.shared;
  const open = mdcs.open.bind(mdcs);
  mdcs.open = async (id) => {
    await never;
    return open(id);
  };
  const hanging = client.ask('mdc.open', {}).catch((error: NodeJS.ErrnoException) => error.code);
  await until(() => rig.service.sessions[0]!.info.requestsInFlight === 1);
  const stopping = rig.daemon.stop();
  assert.equal(await hanging, 'ERR_MPOOL_CONNECTION_LOST');
  // What it holds is still in use: the pool is not shut down under it.
  assert.equal(rig.service.store.closed, false);
  const { store } = rig.service;
  goOn();
  await stopping;
  assert.equal(store.closed, true);
  assert.equal(store.held.size, 0);
  const late = rig.control();
  await assert.rejects(late, { code: 'ERR_MPOOL_NOT_FOUND' });
});

test('a request that hangs keeps nobody else from coming', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  let goOn = (): void => {};
  const never = new Promise<never>((_, reject) => (goOn = () => reject(new Error('over'))));
  rig.service.shared.mdcs.open = () => never;
  client.ask('mdc.open', {}).catch(() => {});
  await until(() => rig.service.sessions[0]!.info.requestsInFlight === 1);
  client.channel.destroy();
  await client.channel.ended;
  const other = await rig.client();
  await other.mblock(pattern(4096));
  goOn();
  await until(() => rig.service.sessions.length === 1);
});

test('metrics on a port of this machine, and health as programs read it', async (t) => {
  const rig = await startRig(t, { config: { metrics: '0' } });
  const at = `http://127.0.0.1:${rig.daemon.metricsPort}`;
  assert.match(await (await fetch(`${at}/metrics`)).text(), /^mpool_healthy\{pool="p1"\} 1$/m);
  rig.service.store.fail(new MpoolError('ERR_MPOOL_IO', '/dev/x'));
  const response = await fetch(`${at}/healthz`, { headers: { accept: 'application/json' } });
  assert.equal(response.status, 503);
  const { healthy, faults } = (await response.json()) as { healthy: boolean; faults: unknown[] };
  const fault = 'a write failed: /dev/x: the device failed';
  assert.deepEqual([healthy, faults], [false, [{ name: POOL, fault }]]);
  assert.equal(await (await fetch(`${at}/healthz`)).text(), `p1: ${fault}\n`);
  assert.equal((await fetch(`${at}/metrics`, { method: 'POST' })).status, 405);
});

test('idleness is counted from the last client that went', async (t) => {
  const idleMs = 1_000_000;
  const timers = new Set<() => void>();
  const after = systemClock.after.bind(systemClock);
  t.after(() => (systemClock.after = after));
  systemClock.after = (delayMs, callback, keepAlive) => {
    if (delayMs !== idleMs) return after(delayMs, callback, keepAlive);
    timers.add(callback);
    return { cancel: () => timers.delete(callback) };
  };
  const rig = await startRig(t, { config: { idleExitSeconds: idleMs / 1000 } });
  await until(() => timers.size === 1);
  const client = await rig.client();
  assert.equal(timers.size, 0, 'someone is there');
  const control = await rig.control();
  await client.close();
  await until(() => rig.service.sessions.length === 0);
  assert.equal(timers.size, 0, 'on ctl');
  await control.close();
  await until(() => timers.size === 1);
  for (const callback of timers) callback();
  assert.match(await rig.daemon.stopRequested, /nobody was connected for 1000 s/);
});
