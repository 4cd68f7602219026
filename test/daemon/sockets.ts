import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import type { ConnectOptions } from '../../src/daemon/client-channel.ts';
import { numberOfOperation } from '../../src/daemon/operations.ts';
import { PROTOCOL_VERSION } from '../../src/daemon/protocol.ts';
import type { Hello, Welcome } from '../../src/daemon/protocol.ts';
import { ServerChannel } from '../../src/daemon/server-channel.ts';
import type { ChannelLimits, RequestHandler } from '../../src/daemon/server-channel.ts';
import { encodeFrame, FrameDecoder } from '../../src/daemon/wire.ts';
import type { Frame } from '../../src/daemon/wire.ts';

export const HELLO: Hello = { protocol: PROTOCOL_VERSION, client: 'test', pid: process.pid };

export const WELCOME: Welcome = {
  protocol: PROTOCOL_VERSION,
  daemon: { version: '0', pid: process.pid, startedMs: 0 },
  limits: { requestsInFlight: 4096, frameBytes: 2 ** 20, inlineBytes: 2 ** 20 },
};

/** A path that fits in sun_path wherever the temporary directory is. */
export function socketPath(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'mp-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 's');
}

/** A server at `path` until the test ends: each connection is for `onSocket`. */
export async function serve(
  t: TestContext,
  path: string,
  onSocket: (socket: Socket) => void,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    onSocket(socket);
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  server.listen(path);
  await once(server, 'listening');
}

/** Every connection is admitted; the channels come in order. */
export async function serveChannels(
  t: TestContext,
  path: string,
  onRequest: RequestHandler,
  limits: Partial<ChannelLimits> = {},
): Promise<ServerChannel[]> {
  const channels: ServerChannel[] = [];
  await serve(t, path, (socket) => {
    ServerChannel.accept(socket, limits).then(
      (channel) => {
        channels.push(channel);
        channel.admit(WELCOME, onRequest);
      },
      () => {},
    );
  });
  return channels;
}

export async function pair(
  t: TestContext,
  onRequest: RequestHandler,
  limits: Partial<ChannelLimits> = {},
  options: ConnectOptions = {},
): Promise<{ client: ClientChannel; server: ServerChannel; path: string }> {
  const path = socketPath(t);
  const channels = await serveChannels(t, path, onRequest, limits);
  const client = await ClientChannel.connect(path, HELLO, options);
  t.after(() => client.destroy());
  return { client, server: channels[0]!, path };
}

/** A client that sends what it likes. */
export class RawClient {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  readonly closed: Promise<void>;
  readonly #decoder = new FrameDecoder();

  constructor(path: string) {
    this.socket = createConnection({ path });
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk: Buffer) => {
      this.#decoder.push(chunk);
      for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) {
        this.frames.push(frame);
      }
    });
    this.closed = new Promise((resolve) => this.socket.on('close', () => resolve()));
  }

  hello(): void {
    this.socket.write(encodeFrame(1, numberOfOperation('hello'), HELLO));
  }
}

/** Until it is true; the test's own timeout bounds it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}
