/** What the help and the manual pages both say, and how they write a verb's usage. */
import { COMMON_OPTIONS, optionOf, type Command, type OptionName } from './command.ts';

type Rows = readonly (readonly [term: string, meaning: string])[];

export const EXIT_STATUSES: Rows = [
  ['0', 'done'],
  ['1', 'an operating error, or an error or warning found by check'],
  ['2', 'a mistake in usage: nothing was touched'],
  ['130', 'interrupted'],
];

export const ENVIRONMENT: Rows = [
  [
    'MPOOL_PATH',
    'files and directories, separated by colons, in which names and UUIDs are looked for instead ' +
      'of in the current directory; block devices that can be read are looked at in any case',
  ],
  [
    'MPOOL_RUNDIR',
    "where the daemon's sockets are; otherwise $XDG_RUNTIME_DIR/mpool and /run/mpool are tried",
  ],
  [
    'MPOOL_ENGINE',
    'io_uring, aio or threads: how I/O is done, or the first that is tried; mpool doctor tells more',
  ],
];

/** Words that take a verb of their own after them, and what they are about. */
export const NOUNS: Readonly<Record<string, string>> = {
  mblock: 'mblocks',
  mlog: 'mlogs',
  mdc: 'MDCs',
  mcache: 'the page cache',
};

/** Sentences on the grammar. */
export const GRAMMAR = {
  shortened: 'A command may be shortened while it is unique: mpool l, mpool mb put.',
  pool: 'A pool is named by its name, its UUID, or the path of its device or file.',
  values: 'Sizes take a suffix k, m, g, t, p or e (powers of 1024): 4g, 1.5m. Ids are hexadecimal.',
  words: 'After -- everything is an argument.',
  json: 'With --json each command prints one JSON document: docs/json.md has their members.',
  dryRun:
    'A command that changes something takes -n: it is then run on copies in memory of what it ' +
    'would write. So it needs what it would need, refuses what it would refuse, with the same ' +
    'status, and says what it would do; nothing on media changes. What only writing tells (a ' +
    'device that fails, a file system without files of that size) it does not see.',
} as const;

const SHOWN = { always: '', verbose: ' (-v)', asked: ' (-o)' } as const;

/** All options of a verb, in the order of their names. */
export function optionsOf(command: Command): readonly OptionName[] {
  return [...command.options, ...COMMON_OPTIONS].toSorted();
}

/** '-o, --output COLUMNS'; four spaces for a short form that is not there. */
export function optionForms(name: OptionName): string {
  const { short, value } = optionOf(name);
  const long = value === undefined ? `--${name}` : `--${name} ${value}`;
  return short === undefined ? `    ${long}` : `-${short}, ${long}`;
}

/** A row for each of the verb's parameters. */
export function parameterRows({ parameters }: Command): Rows {
  return Object.entries(parameters).map(([name, { kind, meaning, default: value, required }]) => {
    const note = required === true ? ' (mandatory)' : '';
    return [`${name}=${kind.form}`, `${meaning}${value ? ` (default: ${value})` : ''}${note}`];
  });
}

export const COLUMNS_TITLE = 'Columns, some only with -v or when -o names them';

/** A row for each column of the verb's table. */
export function columnRows({ columns }: Command): Rows {
  return columns.map(({ key, meaning, shown }) => [key, meaning + SHOWN[shown]]);
}

/** The parts of the usage between which a line may be broken. */
export function usageParts(command: Command): readonly string[] {
  const all = optionsOf(command).map(optionOf);
  const names = optionsOf(command).filter((name) => optionOf(name).short === undefined);
  const letters = all
    .filter(({ value }) => value === undefined)
    .map(({ short }) => short ?? '')
    .toSorted()
    .join('');
  const valued = all.flatMap(({ short, value }) =>
    value === undefined ? [] : [`[-${short} ${value}]`],
  );
  const words = command.positionals.map(({ name, count }) => {
    if (count === 'optional') return `[${name}]`;
    return count === 'any' ? `[${name}…]` : `${name}${count === 'some' ? '…' : ''}`;
  });
  const parameters = Object.entries(command.parameters).map(([name, { kind, required }]) =>
    required === true ? `${name}=${kind.form}` : `[${name}=${kind.form}]`,
  );
  const options = [`[-${letters}]`, ...names.map((name) => `[--${name}]`), ...valued];
  return ['mpool', command.name, ...options, ...words, ...parameters];
}
