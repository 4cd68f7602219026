import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { invalidArgument, MpoolError } from '../../base/errors.ts';
import { pathError } from '../../device/io-error.ts';
import { LEVELS, type Level } from './journal.ts';
import type { Check } from './shape.ts';
import {
  absolutePath,
  flag,
  integer,
  list,
  maybe,
  measure,
  object,
  oneOf,
  record,
  text,
} from './shape.ts';

/** What the daemon is told by its file and its command line. */
export interface DaemonConfig {
  /** Files and directories where pools are looked for. */
  searchPlaces: readonly string[];
  /** Block devices of the machine too. */
  blockDevices: boolean;
  /** All pools that are found become active at the start. */
  activateAll: boolean;
  /** Who may connect to `ctl`: w of the class lets manage, r lets look at what is one's own. */
  ctlMode: number;
  /** Number or name; the daemon's own group by default. */
  ctlGroup: string | undefined;
  /** 'unix:PATH', or a port on 127.0.0.1, for GET /metrics and /healthz. */
  metrics: string | undefined;
  logLevel: Level;
  logFormat: 'line' | 'json';
  /** Stop when no pool was active and nobody was connected for so long. */
  idleExitSeconds: number | undefined;
  /** For requests under way, when the daemon stops. */
  stopSeconds: number;
  /** Clients of one user, and the memory that they share with the daemon: limits.ts has the defaults. */
  clientsPerUser: number | undefined;
  sharedMiBPerUser: number | undefined;
}

export const CONFIG_DEFAULTS: Readonly<DaemonConfig> = {
  searchPlaces: [],
  blockDevices: true,
  activateAll: false,
  ctlMode: 0o644,
  ctlGroup: undefined,
  metrics: undefined,
  logLevel: 'info',
  logFormat: 'line',
  idleExitSeconds: undefined,
  stopSeconds: 10,
  clientsPerUser: undefined,
  sharedMiBPerUser: undefined,
};

const SYSTEM_CONFIG = '/etc/mpool/mpoold.conf';
const USER_CONFIG = 'mpool/mpoold.conf';
const ROOT_UID = 0;
const PORT_MAX = 65_535;

export const metricsAddress: Check<string> = (value, name) => {
  const address = typeof value === 'number' ? String(value) : text(4095)(value, name);
  if (address.startsWith('unix:')) {
    absolutePath(address.slice('unix:'.length), name);
    return address;
  }
  const port = Number(address);
  if (/^\d+$/.test(address) && port <= PORT_MAX) return address;
  throw invalidArgument(`${name} '${address}' is neither unix:/PATH nor a port`);
};

/** 0o600 of '0600' or '600': octal, as chmod(1) takes it. */
const mode: Check<number> = (value, name) => {
  const digits = text(4)(typeof value === 'number' ? String(value) : value, name);
  if (/^0?[0-7]{3}$/.test(digits)) return Number.parseInt(digits, 8);
  throw invalidArgument(`${name} '${digits}' is no mode such as 0660`);
};

const seconds = measure(0.001, 10 ** 9);

const wholeConfig = record({
  searchPlaces: maybe(list(absolutePath, 1024)),
  blockDevices: maybe(flag),
  activateAll: maybe(flag),
  ctlMode: maybe(mode),
  ctlGroup: maybe(text(255)),
  metrics: maybe(metricsAddress),
  logLevel: maybe(oneOf<Level>(...LEVELS)),
  logFormat: maybe(oneOf('line', 'json')),
  idleExitSeconds: maybe(seconds),
  stopSeconds: maybe(seconds),
  clientsPerUser: maybe(integer(1, 2 ** 20)),
  sharedMiBPerUser: maybe(integer(1, 2 ** 30)),
});

/**
 * Of the file's text: a JSON object, or lines 'key = value' with '#' comments. @throws RangeError,
 * TypeError
 */
export function parseConfig(content: string, name: string): Partial<DaemonConfig> {
  const values = content.trimStart().startsWith('{')
    ? fromJson(content, name)
    : fromLines(content, name);
  for (const key of Object.keys(object(values, name))) {
    if (!Object.hasOwn(CONFIG_DEFAULTS, key)) throw invalidArgument(`${name}: no setting '${key}'`);
  }
  return wholeConfig(values, name);
}

/** Where the configuration of a daemon of this user is, unless it is named: the system's is root's alone. */
export function configPath(
  env: Readonly<Record<string, string | undefined>> = process.env,
  uid = process.geteuid!(),
): string | undefined {
  if (uid === ROOT_UID) return SYSTEM_CONFIG;
  const { XDG_CONFIG_HOME: set = '', HOME: home = '' } = env;
  if (set !== '') return join(set, USER_CONFIG);
  return home === '' ? undefined : join(home, '.config', USER_CONFIG);
}

/**
 * The file that is named, or the usual one, which need not be there.
 * @throws ERR_MPOOL_NOT_FOUND when the one named is not there
 */
export async function readConfig(named: string | undefined): Promise<Partial<DaemonConfig>> {
  const path = named ?? configPath();
  if (path === undefined) return {};
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    const failure = pathError(error, path);
    // A home directory that was inherited from another user need not be readable.
    const none = ['ERR_MPOOL_NOT_FOUND', 'ERR_MPOOL_ACCESS'];
    if (named === undefined && none.includes(failure.code)) return {};
    throw failure;
  }
  return parseConfig(content, path);
}

/** Of $MPOOL_PATH. */
export function placesOf(path: string | undefined): string[] {
  return (path ?? '').split(delimiter).filter((place) => place !== '');
}

/** The number of a group. @throws ERR_MPOOL_NOT_FOUND */
export async function groupNumber(group: string): Promise<number> {
  if (/^\d+$/.test(group)) return Number(group);
  const lines = (await readFile('/etc/group', 'utf8')).split('\n');
  const fields = lines.map((line) => line.split(':')).find(([name]) => name === group);
  if (fields?.[2] !== undefined) return Number(fields[2]);
  throw new MpoolError('ERR_MPOOL_NOT_FOUND', `group '${group}'`);
}

function fromJson(content: string, name: string): unknown {
  try {
    return JSON.parse(content);
  } catch (error) {
    throw invalidArgument(`${name}: ${(error as Error).message}`);
  }
}

/** Words of lines as the values that JSON would have. */
function fromLines(content: string, name: string): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [i, line] of content.split('\n').entries()) {
    const bare = line.replace(/(^|\s)#.*$/, '').trim();
    if (bare === '') continue;
    const [, key, word] = /^([A-Za-z]+)\s*=\s*(.*)$/.exec(bare) ?? [];
    if (key === undefined || word === undefined) {
      throw invalidArgument(`${name}:${i + 1}: '${bare}' is no 'key = value'`);
    }
    if (Object.hasOwn(values, key)) throw invalidArgument(`${name}:${i + 1}: ${key} again`);
    values[key] = valueOf(key, word);
  }
  return values;
}

function valueOf(key: string, word: string): unknown {
  if (key === 'searchPlaces') return placesOf(word);
  if (key === 'ctlMode' || key === 'metrics' || key === 'ctlGroup') return word;
  if (word === 'true' || word === 'yes') return true;
  if (word === 'false' || word === 'no') return false;
  return /^\d+(\.\d+)?$/.test(word) ? Number(word) : word;
}
