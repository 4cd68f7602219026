/**
 * Clients that behave badly: node flood-child RUNDIR POOL HOW. They ask without end, and as fast as it goes.
 *   ask    and read what is answered, to throw it away
 *   deaf   and never read; it says when its connection was ended
 */
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { numberOfOperation } from '../../src/daemon/operations.ts';
import { PROTOCOL_VERSION } from '../../src/daemon/protocol.ts';
import { poolSocketPath } from '../../src/daemon/rundir.ts';
import { encodeFrame } from '../../src/daemon/wire.ts';

const [rundir, name, how] = process.argv.slice(2) as [string, string, string];
const FRAMES_PER_WRITE = 2000;

/** Ids of requests may come again once they are answered: these are, or nobody looks. */
function requests(operation: 'usage' | 'info', from: number): Buffer {
  const frames = Array.from({ length: FRAMES_PER_WRITE }, (_, i) =>
    encodeFrame(from + i, numberOfOperation(operation), {}),
  );
  return Buffer.concat(frames);
}

const socket = createConnection(poolSocketPath(rundir, name));
if (how === 'deaf') socket.pause();
else socket.resume();
socket.on('error', () => {});
const hello = { protocol: PROTOCOL_VERSION, client: how, pid: process.pid, access: 'write' };
socket.write(encodeFrame(1, numberOfOperation('hello'), hello));
const burst = requests(how === 'deaf' ? 'info' : 'usage', 2);
process.send!('open');
let wantsMore = true;
socket.on('drain', () => (wantsMore = true));
while (!socket.destroyed) {
  if (wantsMore) wantsMore = socket.write(burst);
  await (wantsMore || how === 'ask' ? new Promise(setImmediate) : sleep(1));
}
process.send!('ended', () => process.exit(0));
