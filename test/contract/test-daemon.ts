/** A daemon in a process of its own, for tests. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect, type Daemon, isMpoolError } from '../../src/client.ts';

const PROGRAM = fileURLToPath(new URL('../../src/daemon/main.js', import.meta.url));
const ATTEMPTS = 1000;
const PAUSE_MS = 10;

export interface TestDaemon {
  readonly rundir: string;
  readonly daemon: Daemon;
  readonly child: ChildProcess;
  /** Asks it to end, and waits until it did. */
  stop(): Promise<void>;
}

/** @param parts of its command line, besides its directory */
export function spawnDaemon(rundir: string, ...parts: string[]): ChildProcess {
  return spawn(process.execPath, ['--enable-source-maps', PROGRAM, '--rundir', rundir, ...parts], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

export async function startDaemon(...parts: string[]): Promise<TestDaemon> {
  // Short: the path of a socket has at most 107 bytes.
  const rundir = mkdtempSync(join(tmpdir(), 'mpoold-'));
  const child = spawnDaemon(rundir, ...parts);
  const daemon = await connectSoon(rundir);
  return {
    rundir,
    daemon,
    child,
    async stop() {
      await daemon.close();
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        child.kill('SIGTERM');
        await exited;
      }
      rmSync(rundir, { recursive: true, force: true });
    },
  };
}

/** As soon as a daemon listens there. */
export async function connectSoon(rundir: string): Promise<Daemon> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await connect({ rundir });
    } catch (error) {
      if (!isMpoolError(error, 'ERR_MPOOL_NOT_FOUND') || attempt === ATTEMPTS) throw error;
      await sleep(PAUSE_MS);
    }
  }
}
