// Goal: one daemon a directory; its sockets are open to those whom the pool's mode names and to nobody else,
//   at any moment; what a dead daemon left is in nobody's way, what a live one has is left alone.
// Method: real directories, processes that are killed, other users (as root), a watcher that looks all the time.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, createServer } from 'node:net';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import {
  controlSocketPath,
  poolSocketPath,
  Rundir,
  rundirCandidates,
  rundirPath,
  socketMode,
} from '../../src/daemon/rundir.ts';
import { socketPath } from './sockets.ts';

const notRoot = process.geteuid!() === 0 ? false : 'needs root, to be other users';
const MINE = { uid: process.geteuid!(), gid: process.getegid!(), mode: 0o600 };

function newPath(t: TestContext): string {
  const folder = dirname(socketPath(t));
  chmodSync(folder, 0o755);
  return join(folder, 'run');
}

function newServer(t: TestContext): Server {
  const server = createServer((socket) => socket.end());
  t.after(() => server.close());
  return server;
}

async function connects(path: string): Promise<boolean> {
  const socket = createConnection({ path });
  const result = await new Promise<boolean>((resolve) => {
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
  });
  socket.destroy();
  return result;
}

test('where it is: said, root, session, nowhere', () => {
  const system = '/run/mpool';
  assert.equal(rundirPath({ MPOOL_RUNDIR: '/x', XDG_RUNTIME_DIR: '/y' }, 0), '/x');
  assert.equal(rundirPath({ XDG_RUNTIME_DIR: '/y' }, 0), system);
  assert.equal(rundirPath({ MPOOL_RUNDIR: '', XDG_RUNTIME_DIR: '/y' }, 7), '/y/mpool');
  assert.throws(() => rundirPath({}, 7), { code: 'ERR_MPOOL_NOT_FOUND', message: /MPOOL_RUNDIR/ });
  assert.equal(rundirPath({ MPOOL_RUNDIR: system }, 7), system);
  assert.deepEqual(rundirCandidates({ XDG_RUNTIME_DIR: '/y' }, 7), ['/y/mpool', system]);
  assert.deepEqual(rundirCandidates({}, 7), [system]);
  assert.deepEqual(rundirCandidates({ MPOOL_RUNDIR: '/x' }, 7), ['/x']);
});

test('names that no socket can have', () => {
  assert.equal(poolSocketPath('/run/mpool', 'p1'), '/run/mpool/p1');
  for (const name of ['ctl', 'mpoold.lock', '.new', '..', '', 'a/b']) {
    assert.throws(() => poolSocketPath('/run/mpool', name), /cannot be served/);
  }
  const long = `/${'x'.repeat(100)}`;
  assert.equal(controlSocketPath(long).length, 105);
  assert.throws(() => controlSocketPath(`${long}xxx`), {
    name: 'RangeError',
    message: /108 bytes/,
  });
});

test('one daemon a directory, and the next when it is gone', async (t) => {
  const path = newPath(t);
  const rundir = await Rundir.open(path);
  assert.equal(statSync(path).mode & 0o777, process.geteuid!() === 0 ? 0o755 : 0o700);
  assert.equal(readFileSync(join(path, 'mpoold.lock'), 'latin1'), `${process.pid}\n`);
  await assert.rejects(Rundir.open(path), {
    code: 'ERR_MPOOL_BUSY',
    message: new RegExp(`the daemon of pid ${process.pid} is at work here`),
  });
  await rundir.close();
  const next = await Rundir.open(path);
  await next.close();
});

test('directories that others could meddle with are refused', async (t) => {
  const path = newPath(t);
  mkdirSync(path);
  chmodSync(path, 0o775);
  await assert.rejects(Rundir.open(path), { code: 'ERR_MPOOL_PERMISSION', message: /others may/ });
  writeFileSync(`${path}-file`, '');
  symlinkSync('/', `${path}-link`);
  for (const other of [`${path}-file`, `${path}-link`]) {
    await assert.rejects(Rundir.open(other), { message: /is no directory/ });
  }
  await assert.rejects(Rundir.open(`${path}/a/b`), { code: 'ERR_MPOOL_NOT_FOUND' });
  if (notRoot === false) {
    chmodSync(path, 0o755);
    chownSync(path, 61001, 0);
    await assert.rejects(Rundir.open(path), { message: /belongs to user 61001/ });
  }
});

test('a socket appears with its mode, whatever the umask', async (t) => {
  const path = newPath(t);
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const rundir = await Rundir.open(path);
  const pool = poolSocketPath(path, 'p1');
  const seen = new Set<number>();
  let watching = true;
  const watch = (): void => {
    const facts = statSync(pool, { throwIfNoEntry: false });
    if (facts !== undefined) seen.add(facts.mode & 0o777);
    if (watching) setImmediate(watch);
  };
  watch();
  for (let i = 0; i < 20; i++) {
    const server = newServer(t);
    await rundir.listen(server, pool, MINE);
    assert.ok(await connects(pool));
    server.close();
    if (i % 2 === 0) await rundir.remove(pool);
  }
  watching = false;
  assert.deepEqual([...seen], [0o600]);
  await rundir.close();
});

test('a live socket is left alone, a dead one replaced, a file kept', async (t) => {
  const path = newPath(t);
  const rundir = await Rundir.open(path);
  t.after(() => rundir.close());
  const pool = poolSocketPath(path, 'p1');
  const listen = `require('net').createServer().listen(process.argv[1], () => console.log('up'))`;
  const other = spawn(process.execPath, ['-e', listen, pool], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(other.stdout, 'data');
  const busy = { code: 'ERR_MPOOL_BUSY', message: /another process listens there/ };
  await assert.rejects(rundir.listen(newServer(t), pool, MINE), busy);
  other.kill('SIGKILL');
  await once(other, 'exit');
  assert.ok(existsSync(pool));
  await rundir.listen(newServer(t), pool, MINE);
  assert.ok(await connects(pool));
  const file = join(path, 'p2');
  writeFileSync(file, 'kept');
  await assert.rejects(rundir.listen(newServer(t), file, MINE), { code: 'ERR_MPOOL_EXISTS' });
  assert.equal(readFileSync(file, 'utf8'), 'kept');
});

test('each class that may read or write may connect', () => {
  const modes: [number, number][] = [
    [0o000, 0o000],
    [0o600, 0o600],
    [0o440, 0o660],
    [0o264, 0o666],
    [0o711, 0o600],
    [0o777, 0o666],
  ];
  for (const [pool, socket] of modes) assert.equal(socketMode(pool), socket);
});

test('the kernel lets in whom the mode names', { skip: notRoot }, async (t) => {
  const path = newPath(t);
  const rundir = await Rundir.open(path);
  t.after(() => rundir.close());
  const pool = poolSocketPath(path, 'p1');
  await rundir.listen(newServer(t), pool, { uid: 61001, gid: 62001, mode: 0o600 });
  const tries = (uid: number, gid: number): string => {
    const program = `require('net').connect(process.argv[1]).on('connect', function () {
      console.log('in'); this.destroy(); }).on('error', (e) => console.log(e.code))`;
    const user = ['--reuid', String(uid), '--regid', String(gid), '--clear-groups'];
    const run = spawnSync('setpriv', [...user, process.execPath, '-e', program, pool]);
    return String(run.stdout).trim();
  };
  // The child is waited for, so this process does not accept meanwhile: the backlog does.
  assert.deepEqual([tries(61001, 1), tries(61002, 62001)], ['in', 'EACCES']);
  await rundir.setOwnership(pool, { uid: 61001, gid: 62001, mode: socketMode(0o640) });
  assert.deepEqual([tries(61002, 62001), tries(61002, 62002)], ['in', 'EACCES']);
  await rundir.setOwnership(pool, { uid: 61002, gid: 62001, mode: socketMode(0) });
  assert.deepEqual([tries(61002, 62001), await connects(pool)], ['EACCES', true]);
});
