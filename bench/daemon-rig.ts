/**
 * What the daemon costs: one pool, which this process opens by itself and through a daemon in turn, so that
 * both sides do the same calls on the same extents of the same file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect, type Daemon, isMpoolError, reaper as clientReaper } from '../src/client.ts';
import { open, reaper as embeddedReaper } from '../src/index.ts';
import type { Pool } from '../src/pool/api.ts';
import type { Bench } from './workload.ts';
import type { Preparation } from './workspace.ts';

const PROGRAM = fileURLToPath(new URL('../src/daemon/main.js', import.meta.url));
const ATTEMPTS = 500;
const PAUSE_MS = 10;

export interface RigOptions {
  sizeBytes: number;
  mblockSizeBytes?: number;
  preparation: Preparation;
}

/** What is measured: the same function for both sides. */
export type OnPool<T> = (pool: Pool) => Promise<T>;

export class DaemonRig {
  readonly rundir: string;
  readonly poolName: string;
  readonly #path: string;
  readonly #daemon: Daemon;

  private constructor(rundir: string, daemon: Daemon, path: string, poolName: string) {
    this.rundir = rundir;
    this.#daemon = daemon;
    this.#path = path;
    this.poolName = poolName;
  }

  /** With a pool of that name, a daemon of its own, and no reapers: a run decides what is in memory. */
  static async with(
    bench: Bench,
    name: string,
    options: RigOptions,
    run: (rig: DaemonRig) => Promise<void>,
  ): Promise<void> {
    const path = await bench.workspace.makePool(name, options);
    // Short: the path of a socket has at most 107 bytes.
    const rundir = mkdtempSync(join(tmpdir(), 'mpool-bench-'));
    const child = spawnDaemon(rundir);
    const exited = once(child, 'exit');
    const { enabled } = embeddedReaper.settings;
    for (const reaper of [embeddedReaper, clientReaper]) reaper.configure({ enabled: false });
    try {
      await using daemon = await connectSoon(rundir, child);
      await run(new DaemonRig(rundir, daemon, path, name));
    } finally {
      for (const reaper of [embeddedReaper, clientReaper]) reaper.configure({ enabled });
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        await exited;
      }
      rmSync(rundir, { recursive: true, force: true });
      bench.workspace.remove(`${name}.mpool`);
    }
  }

  /** Opened by this process itself. */
  async embedded<T>(run: OnPool<T>): Promise<T> {
    const pool = await open(this.#path);
    try {
      return await run(pool);
    } finally {
      await pool.close();
    }
  }

  /** Opened through the daemon. */
  client<T>(run: OnPool<T>): Promise<T> {
    return this.served(async () => {
      const pool = await this.#daemon.open(this.poolName);
      try {
        // What the daemon asks of its clients' reapers counts for more than what was configured here.
        clientReaper.configure({ enabled: false });
        return await run(pool);
      } finally {
        await pool.close();
      }
    });
  }

  /** Active in the daemon, for clients in other processes. */
  async served<T>(run: () => Promise<T>): Promise<T> {
    await this.#daemon.activate(this.#path);
    try {
      return await run();
    } finally {
      await this.#daemon.deactivate(this.poolName);
    }
  }
}

/** Looks at nothing but what it is told to activate. */
function spawnDaemon(rundir: string): ChildProcess {
  const config = join(rundir, 'mpoold.conf');
  writeFileSync(config, 'blockDevices = no\nlogLevel = warn\n');
  const words = [...profiling(), PROGRAM, '--rundir', rundir, '--config', config];
  return spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** `node --cpu-prof` of the benchmark profiles the daemon too. */
function profiling(): string[] {
  return process.execArgv.filter((word) => word.startsWith('--cpu-prof'));
}

async function connectSoon(rundir: string, child: ChildProcess): Promise<Daemon> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await connect({ rundir });
    } catch (error) {
      const mayCome = child.exitCode === null && attempt < ATTEMPTS;
      if (!mayCome || !isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) throw error;
      await sleep(PAUSE_MS);
    }
  }
}
