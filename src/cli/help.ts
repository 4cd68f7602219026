import { COMMON_OPTIONS, OPTIONS, type Command, type OptionName } from './command.ts';

/** The page of `mpool`, `mpool -h` and, with `more`, `mpool -hv`. */
export function globalHelp(commands: readonly Command[], more: boolean): string {
  const rows = commands.map((each) => [each.name, each.summary] as const);
  const nouns = ['mblock', 'mlog', 'mdc'];
  const isObject = (name: string): boolean => nouns.includes(name.split(' ')[0]!);
  let text =
    'usage: mpool COMMAND [options] [ARG…] [param=value…]\n' +
    '       mpool -h [-v] | -V [-v]\n\n' +
    section(
      'Pools:',
      rows.filter(([name]) => !isObject(name)),
    ) +
    section(
      'Objects:',
      rows.filter(([name]) => isObject(name)),
    ) +
    'A command may be shortened while it is unique: mpool l, mpool mb put.\n' +
    'A pool is named by its name, its UUID, or the path of its device or file.\n' +
    'mpool COMMAND -h tells about one command, with -hv more of it.\n';
  if (more) {
    text +=
      '\nNames and UUIDs are looked for in the files and directories of $MPOOL_PATH (separated\n' +
      'by colons), or else in the current directory, and on block devices that can be read.\n' +
      '$MPOOL_ENGINE (io_uring, aio or threads) chooses how I/O is done; mpool doctor tells more.\n' +
      'Sizes take a suffix k, m, g, t, p or e (powers of 1024): 4g, 1.5m. Ids are hexadecimal.\n' +
      'After -- everything is an argument. With --json each command prints one JSON document.\n\n' +
      section('Exit status:', [
        ['0', 'done'],
        ['1', 'an operating error, or an error or warning found by check'],
        ['2', 'a mistake in usage: nothing was touched'],
        ['130', 'interrupted'],
      ]).trimEnd() +
      '\n';
  }
  return text;
}

/** The page of one command. */
export function commandHelp(command: Command, more: boolean): string {
  const options = [...command.options, ...COMMON_OPTIONS].toSorted();
  const parameters = Object.entries(command.parameters);
  let text = `usage: ${usageLine(command)}\n\n${command.summary}.\n\n`;
  text += section(
    'Arguments:',
    command.positionals.map(({ name, meaning }) => [name, meaning]),
  );
  text += section(
    'Parameters:',
    parameters.map(([name, { kind, meaning, default: value, required }]) => {
      const note = required === true ? ' (mandatory)' : '';
      return [`${name}=${kind.form}`, `${meaning}${value ? ` (default: ${value})` : ''}${note}`];
    }),
  );
  text += section(
    'Options:',
    options.map((name) => [optionForms(name), OPTIONS[name].meaning]),
  );
  if (more) text += command.details.map((paragraph) => `${wrap(paragraph, 88)}\n\n`).join('');
  text += `Examples:\n${command.examples.map((example) => `  ${example}\n`).join('')}`;
  return text;
}

/** The page of a noun ('mblock') without its verb. */
export function nounHelp(noun: string, commands: readonly Command[]): string {
  const own = commands.filter((each) => each.name.startsWith(`${noun} `));
  return (
    `usage: mpool ${noun} COMMAND [options] ARG… [param=value…]\n\n` +
    section(
      'Commands:',
      own.map((each) => [each.name, each.summary]),
    ) +
    `mpool ${noun} COMMAND -h tells about one command.\n`
  );
}

function usageLine(command: Command): string {
  const all: OptionName[] = [...command.options, ...COMMON_OPTIONS];
  const short = all
    .map((name) => OPTIONS[name].short ?? '')
    .toSorted()
    .join('');
  const long = all.filter((name) => OPTIONS[name].short === undefined).toSorted();
  const words = command.positionals.map(({ name, count }) => {
    if (count === 'optional') return `[${name}]`;
    return count === 'any' ? `[${name}…]` : `${name}${count === 'some' ? '…' : ''}`;
  });
  const parameters = Object.entries(command.parameters).map(([name, { kind, required }]) =>
    required === true ? `${name}=${kind.form}` : `[${name}=${kind.form}]`,
  );
  const head = ['mpool', command.name, `[-${short}]`, ...long.map((name) => `[--${name}]`)];
  return wrap([...head, ...words, ...parameters].join(' '), 81).replaceAll('\n', '\n         ');
}

function optionForms(name: OptionName): string {
  const { short } = OPTIONS[name];
  return short === undefined ? `    --${name}` : `-${short}, --${name}`;
}

/** A title and rows of a term and its meaning; nothing without rows. */
function section(title: string, rows: readonly (readonly [string, string])[]): string {
  if (rows.length === 0) return '';
  const width = Math.max(...rows.map(([term]) => term.length));
  const lines = rows.map(([term, meaning]) => {
    const text = wrap(meaning, 94 - width).replaceAll('\n', `\n${' '.repeat(width + 4)}`);
    return `  ${term.padEnd(width)}  ${text}\n`;
  });
  return `${title}\n${lines.join('')}\n`;
}

function wrap(text: string, width: number): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.join('\n');
}
