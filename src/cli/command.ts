/** What a verb is: a row of data for the grammar and the help, and a function that does it. */
import type { ColumnChoice } from './column-choice.ts';
import type { Daemons } from './daemons.ts';
import type { Output } from './output.ts';
import type { ColumnInfo } from './report-columns.ts';
import type { Screen } from './screen.ts';
import type { Store } from './store.ts';
import type { Candidates, Kind } from './values.ts';

interface Option {
  readonly short: string | undefined;
  readonly meaning: string;
  /** What stands for the value of an option that takes one. */
  readonly value?: string;
}

/** Options that a verb may allow beside -h, -v, -V and --json, which every verb has. */
export const OPTIONS = {
  activate: { short: 'a', meaning: 'activate all pools that are found' },
  batch: { short: 'b', meaning: 'print plain text, on a terminal too' },
  data: { short: undefined, meaning: 'verify every page of data too' },
  deactivate: { short: 'd', meaning: 'deactivate all pools that are found' },
  discard: { short: 'D', meaning: 'discard the whole device first' },
  'dry-run': { short: 'n', meaning: 'write nothing: check, and say what would be done' },
  force: { short: 'f', meaning: 'go on where it would be refused' },
  help: { short: 'h', meaning: 'show this help; with -v more of it' },
  json: { short: undefined, meaning: 'write one JSON document' },
  noheadings: { short: 'H', meaning: 'leave out the line of headings' },
  noresolve: { short: 'N', meaning: 'show numbers instead of names of users and groups' },
  nosuffix: { short: 'p', meaning: 'show sizes as plain numbers of bytes' },
  output: {
    short: 'o',
    value: 'COLUMNS',
    meaning: 'columns to show, separated by commas; +… adds to the usual ones; help lists them',
  },
  raw: { short: undefined, meaning: 'bytes as they are, not lines' },
  resize: { short: 'r', meaning: 'take in what its devices grew by' },
  salvage: { short: undefined, meaning: 'of a damaged log what can be read of it' },
  sort: {
    short: 'O',
    value: 'COLUMNS',
    meaning: 'columns to sort by, separated by commas; -… for falling',
  },
  spare: { short: 's', meaning: 'may use the spare part of the media class' },
  sync: { short: undefined, meaning: 'make each record durable before the next' },
  verbose: { short: 'v', meaning: 'say more; twice for still more' },
  version: { short: 'V', meaning: 'show the version' },
  yaml: { short: 'Y', meaning: 'write YAML; with -v and -vv more of it' },
} as const satisfies Record<string, Option>;

export type OptionName = keyof typeof OPTIONS;
/** What is known of an option, whichever it is. */
export const optionOf = (name: OptionName): Option => OPTIONS[name];
export const COMMON_OPTIONS: readonly OptionName[] = ['help', 'json', 'verbose', 'version'];
const TABLE_OPTIONS: readonly OptionName[] = ['noheadings', 'output', 'sort'];

export interface Positional {
  /** As the help shows it: 'POOL'. */
  readonly name: string;
  readonly meaning: string;
  /** 'one' by default. Only the last one can be something else. */
  readonly count?: 'one' | 'optional' | 'any' | 'some';
  readonly candidates?: Candidates;
}

export interface Parameter<T = unknown> {
  readonly kind: Kind<T>;
  readonly meaning: string;
  /** As a user would type it; only shown. */
  readonly default?: string;
  readonly required?: boolean;
}

export type Parameters = Readonly<Record<string, Parameter>>;
export type ValuesOf<P extends Parameters> = {
  [K in keyof P]?: P[K] extends Parameter<infer T> ? T : never;
};

/** What was typed after the verb, read and checked. */
export interface Call<P extends Parameters = Parameters> {
  /** The positional words. */
  readonly words: readonly string[];
  readonly values: ValuesOf<P>;
  readonly options: ReadonlySet<OptionName>;
  /** How often -v was given. */
  readonly verbosity: number;
  /** What -o and --sort say; of verbs that print a table. */
  readonly columns: ColumnChoice | undefined;
}

/** The world around a call; tests hand in their own. */
export interface Context {
  readonly out: Output;
  /** A line on standard error, without the program's name. */
  note(line: string): void;
  /** Standard input. */
  input(): AsyncIterable<Uint8Array>;
  /** Where pools are looked for by name. */
  readonly places: readonly string[];
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal;
  /**
   * Loaded when first needed: help must not wait for it, nor fail with it. In a dry run it is one that
   * writes nothing, whatever it is told to do.
   */
  store(options?: { dryRun: boolean }): Promise<Store>;
  readonly daemons: Daemons;
  /** Where a progress bar goes; undefined when standard error is no terminal. */
  readonly progress: { write(text: string): void; columns: number } | undefined;
  /** The terminal of standard output, for verbs that draw; undefined when it is none. */
  readonly screen?: Screen | undefined;
}

export interface Command {
  /** 'create', or 'mblock put'. */
  readonly name: string;
  /** One line, without a full stop. */
  readonly summary: string;
  readonly positionals: readonly Positional[];
  readonly parameters: Parameters;
  readonly options: readonly OptionName[];
  /** Of the table that it prints: it then has -o, --sort and -H, too. */
  readonly columns: readonly ColumnInfo[];
  /** Paragraphs for -hv. */
  readonly details: readonly string[];
  readonly examples: readonly string[];
  /** Not for people: in no help, and never meant by a shortened name. */
  readonly hidden: boolean;
  /** What it is about: objects are known by their nouns. */
  readonly about: 'pools' | 'daemon' | 'tool';
  /** @returns the exit status, 0 when none */
  run(call: Call, context: Context): Promise<number | void>;
}

/** Keeps the types of a verb's parameters together with the function that uses them. */
export function command<const P extends Parameters>(spec: {
  name: string;
  summary: string;
  positionals?: readonly Positional[];
  parameters?: P;
  options?: readonly OptionName[];
  columns?: readonly ColumnInfo[];
  details?: readonly string[];
  examples: readonly string[];
  hidden?: boolean;
  about?: Command['about'];
  run(call: Call<P>, context: Context): Promise<number | void>;
}): Command {
  return {
    ...spec,
    positionals: spec.positionals ?? [],
    parameters: spec.parameters ?? {},
    columns: spec.columns ?? [],
    options: [...(spec.options ?? []), ...(spec.columns === undefined ? [] : TABLE_OPTIONS)],
    details: spec.details ?? [],
    hidden: spec.hidden ?? false,
    about: spec.about ?? 'pools',
    // The grammar fills `values` from these very parameters.
    run: (call, context) => spec.run(call as Call<P>, context),
  };
}
