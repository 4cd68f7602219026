/**
 * What systemd, or whoever keeps to its protocols, gives a service in its environment: a socket to notify
 * (sd_notify(3)), a watchdog (sd_watchdog_enabled(3)), and sockets that listen already (sd_listen_fds(3)).
 */
import { errnoName } from '../../base/errors.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import { binding } from '../../native/binding.ts';
import { CONTROL_SOCKET } from '../rundir.ts';
import type { Journal } from './journal.ts';

type Variables = Record<string, string | undefined>;

const FIRST_FD = 3;
const VARIABLES = [
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
  'LISTEN_PID',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
];

export class ServiceManager {
  /** A socket that listens for `ctl`. */
  readonly controlFd: number | undefined;
  readonly #notifySocket: Buffer | undefined;
  readonly #watchdogMs: number | undefined;
  readonly #clock: Clock;
  readonly #journal: Journal;
  #watchdog: Timer | undefined;
  #stopping = false;

  /**
   * @param env of the process; what is meant for it alone is removed, so that no child takes it for
   * its own
   */
  constructor(clock: Clock, journal: Journal, env: Variables = process.env) {
    this.#clock = clock;
    this.#journal = journal;
    this.#notifySocket = notifyAddress(env['NOTIFY_SOCKET']);
    const isOurs = (pid: string | undefined): boolean => Number(pid) === process.pid;
    const watched = env['WATCHDOG_PID'] === undefined || isOurs(env['WATCHDOG_PID']);
    const usec = Number(env['WATCHDOG_USEC'] ?? 0);
    this.#watchdogMs = watched && usec > 0 ? usec / 1000 : undefined;
    this.controlFd = isOurs(env['LISTEN_PID']) ? controlFdOf(env) : undefined;
    for (const name of VARIABLES) delete env[name];
  }

  /** Serving, for the first time or after a reload. */
  ready(): void {
    if (this.#stopping) return;
    this.#notify(`READY=1\nSTATUS=Serving\nMAINPID=${process.pid}`);
    this.#watchdog?.cancel();
    if (this.#watchdogMs === undefined) return;
    const beat = (): void => {
      this.#notify('WATCHDOG=1');
      this.#watchdog = this.#clock.after(this.#watchdogMs! / 3, beat);
    };
    beat();
  }

  reloading(): void {
    const microseconds = Math.round(this.#clock.monotonicMs() * 1000);
    this.#notify(`RELOADING=1\nMONOTONIC_USEC=${microseconds}`);
  }

  /** It may take so long; the watchdog goes on. */
  stopping(withinMs: number): void {
    this.#stopping = true;
    const microseconds = Math.round(withinMs * 1000);
    this.#notify(`STOPPING=1\nSTATUS=Stopping\nEXTEND_TIMEOUT_USEC=${microseconds}`);
  }

  #notify(state: string): void {
    if (this.#notifySocket === undefined) return;
    const result = binding.sendDatagram(this.#notifySocket, Buffer.from(state));
    if (result === 0) return;
    this.#journal.warn('the service manager was not reached', { error: errnoName(result) });
  }
}

/** A path, or '@name' for an abstract socket; others, such as vsock, are not spoken here. */
function notifyAddress(address: string | undefined): Buffer | undefined {
  if (address?.startsWith('/') === true) return Buffer.from(address);
  if (address?.startsWith('@') === true) return Buffer.from(`\0${address.slice(1)}`);
  return undefined;
}

/** The socket named 'ctl', or the first one when they have no names. */
function controlFdOf(env: Variables): number | undefined {
  const count = Number(env['LISTEN_FDS'] ?? 0);
  if (!(count > 0)) return undefined;
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  const at = names.findIndex((name) => name === CONTROL_SOCKET || name === 'mpoold.socket');
  return FIRST_FD + (at < 0 || at >= count ? 0 : at);
}
