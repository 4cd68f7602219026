#!/usr/bin/env node
/** The program: hands the process's world to run(), and turns signals into an orderly end. */
import { addAbortSignal } from 'node:stream';
import { EXIT_CLOSED_OUTPUT, EXIT_INTERRUPTED } from './failure.ts';
import { Output } from './output.ts';
import { run } from './run.ts';
import { routedDryStore } from './routed-dry-store.ts';
import { routedStore } from './routed-store.ts';
import { loadDryStore, loadStore } from './store.ts';
import { Terminal } from './screen.ts';
import { SystemDaemons } from './system-daemons.ts';

/** So long the daemon's answer is waited for after Ctrl-C. */
const LEAVE_MS = 1000;
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
      void leaveDaemon(status);
      return;
    }
    // The second one is meant. The signal itself ends the process, because process.exit() would
    // wait for a thread that hangs in a system call.
    process.removeAllListeners(name);
    process.kill(process.pid, name);
  });
}

/**
 * What was asked of a daemon cannot be taken back, only left: it does it, or not, without us. What this
 * process does itself has its own ways to end.
 */
async function leaveDaemon(exitStatus: number): Promise<void> {
  if (!(await daemons.inUse())) return;
  setTimeout(() => {
    note('interrupted (ECANCELED)');
    process.exit(exitStatus);
  }, LEAVE_MS).unref();
}

// Standard error may be gone too; there is no one left to tell.
process.stderr.on('error', () => undefined);

const note = (line: string): void => void process.stderr.write(`mpool: ${line}\n`);
const daemons = new SystemDaemons(controller.signal, note);
const places = (process.env['MPOOL_PATH'] ?? '').split(':').filter((place) => place !== '');
const status = await run(process.argv.slice(2), {
  out: new Output(process.stdout),
  note,
  input: () => addAbortSignal(controller.signal, process.stdin),
  places: places.length > 0 ? places : ['.'],
  signal: controller.signal,
  store: async (options = { dryRun: false }) =>
    options.dryRun
      ? routedDryStore(await loadDryStore(), () => loadDryStore({ claim: false }), daemons)
      : routedStore(await loadStore(), daemons, await daemons.reaper()),
  daemons,
  progress: process.stderr.isTTY
    ? {
        write: (text) => process.stderr.write(text),
        get columns() {
          // A terminal that does not know its size says 0.
          return process.stderr.columns || 80;
        },
      }
    : undefined,
  // One that understands no more than text is as good as a file.
  screen:
    process.stdout.isTTY && !['', 'dumb', undefined].includes(process.env['TERM'])
      ? new Terminal({
          input: () => (process.stdin.isTTY ? process.stdin : undefined),
          output: process.stdout,
          hasColours: (process.env['NO_COLOR'] ?? '') === '',
          signal: controller.signal,
        })
      : undefined,
});
await daemons.close();
// Not process.exit() in the common case: what is still on its way to a slow pipe must arrive.
process.exitCode = interruptedBy ?? status;
if (status === EXIT_CLOSED_OUTPUT) process.exit(status);
