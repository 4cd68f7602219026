// A process of its own: creates, writes, syncs and unlinks files, and tells how many a second.
import { close, fsync, open, openSync, unlink, write } from 'node:fs';
import { join } from 'node:path';

const [folder = '.', seconds = '1', inFlight = '1', unlinking = ''] = process.argv.slice(2);
const data = Buffer.alloc(4096, 'file');
const directory = openSync(folder, 'r');
const start = performance.now();
const end = start + Number(seconds) * 1000;
let count = 0;
let running = Number(inFlight);

for (let caller = 0; caller < Number(inFlight); caller++) next(caller);

/** With callbacks: a promise a step would only slow it down. */
function next(caller: number): void {
  if (performance.now() >= end) {
    running -= 1;
    if (running === 0) process.send!(count / ((performance.now() - start) / 1000));
    return;
  }
  const path = join(folder, `file-${caller}`);
  const finish = checked(() => {
    count += 1;
    next(caller);
  });
  const unlinked = unlinking === 'sync' ? checked(() => fsync(directory, finish)) : finish;
  open(path, 'wx', (openError, fd) => {
    if (openError !== null) throw openError;
    const closed = checked(() => unlink(path, unlinked));
    const synced = checked(() => close(fd, closed));
    const written = checked(() => fsync(fd, synced));
    write(fd, data, 0, data.length, 0, written);
  });
}

function checked(then: () => void): (error?: Error | null) => void {
  return (error) => {
    if (error) throw error;
    then();
  };
}
