// Goal: shared memory cannot be shrunk under who maps it, is seen by all who map it, and goes when it is
//   unmapped or its thread ends; descriptors that travel are closed on every path but success.
// Method: maps counted in /proc/self/maps, descriptors in /proc/self/fd, peers that misbehave in every way.
import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { binding } from '../../src/native/binding.ts';

const { EINVAL, ENOENT, EPERM, ETIMEDOUT, EMSGSIZE, ECONNREFUSED, EBADF, ERANGE } = constants.errno;
const MIB = 2 ** 20;

function mapCount(): number {
  return readFileSync('/proc/self/maps', 'latin1').split('/memfd:mpool').length - 1;
}

function fdCount(): number {
  return readdirSync('/proc/self/fd').length;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2);
}

function map(fd: number, bytes: number, writable: 0 | 1): { view: Uint8Array; address: number } {
  const address = new Float64Array(1);
  const buffer = binding.mapShared(fd, bytes, writable, address);
  assert.ok(typeof buffer !== 'number', `mapShared: ${String(buffer)}`);
  return { view: new Uint8Array(buffer), address: address[0]! };
}

test('two maps see each other, each until it is unmapped', () => {
  const fd = binding.memoryFile(4 * MIB);
  assert.ok(fd > 0);
  const writer = map(fd, 4 * MIB, 1);
  const reader = map(fd, 2 * MIB, 0);
  closeSync(fd);
  assert.equal(mapCount(), 2);
  writer.view[2 * MIB - 1] = 77;
  assert.equal(reader.view[2 * MIB - 1], 77);
  assert.equal(binding.unmapShared(writer.address), 0);
  assert.equal(writer.view.length, 0);
  assert.equal(binding.unmapShared(writer.address), -ENOENT);
  assert.equal(reader.view[2 * MIB - 1], 77);
  assert.equal(binding.unmapShared(reader.address), 0);
  assert.equal(mapCount(), 0);
});

test('the length is for ever, and only such files are mapped', (t) => {
  const fd = binding.memoryFile(MIB);
  assert.throws(() => ftruncateSync(fd, 4096), { code: 'EPERM' });
  assert.throws(() => ftruncateSync(fd, 2 * MIB), { code: 'EPERM' });
  const address = new Float64Array(1);
  assert.equal(binding.mapShared(fd, MIB + 1, 1, address), -EINVAL);
  assert.equal(binding.mapShared(fd, 0, 1, address), -EINVAL);
  closeSync(fd);
  assert.equal(binding.mapShared(fd, MIB, 1, address), -EBADF);
  const folder = mkdtempSync(join(tmpdir(), 'mp-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const place of [folder, '/dev/shm']) {
    const path = join(place, `mpool-shared-${process.pid}`);
    const file = openSync(path, 'w+');
    rmSync(path);
    ftruncateSync(file, MIB);
    assert.equal(binding.mapShared(file, MIB, 0, address), -EPERM, place);
    closeSync(file);
  }
  assert.equal(binding.memoryFile(0), -EINVAL);
  assert.equal(binding.memoryFile(2 ** 33), -EINVAL);
  assert.equal(mapCount(), 0);
});

const binaryPath = JSON.stringify(import.meta.resolve('../../src/native/binding.js'));

function inWorker(code: string): Worker {
  return new Worker(`import(${binaryPath}).then(({ binding }) => { ${code} })`, { eval: true });
}

test("a thread's maps go with it", async () => {
  const worker = inWorker(`
    const fd = binding.memoryFile(${MIB});
    const kept = binding.mapShared(fd, ${MIB}, 1, new Float64Array(1));
    require('fs').closeSync(fd);
    require('worker_threads').parentPort.on('message', () => {}).postMessage(kept.byteLength);
  `);
  await new Promise((resolve) => worker.once('message', resolve));
  assert.equal(mapCount(), 1);
  await worker.terminate();
  await until(() => mapCount() === 0);
});

interface Arrived {
  result: number;
  text: string;
  fds: number[];
}

function receive(path: string, timeoutMs = 5000): Promise<Arrived> {
  return new Promise((resolve) => {
    const queued = binding.receiveDescriptors(
      Buffer.from(path),
      Buffer.from('give me'),
      timeoutMs,
      (result, answer, fds) =>
        resolve({
          result,
          text: Buffer.from(answer ?? []).toString('latin1'),
          fds: [...(fds ?? [])],
        }),
    );
    assert.equal(queued, 0);
  });
}

async function listen(
  t: TestContext,
  onAsked: (fd: number, socket: Socket, asked: string) => void,
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'mp-'));
  const path = join(folder, 's');
  const server: Server = createServer((socket) => {
    socket.on('error', () => {});
    const { _handle: handle } = socket as unknown as { _handle: { fd: number } };
    socket.once('data', (chunk) => onAsked(handle.fd, socket, String(chunk)));
  });
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

test('descriptors arrive with the bytes, and are the same open files', async (t) => {
  const memory = binding.memoryFile(MIB);
  const ours = map(memory, MIB, 1);
  const path = await listen(t, (fd, socket, asked) => {
    assert.equal(asked, 'give me');
    const fds = Int32Array.from([memory, memory, memory]);
    assert.equal(binding.sendDescriptors(fd, Buffer.from('here'), fds), 4);
    assert.equal(binding.sendDescriptors(fd, Buffer.from('more'), fds.subarray(1)), 4);
    socket.end(' and bytes');
  });
  const { result, text, fds } = await receive(path);
  assert.deepEqual([result, text, fds.length], [0, 'heremore and bytes', 5]);
  const theirs = map(fds[4]!, MIB, 1);
  theirs.view[5] = 9;
  assert.equal(ours.view[5], 9);
  for (const each of [theirs, ours]) binding.unmapShared(each.address);
  for (const fd of [...fds, memory]) closeSync(fd);
});

test('as many as a message can have, and one more', async (t) => {
  const memory = binding.memoryFile(4096);
  const path = await listen(t, (fd, socket) => {
    const most = new Int32Array(253).fill(memory);
    assert.equal(binding.sendDescriptors(fd, Buffer.from('x'), most), 1);
    assert.equal(binding.sendDescriptors(fd, Buffer.from('x'), new Int32Array(254)), -EINVAL);
    socket.end();
  });
  const { fds } = await receive(path);
  assert.equal(fds.length, 253);
  for (const fd of [...fds, memory]) closeSync(fd);
});

test('whatever goes wrong, no descriptor stays open', async (t) => {
  const memory = binding.memoryFile(4096);
  const three = new Int32Array(3).fill(memory);
  const ways: Record<string, (fd: number, socket: Socket) => void> = {
    endless: (fd, socket) => {
      binding.sendDescriptors(fd, Buffer.from('x'), three);
      socket.write(Buffer.alloc(70_000));
    },
    mute: () => {},
    'too many': (fd, socket) => {
      for (let i = 0; i < 100; i++) binding.sendDescriptors(fd, Buffer.from('x'), three);
      socket.end();
    },
    late: (fd) => {
      binding.sendDescriptors(fd, Buffer.from('x'), three);
    },
  };
  const errnos: Record<string, number> = {
    endless: -EMSGSIZE,
    mute: -ETIMEDOUT,
    'too many': -EMSGSIZE,
    late: -ETIMEDOUT,
  };
  const before = fdCount();
  for (const [name, act] of Object.entries(ways)) {
    let peer: Socket | undefined;
    await t.test(name, async (t2) => {
      const path = await listen(t2, (fd, socket) => {
        peer = socket;
        act(fd, socket);
      });
      const { result, fds } = await receive(path, 200);
      assert.equal(result, errnos[name]);
      assert.deepEqual(fds, []);
      peer?.destroy();
    });
  }
  assert.equal((await receive('/nowhere/s')).result, -ENOENT);
  const nobody = join(mkdtempSync(join(tmpdir(), 'mp-')), 's');
  closeSync(openSync(nobody, 'w'));
  assert.equal((await receive(nobody)).result, -ECONNREFUSED);
  await until(() => fdCount() <= before);
  assert.equal(fdCount(), before);
  assert.equal(binding.sendDescriptors(-1, Buffer.from('x'), three), -EBADF);
  const done = (): void => assert.fail('called');
  const call = binding.receiveDescriptors.bind(binding);
  assert.equal(call(Buffer.alloc(108, 120), Buffer.from('x'), 1, done), -EINVAL);
  assert.equal(call(Buffer.from('a\0b'), Buffer.from('x'), 1, done), -EINVAL);
  assert.equal(call(Buffer.from('a'), Buffer.from('x'), 0, done), -EINVAL);
  assert.equal(call(Buffer.from('a'), Buffer.alloc(2 ** 17), 1, done), -EINVAL);
  closeSync(memory);
});

test('a thread that ends while it waits for descriptors leaves none', async (t) => {
  const memory = binding.memoryFile(4096);
  const before = fdCount();
  let asked = 0;
  const peers: Socket[] = [];
  const path = await listen(t, (fd, socket) => {
    peers.push(socket);
    binding.sendDescriptors(fd, Buffer.from('x'), new Int32Array(5).fill(memory));
    asked += 1;
  });
  const worker = inWorker(`
    for (let i = 0; i < 3; i++) {
      binding.receiveDescriptors(Buffer.from('${path}'), Buffer.from('x'), 400, () => {});
    }
    require('worker_threads').parentPort.postMessage(0);
  `);
  await until(() => asked === 3);
  const ending = worker.terminate();
  for (const peer of peers.slice(0, 2)) peer.end('and that is all');
  await ending;
  for (const peer of peers) peer.destroy();
  // The server itself is one more than before.
  await until(() => fdCount() <= before + 1);
  closeSync(memory);
});

test('who connected, and what is no socket', async (t) => {
  const seen = await new Promise<number[]>((resolve) => {
    void listen(t, (fd, socket) => {
      const out = new Uint32Array(3);
      assert.equal(binding.peerCredentials(fd, out), 0);
      const groups = new Uint32Array(65536);
      const count = binding.peerGroups(fd, groups);
      if (count > 1) assert.equal(binding.peerGroups(fd, new Uint32Array(1)), -ERANGE);
      // Node adds the effective group to what getgroups(2) says.
      const all = new Set([process.getegid!(), ...groups.subarray(0, count)]);
      assert.deepEqual(all, new Set(process.getgroups!()));
      socket.end();
      resolve([...out]);
    }).then((path) => receive(path));
  });
  assert.deepEqual(seen, [process.pid, process.geteuid!(), process.getegid!()]);
  const file = openSync('/dev/null', 'r');
  assert.ok(binding.peerCredentials(file, new Uint32Array(3)) < 0);
  assert.ok(binding.peerGroups(-1, new Uint32Array(3)) === -EBADF);
  closeSync(file);
});
