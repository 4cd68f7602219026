// Goal: the daemon knows who is at the other end, decides on files as the kernel would, and sees a process die.
// Method: real processes of other users and groups (as root); what accessOf() says against what access(2) says
//   to the same process on a file of that owner and mode; zombies, and ids that are used again.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { accessOf, credentialsOf, peerAlive } from '../../src/daemon/peer.ts';
import type { PeerCredentials } from '../../src/daemon/peer.ts';
import { serve, socketPath, until } from './sockets.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);
const notRoot = process.geteuid!() === 0 ? false : 'needs root, to be other users';
const CONNECT = `
  const socket = require('net').connect(process.argv[1]);
  socket.on('data', () => {});
`;

async function peersAt(t: TestContext): Promise<{ path: string; peers: PeerCredentials[] }> {
  const path = socketPath(t);
  const peers: PeerCredentials[] = [];
  await serve(t, path, (socket) => {
    peers.push(credentialsOf(socket));
    socket.resume();
  });
  chmodSync(dirname(path), 0o755);
  chmodSync(path, 0o666);
  return { path, peers };
}

test('a peer of this user: its process, its groups, alive until it is gone', async (t) => {
  const { path, peers } = await peersAt(t);
  const child = spawn(process.execPath, ['-e', CONNECT, path], { stdio: 'inherit' });
  await until(() => peers.length === 1);
  const [peer] = peers as [PeerCredentials];
  assert.equal(peer.pid, child.pid);
  assert.equal(peer.uid, process.geteuid!());
  assert.equal(peer.gid, process.getegid!());
  assert.deepEqual(new Set([peer.gid, ...peer.groups]), new Set(process.getgroups!()));
  assert.equal(peerAlive(peer), true);
  assert.equal(peerAlive({ ...peer, startTicks: undefined }), true);
  assert.equal(peerAlive({ ...peer, startTicks: peer.startTicks! - 1 }), false, 'an id used again');
  assert.equal(peerAlive({ ...peer, pid: 0, startTicks: undefined }), true, 'unknown');
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(peerAlive(peer), false);
  assert.equal(peerAlive({ ...peer, startTicks: undefined }), false);
});

test('a process that ended and was not waited for is gone', async (t) => {
  const { path, peers } = await peersAt(t);
  const script = `${process.execPath} -e "$0" "$1" & exec sleep 1000`;
  const parent = spawn('sh', ['-c', script, CONNECT, path], { stdio: 'inherit' });
  await until(() => peers.length === 1);
  const [peer] = peers as [PeerCredentials];
  assert.equal(peerAlive(peer), true);
  process.kill(peer.pid, 'SIGKILL');
  await until(() => !peerAlive(peer));
  // It still has its id: as a zombie.
  assert.equal(process.kill(peer.pid, 0), true);
  parent.kill('SIGKILL');
  await once(parent, 'exit');
});

const WHO = [
  { uid: 61001, gid: 62001, groups: [] },
  { uid: 61001, gid: 62001, groups: [62002, 62003] },
  { uid: 61002, gid: 62002, groups: [62001] },
];

function asUser({ uid, gid, groups }: (typeof WHO)[number]): string[] {
  const theirs = groups.length === 0 ? ['--clear-groups'] : ['--groups', groups.join(',')];
  return ['--reuid', String(uid), '--regid', String(gid), ...theirs, process.execPath];
}

test('a peer of another user has its own ids and groups', { skip: notRoot }, async (t) => {
  const { path, peers } = await peersAt(t);
  for (const who of WHO) {
    const child = spawn('setpriv', [...asUser(who), '-e', CONNECT, path], { stdio: 'inherit' });
    await until(() => peers.length === 1);
    const { pid, uid, gid, groups } = peers.pop()!;
    assert.deepEqual({ pid, uid, gid, groups }, { pid: child.pid, ...who });
    child.kill();
    await once(child, 'exit');
  }
});

test('owner, group and mode mean what they mean for files', { skip: notRoot }, (t) => {
  console.log(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  const folder = dirname(socketPath(t));
  chmodSync(folder, 0o755);
  const uids = [0, ...WHO.map(({ uid }) => uid)];
  const gids = [0, 62001, 62002, 62003];
  const files = Array.from({ length: 300 }, (_, i) => {
    const path = join(folder, `f${i}`);
    const ownership = {
      uid: uids[below(prng, uids.length)]!,
      gid: gids[below(prng, gids.length)]!,
      mode: below(prng, 0o1000),
    };
    writeFileSync(path, '');
    chownSync(path, ownership.uid, ownership.gid);
    chmodSync(path, ownership.mode);
    return { path, ownership };
  });
  const program = `
    const { accessSync, constants } = require('fs');
    const may = (path, how) => { try { accessSync(path, how); return true; } catch { return false; } };
    const paths = JSON.parse(require('fs').readFileSync(0, 'utf8'));
    console.log(JSON.stringify(paths.map((path) =>
      may(path, constants.W_OK) ? 'write' : may(path, constants.R_OK) ? 'read' : 'none')));
  `;
  const input = JSON.stringify(files.map(({ path }) => path));
  for (const who of WHO) {
    const { stdout } = spawnSync('setpriv', [...asUser(who), '-e', program], { input });
    const kernel = JSON.parse(String(stdout)) as string[];
    const ours = files.map(({ ownership }) => accessOf(who, ownership) ?? 'none');
    assert.deepEqual(ours, kernel);
    assert.deepEqual(new Set(kernel), new Set(['write', 'read', 'none']));
  }
});

test('root passes, whatever the mode', () => {
  const root = { uid: 0, gid: 0, groups: [] };
  assert.equal(accessOf(root, { uid: 5, gid: 5, mode: 0 }), 'write');
  assert.equal(accessOf({ uid: 5, gid: 5, groups: [] }, { uid: 5, gid: 5, mode: 0 }), undefined);
});
