import { optionOf, type Command } from './command.ts';
import {
  columnRows,
  COLUMNS_TITLE,
  ENVIRONMENT,
  EXIT_STATUSES,
  GRAMMAR,
  NOUNS,
  optionForms,
  optionsOf,
  parameterRows,
  usageParts,
} from './manual.ts';

/** Verbs as people look for them. */
export function commandGroups(
  commands: readonly Command[],
): readonly { title: string; commands: readonly Command[] }[] {
  const open = commands.filter(({ hidden }) => !hidden);
  const isObject = ({ name }: Command): boolean => Object.hasOwn(NOUNS, name.split(' ')[0]!);
  return [
    { title: 'Pools:', commands: open.filter((each) => !isObject(each) && each.about === 'pools') },
    { title: 'Daemon:', commands: open.filter(({ about }) => about === 'daemon') },
    { title: 'Objects:', commands: open.filter(isObject) },
    { title: 'The tool:', commands: open.filter(({ about }) => about === 'tool') },
  ];
}

/** The page of `mpool`, `mpool -h` and, with `more`, `mpool -hv`. */
export function globalHelp(commands: readonly Command[], more: boolean): string {
  const groups = commandGroups(commands).map((group) =>
    section(
      group.title,
      group.commands.map(({ name, summary }) => [name, summary]),
    ),
  );
  let text =
    'usage: mpool COMMAND [options] [ARG…] [param=value…]\n' +
    '       mpool -h [-v] | -V [-v]\n\n' +
    groups.join('') +
    `${GRAMMAR.shortened}\n${GRAMMAR.pool}\n` +
    'mpool COMMAND -h tells about one command, with -hv more of it.\n';
  if (more) {
    const rest = `${GRAMMAR.values} ${GRAMMAR.words} ${GRAMMAR.json}`;
    text +=
      `\n${wrap(rest.split(' '), 88)}\n\n${wrap(GRAMMAR.dryRun.split(' '), 88)}\n\n` +
      section('Environment:', ENVIRONMENT) +
      section('Exit status:', EXIT_STATUSES).trimEnd() +
      '\n';
  }
  return text;
}

/** The page of one command. */
export function commandHelp(command: Command, more: boolean): string {
  const usage = wrap(usageParts(command), 81).replaceAll('\n', '\n         ');
  let text = `usage: ${usage}\n\n${command.summary}.\n\n`;
  text += section(
    'Arguments:',
    command.positionals.map(({ name, meaning }) => [name, meaning]),
  );
  text += section('Parameters:', parameterRows(command));
  text += section(
    'Options:',
    optionsOf(command).map((name) => [optionForms(name), optionOf(name).meaning]),
  );
  if (more) {
    text += section(`${COLUMNS_TITLE}:`, columnRows(command));
    const paragraphs = command.details.map((paragraph) => wrap(paragraph.split(' '), 88));
    text += paragraphs.map((paragraph) => `${paragraph}\n\n`).join('');
  }
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

/** A title and rows of a term and its meaning; nothing without rows. */
function section(title: string, rows: readonly (readonly [string, string])[]): string {
  if (rows.length === 0) return '';
  const width = Math.max(...rows.map(([term]) => term.length));
  const lines = rows.map(([term, meaning]) => {
    const text = wrap(meaning.split(' '), 94 - width);
    return `  ${term.padEnd(width)}  ${text.replaceAll('\n', `\n${' '.repeat(width + 4)}`)}\n`;
  });
  return `${title}\n${lines.join('')}\n`;
}

/** Lines of at most `width`, broken only between the parts. */
function wrap(parts: readonly string[], width: number): string {
  const lines = [''];
  for (const part of parts) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + part.length > width) lines.push(part);
    else lines[lines.length - 1] = line === '' ? part : `${line} ${part}`;
  }
  return lines.join('\n');
}
