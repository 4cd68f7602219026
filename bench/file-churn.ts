// A process of its own: creates, writes, syncs and unlinks files, and tells how many a second.
import { close, fsync, open, unlink, write } from 'node:fs';
import { join } from 'node:path';

const [folder = '.', seconds = '1', inFlight = '1'] = process.argv.slice(2);
const data = Buffer.alloc(4096, 'file');
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
  open(path, 'wx', (openError, fd) => {
    if (openError !== null) throw openError;
    write(fd, data, 0, data.length, 0, (writeError) => {
      if (writeError !== null) throw writeError;
      fsync(fd, (syncError) => {
        if (syncError !== null) throw syncError;
        close(fd, () => {
          unlink(path, (unlinkError) => {
            if (unlinkError !== null) throw unlinkError;
            count += 1;
            next(caller);
          });
        });
      });
    });
  });
}
