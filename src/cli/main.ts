#!/usr/bin/env node
/** The program: hands the process's world to run(), and turns signals into an orderly end. */
import { addAbortSignal } from 'node:stream';
import { EXIT_CLOSED_OUTPUT, EXIT_INTERRUPTED } from './failure.ts';
import { Output } from './output.ts';
import { run } from './run.ts';
import { loadStore } from './store.ts';

const controller = new AbortController();
let interruptedBy: number | undefined;

for (const [name, status] of [
  ['SIGINT', EXIT_INTERRUPTED],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(name, () => {
    if (interruptedBy === undefined) {
      interruptedBy = status;
      controller.abort();
      return;
    }
    // The second one is meant. The signal itself ends the process, because process.exit() would
    // wait for a thread that hangs in a system call.
    process.removeAllListeners(name);
    process.kill(process.pid, name);
  });
}

// Standard error may be gone too; there is no one left to tell.
process.stderr.on('error', () => undefined);

const places = (process.env['MPOOL_PATH'] ?? '').split(':').filter((place) => place !== '');
const status = await run(process.argv.slice(2), {
  out: new Output(process.stdout),
  note: (line) => process.stderr.write(`mpool: ${line}\n`),
  input: () => addAbortSignal(controller.signal, process.stdin),
  places: places.length > 0 ? places : ['.'],
  signal: controller.signal,
  store: (options = { dryRun: false }) => loadStore(options),
  progress: process.stderr.isTTY
    ? {
        write: (text) => process.stderr.write(text),
        get columns() {
          // A terminal that does not know its size says 0.
          return process.stderr.columns || 80;
        },
      }
    : undefined,
});
// Not process.exit() in the common case: what is still on its way to a slow pipe must arrive.
process.exitCode = interruptedBy ?? status;
if (status === EXIT_CLOSED_OUTPUT) process.exit(status);
