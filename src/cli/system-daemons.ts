/** Daemons of this machine, found at their sockets. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMpoolError, MpoolError } from '../base/errors.ts';
import type { Daemon } from '../client.ts';
import type { Reaper } from '../pool/api.ts';
import { type Daemons, manageable } from './daemons.ts';

/** So long a daemon that the tool started stays when no pool is active in it any more. */
const IDLE_EXIT_SECONDS = 60;
/** After it whoever waits is told for what. */
const PATIENCE_MS = 2000;
/** How long and how often another call's daemon is waited for. */
const CONNECT_MS = 100;
const CONNECTS_MAX = 30;
const PROGRAM = fileURLToPath(new URL('../daemon/main.js', import.meta.url));

export class SystemDaemons implements Daemons {
  readonly #signal: AbortSignal;
  readonly #note: (line: string) => void;
  #running: Promise<Daemon[]> | undefined;

  /**
   * @param signal ends waiting for a daemon that does not answer
   * @param note is told of such waiting
   */
  constructor(signal: AbortSignal, note: (line: string) => void) {
    this.#signal = signal;
    this.#note = note;
  }

  running(): Promise<readonly Daemon[]> {
    return (this.#running ??= this.#find());
  }

  async checkManaged(): Promise<void> {
    const found = await manageable(await this.running());
    if (found.length === 0) (await import('../client.ts')).ownRundir();
  }

  async managed(): Promise<Daemon> {
    const [first] = await manageable(await this.running());
    if (first !== undefined) return first;
    const { ownRundir } = await import('../client.ts');
    const rundir = ownRundir();
    const failure = await start(rundir);
    let daemon = await this.#connect(rundir);
    // Another call may have been faster: its daemon is as good, as soon as it serves.
    for (let i = 0; daemon === undefined && i < CONNECTS_MAX; i++) {
      await sleep(CONNECT_MS, undefined, { signal: this.#signal });
      daemon = await this.#connect(rundir);
    }
    if (daemon === undefined) throw new MpoolError('ERR_MPOOL_NOT_FOUND', `a daemon: ${failure}`);
    this.#running = Promise.resolve([daemon, ...(await this.running())]);
    return daemon;
  }

  /** Of the maps of all pools that this process has of daemons. */
  async reaper(): Promise<Pick<Reaper, 'configure'>> {
    return (await import('../client.ts')).reaper;
  }

  /** Whether some daemon was found, or is being looked for. */
  async inUse(): Promise<boolean> {
    const found = await this.#running?.catch(() => []);
    return found !== undefined && found.length > 0;
  }

  async close(): Promise<void> {
    const running = (await this.#running?.catch(() => [])) ?? [];
    await Promise.all(running.map((daemon) => daemon.close().catch(() => undefined)));
  }

  /** Pools that are not active there can be used all the same: those that are, are claimed. */
  #otherVersion(rundir: string, error: Error): undefined {
    this.#note(`the daemon in ${rundir} is left aside, restart it: ${error.message}`);
  }

  async #find(): Promise<Daemon[]> {
    const { rundirs } = await import('../client.ts');
    const found = await Promise.all((await rundirs()).map((rundir) => this.#connect(rundir)));
    return found.filter((daemon) => daemon !== undefined);
  }

  async #connect(rundir: string): Promise<Daemon | undefined> {
    const { connect } = await import('../client.ts');
    const tell = (): void =>
      this.#note(`waiting for the daemon in ${rundir}: it does not answer; Ctrl-C gives up`);
    const patience = setTimeout(tell, PATIENCE_MS);
    try {
      for (;;) {
        try {
          return await connect({ rundir, client: 'mpool', signal: this.#signal });
        } catch (error) {
          if (isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) return undefined;
          // A path too long for a socket: no daemon can be there.
          if (error instanceof RangeError) return undefined;
          if (isMpoolError(error, 'ERR_MPOOL_PROTOCOL')) return this.#otherVersion(rundir, error);
          // One that is stopping still has its pools: what is to be done waits until it has not.
          if (!isMpoolError(error, 'ERR_MPOOL_CLOSED')) throw error;
          await sleep(CONNECT_MS, undefined, { signal: this.#signal });
        }
      }
    } finally {
      clearTimeout(patience);
    }
  }
}

/** @returns why it did not start; empty when it serves */
async function start(rundir: string): Promise<string> {
  const args = ['--daemonize', '--rundir', rundir, '--idle-exit', String(IDLE_EXIT_SECONDS)];
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const [said] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  return said.trim();
}
