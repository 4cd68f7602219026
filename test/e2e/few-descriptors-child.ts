/** Looks at a process with no descriptor left: node few-descriptors-child PID. Says whether it found it alive. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { peerAlive } from '../../src/daemon/peer.ts';

const pid = Number(process.argv[2]);
const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
const startTicks = Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19]);
const peer = { pid, uid: 0, gid: 0, groups: [], startTicks };
const taken: number[] = [];
try {
  for (;;) taken.push(openSync('/dev/null', 'r'));
} catch {
  // None is left.
}
const alive = peerAlive(peer);
for (const fd of taken) closeSync(fd);
writeSync(1, JSON.stringify({ alive, taken: taken.length }));
