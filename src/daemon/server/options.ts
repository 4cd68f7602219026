import { parseArgs } from 'node:util';
import { invalidArgument } from '../../base/errors.ts';
import { type DaemonConfig, metricsAddress } from './config.ts';

export const USAGE = `usage: mpoold [options]

Activates pools and serves them to other processes, until SIGTERM.

  --rundir DIR             where its sockets are ($MPOOL_RUNDIR; /run/mpool for root, else
                           $XDG_RUNTIME_DIR/mpool)
  --config FILE            instead of $MPOOL_CONFIG, or /etc/mpool/mpoold.conf for root, else
                           ~/.config/mpool/mpoold.conf
  --activate-all           activate every pool that is found at the start
  --metrics WHERE          answer GET /metrics and /healthz on unix:PATH, or on that port of 127.0.0.1
  --idle-exit SECONDS      stop when no pool was active and nobody connected for so long
  --log-format line|json   what is said on stderr
  --log-level LEVEL        debug, info (the default), warn or error
  --daemonize              go on in the background once it serves
  --log-file FILE          where --daemonize has it speak; nowhere without
  --version, --help

Signals: TERM and INT stop it when what is under way is answered, a second one at once; HUP has it read its
configuration again.
`;

export interface ProgramOptions {
  help: boolean;
  version: boolean;
  daemonize: boolean;
  rundir: string | undefined;
  configFile: string | undefined;
  logFile: string | undefined;
  /** Counts for more than what the file says. */
  config: Partial<DaemonConfig>;
}

/** @throws RangeError, TypeError */
export function parseOptions(args: readonly string[]): ProgramOptions {
  const { values } = parsed(args);
  const config: Partial<DaemonConfig> = {};
  if (values['activate-all'] === true) config.activateAll = true;
  if (values.metrics !== undefined) config.metrics = metricsAddress(values.metrics, '--metrics');
  const { 'log-format': format, 'log-level': level, 'idle-exit': idle } = values;
  if (format !== undefined) config.logFormat = oneOf('--log-format', format, ['line', 'json']);
  if (level !== undefined) {
    config.logLevel = oneOf('--log-level', level, ['debug', 'info', 'warn', 'error']);
  }
  if (idle !== undefined) {
    if (!/^\d+(\.\d+)?$/.test(idle) || Number(idle) <= 0) {
      throw invalidArgument(`--idle-exit '${idle}' is no number of seconds`);
    }
    config.idleExitSeconds = Number(idle);
  }
  return {
    help: values.help === true,
    version: values.version === true,
    daemonize: values.daemonize === true,
    rundir: values.rundir,
    configFile: values.config,
    logFile: values['log-file'],
    config,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        'activate-all': { type: 'boolean' },
        config: { type: 'string' },
        daemonize: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        'idle-exit': { type: 'string' },
        'log-file': { type: 'string' },
        'log-format': { type: 'string' },
        'log-level': { type: 'string' },
        metrics: { type: 'string' },
        rundir: { type: 'string' },
        version: { type: 'boolean', short: 'V' },
      },
    });
  } catch (error) {
    // It goes on with advice, over several lines.
    throw invalidArgument((error as Error).message.split('\n')[0]!);
  }
}

function oneOf<T extends string>(name: string, value: string, values: readonly T[]): T {
  if ((values as readonly string[]).includes(value)) return value as T;
  throw invalidArgument(`${name} '${value}' is none of ${values.join(', ')}`);
}
