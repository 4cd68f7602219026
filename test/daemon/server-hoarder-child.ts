// Takes as much of the daemon as it is told to, as whoever runs it, and says what became of each step: for tests
// of what one user can have.
import { closeSync } from 'node:fs';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { receiveDescriptors } from '../../src/daemon/descriptors.ts';
import type { Operation } from '../../src/daemon/operations.ts';
import { HELLO } from './sockets.ts';

export interface Step {
  /** Which connection, by a name of the test's own; made where there is none. */
  by: string;
  socket: string;
  /** 'descriptors' fetches them, 'close' ends the connection; none: only connects. */
  operation?: Operation | 'descriptors' | 'close';
  body?: object;
  payloadBytes?: number;
  access?: 'read' | 'write';
}

export interface Outcome {
  code?: string;
  message?: string;
  limits?: { requestsInFlight: number; inlineBytes: number };
  body?: Record<string, unknown>;
}

// What it has stays until it is told to go; an idle connection keeps no process alive.
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

const channels = new Map<string, ClientChannel>();

async function channelOf({ by, socket, access = 'write' }: Step): Promise<ClientChannel> {
  const known = channels.get(by);
  if (known !== undefined) return known;
  const hello = socket.endsWith('/ctl') ? HELLO : { ...HELLO, access };
  const channel = await ClientChannel.connect(socket, hello);
  channels.set(by, channel);
  return channel;
}

async function outcomeOf(step: Step): Promise<Outcome> {
  const { operation, body = {}, payloadBytes = 0 } = step;
  try {
    const channel = await channelOf(step);
    const { limits, pool } = channel.welcome;
    if (operation === undefined) return { limits };
    if (operation === 'close') {
      channel.close();
      await channel.ended;
      return {};
    }
    if (operation === 'descriptors') {
      const hello = { ...HELLO, descriptorsFor: pool!.descriptorToken };
      const fds = await receiveDescriptors(step.socket, hello, 2 * pool!.devices.length + 1);
      for (const fd of fds) closeSync(fd);
      return { body: { count: fds.length } };
    }
    const request = channel.request(operation, body, Buffer.alloc(payloadBytes, 'x'));
    const { body: answer } = await request;
    return { body: answer as Record<string, unknown> };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { ...(code !== undefined && { code }), message };
  }
}

const steps = JSON.parse(process.env['STEPS'] ?? '[]') as Step[];
const outcomes: Outcome[] = [];
for (const step of steps) {
  outcomes.push(await outcomeOf(step));
}
process.stdout.write(`${JSON.stringify(outcomes)}\n`);
