// Goal: requests in any number are carried out in their order and answered in any; errors arrive as they were
//   thrown; however a connection ends, everything under way learns of it, once and with the reason.
// Method: both ends in one process over real sockets; peers that send nonsense, or nothing, or go away.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { invalidArgument, isMpoolError, MpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { PROTOCOL_VERSION } from '../../src/daemon/protocol.ts';
import type { Notices } from '../../src/daemon/protocol.ts';
import { ServerChannel } from '../../src/daemon/server-channel.ts';
import { encodeFrame } from '../../src/daemon/wire.ts';
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

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);

const LOST = { code: 'ERR_MPOOL_CONNECTION_LOST' };

test('thousands in flight: begun in order, answered in any, each with its own answer', async (t) => {
  console.log(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  const begun: number[] = [];
  const late: (() => void)[] = [];
  const { client, server } = await pair(t, ({ body, payload }) => {
    const number = body['log'] as number;
    begun.push(number);
    const reply = { body: { log: number }, payload: payload.toReversed() };
    if (below(prng, 3) === 0) return reply;
    return new Promise((resolve) => {
      late.push(() => resolve(reply));
      setImmediate(() => late.splice(below(prng, late.length), 1)[0]!());
    });
  });
  const count = 20_000;
  const asked = Array.from({ length: count }, async (_, log) => {
    const payload = Buffer.alloc(log % 500 === 0 ? 20_000 : log % 7, log);
    payload[0] = 255;
    const pieces = log % 3 === 0 ? [payload.subarray(0, 1), payload.subarray(1)] : payload;
    const answer = await client.request('log.sync', { log }, pieces);
    assert.equal((answer.body as unknown as { log: number }).log, log);
    assert.equal(Buffer.compare(answer.payload, payload.toReversed()), 0);
  });
  await Promise.all(asked);
  assert.deepEqual(
    begun,
    Array.from({ length: count }, (_, i) => i),
  );
  assert.equal(client.requestsInFlight + server.requestsInFlight, 0);
  assert.equal(server.requestCount, count);
});

test('what one turn asks leaves in one write, and so do the answers', async (t) => {
  let chunks = 0;
  const path = socketPath(t);
  await serve(t, path, (socket) => {
    socket.on('data', () => (chunks += 1));
    ServerChannel.accept(socket).then((channel) => channel.admit(WELCOME, () => ({})), assert.fail);
  });
  const client = await ClientChannel.connect(path, HELLO);
  t.after(() => client.destroy());
  chunks = 0;
  await Promise.all(Array.from({ length: 60 }, () => client.request('sync', {})));
  assert.equal(chunks, 1);
});

test('errors of the daemon are the errors of the client', async (t) => {
  const errors: Record<string, unknown> = {
    sync: new MpoolError('ERR_MPOOL_NO_SPACE', 'p1'),
    usage: invalidArgument('no such class'),
    grow: invalidArgument('no number', 'type'),
  };
  const { client } = await pair(t, async ({ operation }) => {
    if (operation === 'sync') throw errors['sync'];
    await Promise.resolve();
    throw errors[operation];
  });
  await assert.rejects(client.request('sync', {}), { code: 'ERR_MPOOL_NO_SPACE', errno: -28 });
  await assert.rejects(client.request('usage', {}), RangeError);
  await assert.rejects(client.request('grow', {}), TypeError);
  assert.ok(client.open);
});

test('an answer that cannot be sent is an error of that request alone', async (t) => {
  const bodies: object[] = [{ id: 1n }, { text: 'x'.repeat(2 ** 21) }, { fine: true }];
  const { client } = await pair(t, () => ({ body: bodies.shift() }));
  await assert.rejects(client.request('stats', {}), TypeError);
  await assert.rejects(client.request('stats', {}), RangeError);
  assert.deepEqual((await client.request('stats', {})).body, { fine: true });
});

test('a message that is too long is refused before anything is sent', async (t) => {
  const { client } = await pair(t, () => ({}));
  await assert.rejects(client.request('sync', {}, new Uint8Array(2 ** 21)), RangeError);
  assert.equal(client.requestsInFlight, 0);
  await client.request('sync', {}, new Uint8Array(2 ** 20));
});

test('notices come in their order, between answers', async (t) => {
  const seen: unknown[] = [];
  const onNotice = (name: string, body: unknown): unknown => seen.push([name, body]);
  const revoked = (id: string): Notices['revoked'] => ({ ids: [id] });
  const { client, server } = await pair(
    t,
    () => {
      server.notify('revoked', revoked('0x1'));
      return {};
    },
    {},
    { onNotice },
  );
  server.notify('revoked', revoked('0x2'));
  await client.request('sync', {});
  assert.deepEqual(seen, [
    ['revoked', { ids: ['0x2'] }],
    ['revoked', { ids: ['0x1'] }],
  ]);
});

test('an operation of a later protocol is refused, and the connection goes on', async (t) => {
  const path = socketPath(t);
  await serveChannels(t, path, () => ({}));
  const raw = new RawClient(path);
  raw.hello();
  raw.socket.write(encodeFrame(2, 9999, {}));
  raw.socket.write(encodeFrame(3, 1, HELLO));
  raw.socket.write(encodeFrame(4, 23, {}));
  await until(() => raw.frames.length === 4);
  const [welcome, unknown, again, fine] = raw.frames;
  assert.deepEqual([welcome!.kind, unknown!.kind, again!.kind, fine!.kind], [0, 1, 1, 0]);
  assert.equal(unknown!.body['code'], 'ERR_MPOOL_PROTOCOL');
  raw.socket.destroy();
});

test('the daemon goes away: everything under way is told, once, and nothing more can be asked', async (t) => {
  const { client, server } = await pair(t, () => new Promise(() => {}));
  const asked = Array.from({ length: 100 }, () => client.request('sync', {}));
  await until(() => server.requestsInFlight === 100);
  server.destroy();
  const settled = await Promise.allSettled(asked);
  for (const each of settled) {
    assert.ok(each.status === 'rejected' && isMpoolError(each.reason, LOST.code as never));
  }
  const end = await client.ended;
  assert.equal(end.reason, 'peer');
  assert.equal(client.open, false);
  await assert.rejects(client.request('sync', {}), /nothing was asked/);
  assert.equal((await server.ended).reason, 'local');
});

test('the client goes away: the daemon is told, and its handlers end in their own time', async (t) => {
  let finish: (() => void) | undefined;
  const { client, server } = await pair(
    t,
    () => new Promise((resolve) => (finish = () => resolve({}))),
  );
  const asked = assert.rejects(client.request('sync', {}), LOST);
  await until(() => finish !== undefined);
  client.destroy();
  await asked;
  assert.equal((await server.ended).reason, 'peer');
  assert.equal(server.requestsInFlight, 1);
  const drained = server.drained();
  finish!();
  await drained;
});

test('a daemon that stops finishes what it has, and says why it closes', async (t) => {
  const waiting: (() => void)[] = [];
  const { client, server } = await pair(
    t,
    () => new Promise((resolve) => waiting.push(() => resolve({}))),
  );
  const first = client.request('sync', {});
  await until(() => waiting.length === 1);
  server.pause();
  const second = assert.rejects(client.request('sync', {}), /stopping/);
  for (const finish of waiting) finish();
  await server.drained();
  server.close({ code: 'ERR_MPOOL_CLOSED', message: 'the daemon is stopping' });
  await first;
  await second;
  const { reason, error } = await client.ended;
  assert.equal(reason, 'peer');
  assert.ok(isMpoolError(error.cause, 'ERR_MPOOL_CLOSED'));
});

test('close() sends all that is queued, however much', async (t) => {
  const received: number[] = [];
  const path = socketPath(t);
  const channels = await serveChannels(t, path, ({ payload }) => {
    received.push(payload.length);
    return {};
  });
  const client = await ClientChannel.connect(path, HELLO);
  const asked = Array.from({ length: 20 }, () =>
    client.request('sync', {}, new Uint8Array(1_000_000)).catch(() => {}),
  );
  client.close();
  await Promise.all(asked);
  await channels[0]!.ended;
  assert.deepEqual(
    received,
    Array.from({ length: 20 }, () => 1_000_000),
  );
});

test('frames that are none end the connection, and the peer is told what was wrong', async (t) => {
  const path = socketPath(t);
  let begun = 0;
  const channels = await serveChannels(t, path, () => {
    begun += 1;
    return {};
  });
  const raw = new RawClient(path);
  raw.hello();
  raw.socket.write(encodeFrame(2, 23, {}));
  const idZero = encodeFrame(0, 23, {});
  raw.socket.write(Buffer.concat([idZero, encodeFrame(3, 23, {})]));
  await raw.closed;
  const last = raw.frames.at(-1)!;
  assert.deepEqual([last.id, last.kind, last.body['code']], [0, 1, 'ERR_MPOOL_PROTOCOL']);
  assert.match(last.body['message'] as string, /a request with the id 0/);
  const { reason, error } = await channels[0]!.ended;
  assert.equal(reason, 'malformed');
  assert.ok(isMpoolError(error.cause, 'ERR_MPOOL_PROTOCOL'));
  assert.equal(begun, 1);
});

test('a daemon that answers nonsense is left', async (t) => {
  const path = socketPath(t);
  await serve(t, path, (socket) => {
    socket.once('data', () => {
      socket.write(encodeFrame(1, 0, WELCOME));
      socket.once('data', () => socket.write(encodeFrame(77, 0, {})));
    });
  });
  const client = await ClientChannel.connect(path, HELLO);
  await assert.rejects(client.request('sync', {}), /an answer to 77/);
  assert.equal((await client.ended).reason, 'malformed');
});

test('hellos: late, of another version, too long, none', async (t) => {
  const path = socketPath(t);
  const refused: unknown[] = [];
  await serve(t, path, (socket) => {
    ServerChannel.accept(socket, { helloMs: 300 }).then(
      () => assert.fail('admitted'),
      (error: unknown) => refused.push(error),
    );
  });
  const silent = new RawClient(path);
  await silent.closed;
  assert.match(silent.frames[0]!.body['message'] as string, /no hello within 300 ms/);
  await assert.rejects(ClientChannel.connect(path, { ...HELLO, protocol: 2 }), {
    code: 'ERR_MPOOL_PROTOCOL',
    message: /the client speaks protocol 2, this daemon 1/,
  });
  await assert.rejects(ClientChannel.connect(path, { ...HELLO, client: 'x'.repeat(300) }), {
    code: 'ERR_MPOOL_PROTOCOL',
    message: /the hello's client is wrong/,
  });
  const long = new RawClient(path);
  long.socket.write(encodeFrame(1, 1, { ...HELLO, more: 'x'.repeat(2 ** 15) }));
  await long.closed;
  assert.match(long.frames[0]!.body['message'] as string, /a frame of 3\d+ bytes/);
  const asking = new RawClient(path);
  asking.socket.write(encodeFrame(1, 23, {}));
  await asking.closed;
  assert.match(asking.frames[0]!.body['message'] as string, /the first frame is no hello/);
  await until(() => refused.length === 5);
  for (const error of refused) assert.ok(isMpoolError(error, LOST.code as never));
});

test('a client and a daemon of different versions, older or newer, part at the hello', async (t) => {
  const path = socketPath(t);
  let admits = false;
  let welcome: object = WELCOME;
  await serve(t, path, (socket) => {
    if (admits) socket.once('data', () => socket.write(encodeFrame(1, 0, welcome)));
    else
      ServerChannel.accept(socket).then(
        () => assert.fail('admitted'),
        () => {},
      );
  });
  for (const protocol of [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1, 2 ** 32]) {
    await assert.rejects(ClientChannel.connect(path, { ...HELLO, protocol }), {
      code: 'ERR_MPOOL_PROTOCOL',
      message: new RegExp(`client speaks protocol ${protocol}, this daemon ${PROTOCOL_VERSION}`),
    });
  }
  // A daemon that takes every client: the client itself has to see that it is of another version.
  admits = true;
  for (const protocol of [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1, 'x', undefined]) {
    welcome = { ...WELCOME, protocol };
    const theirs = typeof protocol === 'number' ? protocol : 'none';
    await assert.rejects(ClientChannel.connect(path, HELLO), {
      code: 'ERR_MPOOL_PROTOCOL',
      message: new RegExp(`daemon speaks protocol ${theirs}, this client ${PROTOCOL_VERSION}`),
    });
  }
  welcome = WELCOME;
  const client = await ClientChannel.connect(path, HELLO);
  assert.equal(client.welcome.protocol, PROTOCOL_VERSION);
  client.destroy();
});

test('connecting: refused with the error of the daemon, to nobody, without an answer, given up', async (t) => {
  const path = socketPath(t);
  await assert.rejects(ClientChannel.connect(path, HELLO), {
    code: 'ERR_MPOOL_NOT_FOUND',
    syscall: 'connect',
    path,
  });
  let mute = false;
  await serve(t, path, (socket) => {
    if (mute) return;
    ServerChannel.accept(socket).then(
      (channel) => channel.refuse(new MpoolError('ERR_MPOOL_BUSY', 'p1: opened exclusively')),
      assert.fail,
    );
  });
  await assert.rejects(ClientChannel.connect(path, HELLO), {
    code: 'ERR_MPOOL_BUSY',
    message: 'p1: opened exclusively: in use',
  });
  mute = true;
  await assert.rejects(ClientChannel.connect(path, HELLO, { timeoutMs: 50 }), {
    ...LOST,
    message: /no answer within 50 ms/,
  });
  const abort = new AbortController();
  const connecting = ClientChannel.connect(path, HELLO, { signal: abort.signal });
  abort.abort();
  await assert.rejects(connecting, { code: 'ERR_MPOOL_ABORTED' });
  await assert.rejects(ClientChannel.connect(path, HELLO, { signal: abort.signal }), {
    code: 'ERR_MPOOL_ABORTED',
  });
});

test('an idle client ends by itself; one that waits for an answer does not', async (t) => {
  const path = socketPath(t);
  const waiting: (() => void)[] = [];
  await serveChannels(t, path, ({ operation }) =>
    operation === 'sync' ? {} : new Promise((resolve) => waiting.push(() => resolve({}))),
  );
  const module = pathToFileURL(
    import.meta.resolve('../../src/daemon/client-channel.js').replace('file://', ''),
  );
  const program = `
    const { ClientChannel } = await import('${module.href}');
    const client = await ClientChannel.connect('${path}', ${JSON.stringify(HELLO)});
    await client.request('sync', {});
    if (process.argv[1] === 'wait') client.request('stats', {}).then(() => console.log('answered'));
  `;
  const run = (how: string) =>
    spawn(process.execPath, ['--input-type=module', '-e', program, how], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  const [code] = (await once(run('leave'), 'exit')) as [number];
  assert.equal(code, 0);
  const child = run('wait');
  await until(() => waiting.length === 1);
  assert.equal(child.exitCode, null);
  waiting[0]!();
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  assert.equal(String(said), 'answered\n');
  await once(child, 'exit');
});

test('a process that is killed is seen to be gone', async (t) => {
  const path = socketPath(t);
  const channels = await serveChannels(t, path, () => new Promise(() => {}));
  const raw = `
    const socket = require('net').connect('${path}');
    socket.write(Buffer.from('${encodeFrame(1, 1, HELLO).toString('hex')}', 'hex'));
    for (let i = 2; i < 50; i++) socket.write(Buffer.from('${encodeFrame(2, 23, {}).toString('hex')}', 'hex'));
  `;
  const child = spawn(process.execPath, ['-e', raw], { stdio: 'inherit' });
  await until(() => (channels[0]?.requestsInFlight ?? 0) === 48);
  execFileSync('kill', ['-9', String(child.pid)]);
  assert.equal((await channels[0]!.ended).reason, 'peer');
});
