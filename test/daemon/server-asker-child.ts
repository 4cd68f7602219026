// Asks one thing as whoever runs it, and says what it heard: for tests of permissions.
import { createConnection } from 'node:net';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { HELLO } from './sockets.ts';

const MUTE_COUNT = 1300;
const { SOCKET = '', REQUEST = '{}' } = process.env;
const { operation, body, access } = JSON.parse(REQUEST);

function say(outcome: object): void {
  process.stdout.write(JSON.stringify(outcome));
}

if (operation === 'mute') {
  // Connections that say nothing, more than there can be.
  for (let connected = 0; connected < MUTE_COUNT;) {
    const socket = createConnection(SOCKET);
    // The queue of who was not accepted yet may be full.
    const done = await new Promise<boolean>((resolve) => {
      socket.on('connect', () => resolve(true));
      socket.on('error', () => setTimeout(() => resolve(false), 5));
    });
    if (done) connected += 1;
  }
  process.stdout.write('connected');
  setInterval(() => {}, 1000);
  await new Promise(() => {});
}

let step = 'connect';
try {
  const hello = { ...HELLO, ...(access !== undefined && { access }) };
  const channel = await ClientChannel.connect(SOCKET, hello);
  step = 'request';
  if (operation === 'wait') {
    // Something must be asked for: an idle connection keeps no process alive.
    const timer = setInterval(() => {}, 1000);
    const { error } = await channel.ended;
    clearInterval(timer);
    say({ code: error.code, body: { cause: (error.cause as NodeJS.ErrnoException)?.code } });
  } else {
    say({ body: (await channel.request(operation, body)).body });
    channel.close();
  }
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  say({ step, code, message });
}
