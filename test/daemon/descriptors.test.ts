// Goal: a client gets the open files that it was promised, as they were opened, or an error and none at all.
// Method: a client in another process; daemons that send too few, too many, errors, or nothing; descriptors are
//   counted in /proc/self/fd.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import { receiveDescriptors } from '../../src/daemon/descriptors.ts';
import { ServerChannel } from '../../src/daemon/server-channel.ts';
import { SharedMemory } from '../../src/daemon/shared-slots.ts';
import { HELLO, serve, socketPath, until } from './sockets.ts';

const ASK = { ...HELLO, descriptorsFor: 'token' };

function fdCount(): number {
  return readdirSync('/proc/self/fd').length;
}

function channelsAt(
  t: TestContext,
  path: string,
  onChannel: (channel: ServerChannel) => void,
): Promise<void> {
  return serve(t, path, (socket) => {
    ServerChannel.accept(socket).then(onChannel, () => {});
  });
}

test('a process reads the file and fills the memory that it was passed', async (t) => {
  const path = socketPath(t);
  const filePath = `${path}-file`;
  writeFileSync(filePath, 'what the device holds');
  const file = openSync(filePath, 'r');
  rmSync(filePath);
  const memory = new SharedMemory({ slotBytes: 4096, slotCount: 4 });
  const tokens: unknown[] = [];
  await channelsAt(t, path, (channel) => {
    tokens.push(channel.hello.descriptorsFor);
    channel.sendDescriptors([file, memory.fd]).catch(assert.fail);
  });
  const child = fork(join(import.meta.dirname, 'descriptors-child.js'), [path, 'abc']);
  const [said] = (await once(child, 'message')) as [unknown];
  assert.deepEqual(said, { text: 'what the device holds', writable: false, taken: [0, 1] });
  assert.deepEqual(tokens, ['abc']);
  const views = memory.views([
    { slot: 0, lengthBytes: 4096 },
    { slot: 1, lengthBytes: 7 },
  ]);
  assert.deepEqual(
    views.map((view) => [view.length, view[0], view.at(-1)]),
    [
      [4096, 100, 100],
      [7, 101, 101],
    ],
  );
  child.send('done');
  await once(child, 'exit');
  memory.close();
  closeSync(file);
});

test('refusals come as the errors they are; too few or too many descriptors are none', async (t) => {
  const path = socketPath(t);
  const memory = new SharedMemory({ slotBytes: 4096, slotCount: 1 });
  let act: (channel: ServerChannel) => unknown = () => {};
  await channelsAt(t, path, (channel) => act(channel));
  const before = fdCount();

  act = (channel) => channel.refuse(new MpoolError('ERR_MPOOL_ACCESS', 'p1'));
  await assert.rejects(receiveDescriptors(path, ASK, 2), {
    code: 'ERR_MPOOL_ACCESS',
    message: 'p1: permission denied',
  });
  for (const count of [1, 3]) {
    act = (channel) => channel.sendDescriptors(Array.from({ length: count }, () => memory.fd));
    await assert.rejects(receiveDescriptors(path, ASK, 2), {
      code: 'ERR_MPOOL_PROTOCOL',
      message: new RegExp(`${count} descriptors came instead of 2`),
    });
  }
  act = (channel) => channel.destroy();
  await assert.rejects(receiveDescriptors(path, ASK, 2), { code: 'ERR_MPOOL_CONNECTION_LOST' });
  act = () => {};
  await assert.rejects(receiveDescriptors(path, ASK, 2, 100), {
    code: 'ERR_MPOOL_CONNECTION_LOST',
    message: /ETIMEDOUT/,
  });
  await assert.rejects(receiveDescriptors(`${path}-none`, ASK, 2), /ENOENT/);
  await assert.rejects(receiveDescriptors('x'.repeat(200), ASK, 2), /EINVAL/);

  for (let i = 0; i < 50; i++) {
    act = (channel) => channel.sendDescriptors([memory.fd, memory.fd]);
    for (const fd of await receiveDescriptors(path, ASK, 2)) closeSync(fd);
  }
  // The peer that was not answered is still there, on the daemon's side.
  await until(() => fdCount() <= before + 1);
  memory.close();
});

test('a client that is gone when its descriptors are sent is a lost connection', async (t) => {
  const path = socketPath(t);
  const channels: ServerChannel[] = [];
  await channelsAt(t, path, (channel) => channels.push(channel));
  await assert.rejects(receiveDescriptors(path, ASK, 1, 50), /ETIMEDOUT/);
  await until(() => channels.length === 1);
  await assert.rejects(channels[0]!.sendDescriptors([0]), {
    code: 'ERR_MPOOL_CONNECTION_LOST',
    message: /EPIPE|EBADF/,
  });
  await channels[0]!.ended;
});
