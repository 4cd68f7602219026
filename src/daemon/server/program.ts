import { readFileSync, writeSync } from 'node:fs';
import { join, resolve as absolute } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { systemPrng } from '../../base/prng.ts';
import { SystemHost } from '../../device/system-host.ts';
import { packageRoot } from '../../native/binding.ts';
import { rundirPath } from '../rundir.ts';
import { type DaemonConfig, placesOf, readConfig } from './config.ts';
import { Daemon } from './daemon.ts';
import { startInBackground, tellForeground } from './daemonize.ts';
import { Journal } from './journal.ts';
import { parseOptions, type ProgramOptions, USAGE } from './options.ts';
import { ServiceManager } from './service-manager.ts';

const STDOUT = 1;
const STDERR = 2;
/** Of sysexits.h: what the command line or the environment asked for cannot be. */
const EXIT_USAGE = 64;
/** And: the program is wrong. */
const EXIT_SOFTWARE = 70;
/** As a shell tells of a process that SIGKILL ended. */
const EXIT_KILLED = 137;

/** @returns the exit status */
export async function runDaemon(args: readonly string[], script: string): Promise<number> {
  let options: ProgramOptions;
  try {
    options = parseOptions(args);
  } catch (error) {
    writeSync(STDERR, `mpoold: ${(error as Error).message}, use --help for help\n`);
    return EXIT_USAGE;
  }
  if (options.help) return said(USAGE);
  if (options.version) return said(`mpoold ${packageVersion()}\n`);
  if (options.daemonize) {
    const rest = args.filter((arg) => arg !== '--daemonize');
    const { status, message } = await startInBackground(script, rest, options.logFile);
    writeSync(STDERR, message);
    return status;
  }
  return serve(options);
}

async function serve(options: ProgramOptions): Promise<number> {
  process.title = 'mpoold';
  // What is for others is given its mode.
  process.umask(0o077);
  const journal = new Journal({
    level: 'info',
    format: 'line',
    write: (line) => writeSafely(line),
    wallMs: () => systemClock.wallMs(),
    systemd: process.env['JOURNAL_STREAM'] !== undefined,
  });
  endOnBugs(journal);
  const manager = new ServiceManager(systemClock, journal);
  let daemon: Daemon | undefined;
  // One that comes while it starts must not end it.
  process.on('SIGHUP', () => void (daemon && reload(daemon, manager, journal)));
  try {
    const loadConfig = configLoader(options);
    const rundir = absolute(options.rundir ?? rundirPath());
    // From here on no name that a client says can be taken for a file that happens to lie here.
    process.chdir('/');
    daemon = await Daemon.start({
      environment: { host: new SystemHost(), clock: systemClock, prng: systemPrng },
      rundir,
      version: packageVersion(),
      journal,
      loadConfig,
      controlFd: manager.controlFd,
    });
  } catch (error) {
    journal.error('the daemon could not start', { error });
    tellForeground(`mpoold: ${(error as Error).message}\n`);
    return 1;
  }
  const stop = stopSignals(daemon);
  journal.info('serving', { rundir: daemon.context.rundir.path, pid: process.pid });
  manager.ready();
  tellForeground();
  const reason = await Promise.race([daemon.stopRequested, stop]);
  journal.info('stopping', { reason });
  manager.stopping(daemon.stopMs);
  const unfinished = await daemon.stop();
  if (unfinished.length === 0) {
    journal.info('stopped');
    return 0;
  }
  journal.error('stopped, and not finished: what is on media is whole', {
    unfinished: unfinished.join('; '),
  });
  // exit(3) would wait for the thread on which it hangs.
  process.kill(process.pid, 'SIGKILL');
  return EXIT_KILLED;
}

/** Relative paths are so of where the daemon was started. */
function configLoader(options: ProgramOptions): () => Promise<Partial<DaemonConfig>> {
  const { MPOOL_CONFIG: variable = '', MPOOL_PATH: places } = process.env;
  const named = options.configFile ?? (variable === '' ? undefined : variable);
  const configFile = named === undefined ? undefined : absolute(named);
  const searchPlaces = placesOf(places).map((place) => absolute(place));
  return async () => ({ searchPlaces, ...(await readConfig(configFile)), ...options.config });
}

/** The first one asks, the second one does not wait: what is on media is whole at any time. */
function stopSignals(daemon: Daemon): Promise<string> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (asked) {
          daemon.context.journal.warn('stopped at once', { reason: signal });
          // Should the exit wait for a thread that hangs, the next signal ends it.
          process.removeAllListeners('SIGTERM').removeAllListeners('SIGINT');
          process.exit(1);
        }
        asked = true;
        resolve(signal);
      });
    }
  });
}

async function reload(daemon: Daemon, manager: ServiceManager, journal: Journal): Promise<void> {
  manager.reloading();
  try {
    await daemon.reload();
  } catch (error) {
    journal.error('the configuration stays as it was', { error });
  }
  manager.ready();
}

/**
 * What a request throws is answered, and what a session's end throws is told. Anything else comes from no
 * client: what the process believes can no longer be trusted, and what is on media can. It ends, its service
 * manager starts another, and clients connect again.
 */
function endOnBugs(journal: Journal): void {
  const end = (error: unknown): void => {
    journal.error('the daemon ends because of a bug', { error });
    process.exit(EXIT_SOFTWARE);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}

function said(text: string): number {
  writeSync(STDOUT, text);
  return 0;
}

/** Whoever read it may be gone, or be slow: the daemon serves on. */
function writeSafely(line: string): void {
  try {
    writeSync(STDERR, line);
  } catch {
    // Nobody listens.
  }
}

function packageVersion(): string {
  const manifest = readFileSync(join(packageRoot(), 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
