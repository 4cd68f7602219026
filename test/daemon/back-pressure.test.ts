// Goal: a peer that floods, or does not read, costs the daemon a bounded amount of memory and others nothing.
// Method: raw sockets that write without end or never read, against limits small enough to be reached; what was
//   begun, what is queued and what was read from the socket is counted, not timed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { ServerChannel } from '../../src/daemon/server-channel.ts';
import type { Incoming, Reply, RequestHandler } from '../../src/daemon/server-channel.ts';
import { writeHeader } from '../../src/daemon/wire.ts';
import {
  HELLO,
  pair,
  RawClient,
  serve,
  serveChannels,
  socketPath,
  until,
  WELCOME,
} from './sockets.ts';

const SYNC = 23;
/** The kernel's buffers of a Unix socket, and those of the streams on both sides. */
const SOCKET_BYTES = 2 ** 20;

/** A request for `sync` with so many bytes of payload. */
function request(id: number, payloadBytes = 0): Buffer {
  const bytes = Buffer.alloc(16 + payloadBytes);
  writeHeader(bytes, 0, id, SYNC, 0, payloadBytes);
  return bytes;
}

/** Writes as fast as it is taken, until the socket closes. */
function flood(raw: RawClient, bytes: Buffer): void {
  const write = (): void => {
    while (!raw.socket.destroyed && raw.socket.write(bytes)) continue;
  };
  raw.socket.on('drain', write);
  write();
}

/** Until nothing has changed for a while of the loop's turns. */
async function quiet(reading: () => number): Promise<void> {
  let last = -1;
  for (let same = 0; same < 20;) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    same = reading() === last ? same + 1 : 0;
    last = reading();
  }
}

test('requests that are not answered are begun up to the limit, and no more is read', async (t) => {
  const path = socketPath(t);
  const pending: ((reply: Reply) => void)[] = [];
  let read = (): number => 0;
  await serve(t, path, (socket) => {
    read = () => socket.bytesRead;
    ServerChannel.accept(socket, { requestsInFlight: 100 }).then(
      (channel) => channel.admit(WELCOME, () => new Promise((resolve) => pending.push(resolve))),
      assert.fail,
    );
  });
  const raw = new RawClient(path);
  raw.hello();
  flood(raw, Buffer.concat(Array.from({ length: 1000 }, (_, i) => request(i + 1))));
  await until(() => pending.length === 100);
  await quiet(read);
  assert.equal(pending.length, 100);
  assert.ok(read() < SOCKET_BYTES, `${read()} bytes were read`);
  // One answer, one more request.
  for (const resolve of pending.slice(0, 30)) resolve({});
  await until(() => pending.length === 130);
  await quiet(read);
  assert.equal(pending.length, 130);
  raw.socket.destroy();
});

test('requests with much data are begun up to so many bytes', async (t) => {
  const pending: (() => void)[] = [];
  const { client } = await pair(
    t,
    () => new Promise((resolve) => pending.push(() => resolve({}))),
    { inlineBytes: 1_000_000 },
  );
  const payload = new Uint8Array(100_000);
  const asked = Array.from({ length: 35 }, () => client.request('sync', {}, payload));
  for (let left = 35; left > 0;) {
    const begun = Math.min(left, 10);
    await until(() => pending.length >= begun);
    await quiet(() => pending.length);
    assert.equal(pending.length, begun);
    for (const finish of pending.splice(0)) finish();
    left -= begun;
  }
  await Promise.all(asked);
});

test('who does not read his answers has no more made for him', async (t) => {
  const path = socketPath(t);
  const answerBytes = 64 * 1024;
  const backlogBytes = 2 ** 20;
  let begun = 0;
  const channels = await serveChannels(
    t,
    path,
    () => {
      begun += 1;
      return { payload: new Uint8Array(answerBytes) };
    },
    { backlogBytes },
  );
  const raw = new RawClient(path);
  raw.hello();
  await until(() => raw.frames.length === 1);
  raw.socket.pause();
  flood(raw, Buffer.concat(Array.from({ length: 1000 }, (_, i) => request(i + 1))));
  await until(() => begun > 0);
  await quiet(() => begun);
  const channel = channels[0]!;
  assert.ok(channel.open);
  assert.ok(channel.backlogBytes <= backlogBytes + answerBytes + 16, `${channel.backlogBytes}`);
  assert.ok(begun * answerBytes <= backlogBytes + SOCKET_BYTES + answerBytes, `${begun} answers`);
  // He reads again, and all goes on.
  const soFar = begun;
  raw.socket.resume();
  await until(() => begun > soFar + 100);
  raw.socket.destroy();
});

test('large answers wait for room, in order, so that many readers of one slow client hold little', async (t) => {
  const path = socketPath(t);
  const answerBytes = 2 ** 20;
  let made = 0;
  let failed = 0;
  const handler: RequestHandler = async (incoming: Incoming) => {
    try {
      await incoming.room(answerBytes);
    } catch (error) {
      failed += Number(isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST'));
      throw error;
    }
    made += 1;
    return { payload: new Uint8Array(answerBytes) };
  };
  const limits = { backlogBytes: 3 * answerBytes, backlogBytesMax: 4 * answerBytes };
  const channels = await serveChannels(t, path, handler, limits);
  const raw = new RawClient(path);
  raw.hello();
  await until(() => raw.frames.length === 1);
  raw.socket.pause();
  raw.socket.write(Buffer.concat(Array.from({ length: 500 }, (_, i) => request(i + 1))));
  await until(() => made > 0);
  await quiet(() => made);
  const channel = channels[0]!;
  assert.ok(channel.open && made < 8, `${made} answers were made`);
  assert.ok(channel.backlogBytes <= limits.backlogBytes + 3 * 16);
  raw.socket.resume();
  await until(() => made > 20);
  raw.socket.destroy();
  await channel.ended;
  const before = made;
  await channel.drained();
  assert.ok(failed > 0 && made <= before + 3, 'the rest was given up');

  const client = await ClientChannel.connect(path, HELLO);
  t.after(() => client.destroy());
  const answers = await Promise.all(Array.from({ length: 50 }, () => client.request('sync', {})));
  for (const { payload } of answers) assert.equal(payload.length, answerBytes);
});

test('an answer beyond all room is made alone', async (t) => {
  const { client } = await pair(
    t,
    async (incoming) => {
      await incoming.room(500_000);
      return { payload: new Uint8Array(500_000) };
    },
    { backlogBytes: 100_000 },
  );
  const answers = await Promise.all(Array.from({ length: 5 }, () => client.request('sync', {})));
  assert.equal(answers.length, 5);
});

test('notices that nobody reads end the connection at the limit', async (t) => {
  const path = socketPath(t);
  const backlogBytesMax = 2 ** 20;
  const channels = await serveChannels(t, path, () => ({}), { backlogBytesMax });
  const raw = new RawClient(path);
  raw.hello();
  await until(() => raw.frames.length === 1);
  raw.socket.pause();
  const channel = channels[0]!;
  const ids = Array.from({ length: 1000 }, (_, i) => `0x${i.toString(16)}`);
  let most = 0;
  for (let count = 0; channel.open && count < 10_000; count++) {
    channel.notify('revoked', { ids });
    most = Math.max(most, channel.backlogBytes);
    if (count % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(!channel.open && most < backlogBytesMax + 20_000, `${most} bytes were queued`);
  assert.equal((await channel.ended).reason, 'backlog');
});

test('a flood takes its turns like everyone else', async (t) => {
  const path = socketPath(t);
  const framesPerTurn = 16;
  const channels: ServerChannel[] = [];
  /** Of each connection, in this turn of the loop. */
  const begun = new Map<number, number>();
  let most = 0;
  let total = 0;
  await serve(t, path, (socket) => {
    ServerChannel.accept(socket, { framesPerTurn }).then((channel) => {
      const index = channels.push(channel);
      channel.admit(WELCOME, () => {
        if (begun.size === 0) setImmediate(() => setImmediate(() => begun.clear()));
        const count = (begun.get(index) ?? 0) + 1;
        begun.set(index, count);
        most = Math.max(most, count);
        total += 1;
        return {};
      });
    }, assert.fail);
  });
  const floods = Array.from({ length: 3 }, () => {
    const raw = new RawClient(path);
    raw.socket.on('data', () => {});
    raw.hello();
    flood(raw, Buffer.concat(Array.from({ length: 2000 }, (_, i) => request(i + 1))));
    return raw;
  });
  await until(() => total > 1000);
  const polite = await ClientChannel.connect(path, HELLO);
  t.after(() => polite.destroy());
  const before = total;
  const rounds = 20;
  for (let i = 0; i < rounds; i++) await polite.request('sync', {});
  const others = total - before - rounds;
  for (const raw of floods) raw.socket.destroy();
  // In the two turns that are counted as one, or three when a turn's start falls between.
  assert.ok(most <= 3 * framesPerTurn, `${most} frames of one connection in a turn`);
  // A round trip is a few turns of the loop, whoever else is there.
  assert.ok(others > 0, 'the floods went on meanwhile');
  const perRound = others / rounds / floods.length / framesPerTurn;
  assert.ok(perRound < 20, `${perRound.toFixed(1)} turns of a flood for one round trip`);
});
