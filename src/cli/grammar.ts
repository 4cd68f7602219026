/**
 * The original's grammar: `mpool VERB [options] ARG… [param=value…]`. Verbs and long options may be
 * shortened while they are unique; options and words mix; after `--` everything is a word.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { chooseColumns } from './column-choice.ts';
import {
  COMMON_OPTIONS,
  optionOf,
  type Call,
  type Command,
  type OptionName,
  type Parameter,
} from './command.ts';
import { suggest } from './suggest.ts';
import { UsageError } from './usage-error.ts';

export type GlobalOption = 'help' | 'verbose' | 'version';
const GLOBAL_OPTIONS: readonly GlobalOption[] = ['help', 'verbose', 'version'];

/** The words before the verb. @throws UsageError */
export function parseGlobal(argv: readonly string[]): {
  options: GlobalOption[];
  rest: readonly string[];
} {
  const verbIndex = argv.findIndex((word) => !word.startsWith('-') || word === '-');
  const end = verbIndex === -1 ? argv.length : verbIndex;
  const { options } = tokenize(argv.slice(0, end), GLOBAL_OPTIONS);
  const names = options.map(({ name }) => name as GlobalOption);
  return { options: names, rest: argv.slice(end) };
}

/**
 * Finds the verb that the words begin with; nouns ('mblock') take a second word.
 * @returns the command and the words after it; a name alone when it is a noun without a verb
 * @throws UsageError for unknown and ambiguous ones
 */
export function findCommand(
  words: readonly string[],
  commands: readonly Command[],
): { command: Command; rest: readonly string[] } | { noun: string; rest: readonly string[] } {
  const [first = '', second] = words;
  const hidden = commands.find((each) => each.hidden && each.name === first);
  if (hidden) return { command: hidden, rest: words.slice(1) };
  const open = commands.filter((each) => !each.hidden);
  const names = [...new Set(open.map((each) => each.name.split(' ')[0]!))];
  const name = resolve(first, names, 'command');
  const plain = commands.find((each) => each.name === name);
  if (plain) return { command: plain, rest: words.slice(1) };
  if (second === undefined || second.startsWith('-')) return { noun: name, rest: words.slice(1) };
  const verbs = commands
    .filter((each) => each.name.startsWith(`${name} `))
    .map((each) => each.name.slice(name.length + 1));
  const full = `${name} ${resolve(second, verbs, `${name} command`)}`;
  return { command: commands.find((each) => each.name === full)!, rest: words.slice(2) };
}

/** The one name that `word` is, or begins. */
function resolve(word: string, names: readonly string[], what: string): string {
  if (names.includes(word)) return word;
  const matches = word === '' ? [] : names.filter((name) => name.startsWith(word));
  if (matches.length === 1) return matches[0]!;
  if (matches.length > 1) {
    throw new UsageError(`ambiguous ${what} '${word}' (${listOr(matches)}), use -h for help`);
  }
  throw new UsageError(`invalid ${what} '${word}'${hint(word, names)}`);
}

/**
 * Reads what follows the verb.
 * @throws UsageError for whatever does not fit; unless -h, -V or -o help is among the options
 */
export function parseCall(command: Command, argv: readonly string[]): Call {
  const allowed = [...COMMON_OPTIONS, ...command.options];
  const { options, words, verbatim } = tokenize(argv, allowed);
  const names = options.map(({ name }) => name);
  const valuesOf = (wanted: OptionName): string[] =>
    options.flatMap(({ name, value }) => (name === wanted ? [value!] : []));
  const call = {
    words: [] as string[],
    values: {} as Record<string, unknown>,
    options: new Set(names),
    verbosity: names.filter((name) => name === 'verbose').length,
  };
  if (call.options.has('help') || call.options.has('version')) {
    return { ...call, columns: undefined };
  }
  const columns =
    command.columns.length === 0
      ? undefined
      : chooseColumns(command.columns, {
          output: valuesOf('output'),
          sort: valuesOf('sort'),
          verbose: call.verbosity > 0,
        });
  if (columns?.help) return { ...call, columns };
  for (const word of words) {
    const match = /^([A-Za-z_][\w-]*)=(.*)$/s.exec(word);
    if (match) readParameter(command, word, match[1]!, match[2]!, call.values);
    else call.words.push(word);
  }
  call.words.push(...verbatim);
  checkCount(command, call.words);
  for (const [name, parameter] of Object.entries(command.parameters)) {
    if (parameter.required === true && !(name in call.values)) {
      throw new UsageError(`'${name}' must be specified at least once, use -h for help`);
    }
  }
  return { ...call, columns };
}

function readParameter(
  command: Command,
  word: string,
  name: string,
  text: string,
  values: Record<string, unknown>,
): void {
  const parameter: Parameter | undefined = Object.hasOwn(command.parameters, name)
    ? command.parameters[name]
    : undefined;
  if (parameter === undefined) {
    const near = hint(name, Object.keys(command.parameters));
    throw new UsageError(`extraneous argument '${word}' detected${near}`);
  }
  if (name in values) throw new UsageError(`'${name}' may not be specified more than once`);
  const value = parameter.kind.read(text, name);
  if (value === 'EINVAL' || value === 'ERANGE') {
    const why = value === 'EINVAL' ? 'Invalid argument' : 'Numerical result out of range';
    const { allowed } = parameter.kind;
    const advice = allowed === undefined ? '' : `, allowed is ${allowed}`;
    throw new UsageError(`unable to convert '${word}': ${why}${advice}`, value);
  }
  values[name] = value;
}

function checkCount(command: Command, words: readonly string[]): void {
  const needed = command.positionals.filter(
    ({ count = 'one' }) => count === 'one' || count === 'some',
  );
  const missing = needed.slice(words.length);
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name).join(' ');
    const message = `insufficient arguments for mandatory parameters: ${names}, use -h for help`;
    throw new UsageError(message);
  }
  const last = command.positionals.at(-1)?.count ?? 'one';
  const extra = last === 'any' || last === 'some' ? undefined : words[command.positionals.length];
  if (extra !== undefined) {
    throw new UsageError(`extraneous argument '${extra}' detected, use -h for help`);
  }
}

interface GivenOption {
  name: OptionName;
  /** Of an option that takes one. */
  value: string | undefined;
}

/** Splits options from words. `verbatim` are the words after `--`. */
function tokenize(
  argv: readonly string[],
  allowed: readonly OptionName[],
): { options: GivenOption[]; words: string[]; verbatim: string[] } {
  const { tokens } = parseArgs({
    args: [...argv],
    options: takingValues(allowed),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const result = { options: [] as GivenOption[], words: [] as string[], verbatim: [] as string[] };
  let ended = false;
  for (const token of tokens) {
    if (token.kind === 'option-terminator') ended = true;
    else if (token.kind === 'positional')
      (ended ? result.verbatim : result.words).push(token.value);
    else result.options.push(givenOption(token.rawName, token.value, allowed));
  }
  return result;
}

/** For parseArgs: the options that take a value, by every beginning that means them. */
function takingValues(allowed: readonly OptionName[]): NonNullable<ParseArgsConfig['options']> {
  const all: NonNullable<ParseArgsConfig['options']> = {};
  for (const name of allowed) {
    const { short, value } = optionOf(name);
    if (value === undefined) continue;
    for (let length = 1; length < name.length; length++) {
      const beginning = name.slice(0, length);
      if (matchesOf(beginning, allowed).length === 1) all[beginning] = { type: 'string' };
    }
    all[name] = { type: 'string', ...(short === undefined ? {} : { short }) };
  }
  return all;
}

/** The one that is called so, or else those whose names begin so. */
function matchesOf(text: string, allowed: readonly OptionName[]): readonly OptionName[] {
  const exact = allowed.find((option) => option === text);
  return exact === undefined ? allowed.filter((option) => option.startsWith(text)) : [exact];
}

function givenOption(
  rawName: string,
  value: string | undefined,
  allowed: readonly OptionName[],
): GivenOption {
  const long = rawName.startsWith('--');
  const text = rawName.slice(long ? 2 : 1);
  const matches = long
    ? matchesOf(text, allowed)
    : allowed.filter((option) => optionOf(option).short === text);
  const [name] = matches;
  if (matches.length > 1) {
    const names = listOr(matches.map((option) => `--${option}`));
    throw new UsageError(`ambiguous option ${rawName} (${names}), use -h for help`);
  }
  if (name === undefined) throw new UsageError(`invalid option ${rawName}, use -h for help`);
  const { value: form } = optionOf(name);
  if (form === undefined && value !== undefined) {
    throw new UsageError(`option --${name} takes no value, use -h for help`);
  }
  if (form !== undefined && (value === undefined || value === '')) {
    throw new UsageError(`option --${name} needs a value: ${form}, use -h for help`);
  }
  return { name, value };
}

function hint(word: string, names: readonly string[]): string {
  const near = suggest(word, names);
  return near === undefined ? ', use -h for help' : `, did you mean '${near}'? use -h for help`;
}

function listOr(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
