// Goal: what goes wrong stays where it went wrong: a bug in a request, garbage on a socket, a request that hangs, a
//   daemon that is told to stop in the middle of it.
// Method: a daemon in this process, parts of whose store are replaced by ones that fail; a clock whose long timers
//   are run by hand; seeded garbage.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
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
  assert.deepEqual(await stopping, [], 'all is finished');
  assert.equal(store.closed, true);
  assert.equal(store.held.size, 0);
  const late = rig.control();
  await assert.rejects(late, { code: 'ERR_MPOOL_NOT_FOUND' });
});

/** The clock that all have, so that what takes seconds takes a tenth of them. */
function hurry(t: TestContext): void {
  const usual = { ...systemClock };
  t.after(() => Object.assign(systemClock, usual));
  systemClock.after = (delayMs, callback, keepAlive) =>
    usual.after(delayMs / 10, callback, keepAlive);
  systemClock.monotonicMs = () => usual.monotonicMs() * 10;
}

test('a device that never answers does not hold up the stop: what is not finished is named', async (t) => {
  const rig = await startRig(t, { config: { stopSeconds: 0.05 } });
  const control = await rig.control();
  const path = join(rig.folder, 'files/p2');
  const capacity = { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB };
  await control.ask('create', { options: { name: 'p2', capacity } });
  const [client, other] = [await rig.client(), await rig.client({}, 'p2')];
  await other.mblock(pattern(4096));
  const { store } = rig.service;
  const { store: well } = await rig.daemon.pools.find('p2');
  const { device } = store.capacity;
  let goOn = (): void => {};
  device.flush = (done) => void (goOn = () => done(null));
  const hanging = client.mblock(pattern(4096)).catch((error: NodeJS.ErrnoException) => error.code);
  await until(() => rig.daemon.metrics().operations['mblock.commit']?.underWay === 1);
  hurry(t);
  const unfinished = await rig.daemon.stop();
  assert.equal(await hanging, 'ERR_MPOOL_CONNECTION_LOST');
  assert.match(unfinished[0]!, /^pool p1: 1 requests of session \d+ \(test, pid \d+\)$/);
  assert.ok(unfinished.includes('1 requests mblock.commit'), unfinished.join('; '));
  assert.deepEqual([store.closed, well.closed], [false, true], 'the other one is closed in order');
  assert.equal(existsSync(poolSocketPath(rig.rundir, POOL)), false);
  assert.deepEqual(await rig.daemon.stop(), unfinished, 'asked again: the same');
  // What goes on must find all that it uses.
  device.flush = (done) => process.nextTick(done, null);
  goOn();
  await until(() => rig.daemon.metrics().operations['mblock.commit']!.underWay === 0);
  await store.shutdown(true);
});

test('neither does a change of pools that never ends', async (t) => {
  const rig = await startRig(t, { config: { stopSeconds: 0.05 } });
  const control = await rig.control();
  const { store } = rig.service;
  const shutdown = store.shutdown.bind(store);
  let goOn = (): void => {};
  const never = new Promise<void>((resolve) => (goOn = resolve));
  store.shutdown = () => never.then(() => shutdown(true));
  control.ask('deactivate', { target: POOL }).catch(() => {});
  await until(() => rig.daemon.metrics().operations['deactivate']?.underWay === 1);
  hurry(t);
  const unfinished = await rig.daemon.stop();
  assert.ok(unfinished.includes('1 requests deactivate'), unfinished.join('; '));
  goOn();
  await until(() => rig.daemon.metrics().operations['deactivate']!.underWay === 0);
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

test('a daemon is idle without pools and clients: then it may go, never with a pool', async (t) => {
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
  const control = await rig.control();
  const client = await rig.client();
  await client.close();
  await until(() => rig.service.sessions.length === 0);
  await control.close();
  const again = await rig.control();
  assert.equal(timers.size, 0, 'its socket is there for whoever comes next');
  await again.ask('deactivate', { target: POOL });
  assert.equal(timers.size, 0, 'on ctl someone is connected');
  await again.close();
  await until(() => timers.size === 1);
  const last = await rig.control();
  assert.equal(timers.size, 0);
  await last.close();
  await until(() => timers.size === 1);
  for (const callback of timers) callback();
  const reason = 'no pool was active and nobody connected for 1000 s';
  assert.equal(await rig.daemon.stopRequested, reason);
});
