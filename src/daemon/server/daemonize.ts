/**
 * Goes on in the background: the process starts itself once more, apart from its terminal, waits
 * until that one
 * says how its start went, and ends with it.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';

/** Names the descriptor on which the background process tells how its start went. */
const VARIABLE = 'MPOOLD_READY_FD';
const READY_FD = 3;
const READY = 'ready\n';

/**
 * @param args of the command line, without the wish to go into the background
 * @param logFile where what the daemon says goes; nowhere without one
 * @returns the exit status, and what is to be said when it is not 0
 */
export async function startInBackground(
  script: string,
  args: readonly string[],
  logFile: string | undefined,
): Promise<{ status: number; message: string }> {
  const log = openSync(logFile ?? '/dev/null', 'a', 0o640);
  const child = spawn(process.execPath, [...process.execArgv, script, ...args], {
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
    env: { ...process.env, [VARIABLE]: String(READY_FD) },
  });
  closeSync(log);
  const failed = new Promise<string>((resolve) => child.once('error', (e) => resolve(e.message)));
  // It ends when the start is over, one way or another: the other side closes it, or is gone.
  const said = await Promise.race([text(child.stdio[READY_FD] as Readable), failed]);
  child.unref();
  if (said === READY) return { status: 0, message: '' };
  return { status: 1, message: said === '' ? 'the daemon ended while it was starting\n' : said };
}

/** Tells whoever waits in the foreground how the start went: once, in the background process. */
export function tellForeground(failure?: string): void {
  const fd = Number(process.env[VARIABLE] ?? 0);
  delete process.env[VARIABLE];
  if (!(fd > 0)) return;
  try {
    writeSync(fd, failure ?? READY);
  } catch {
    // Nobody waits any more.
  }
  closeSync(fd);
}
