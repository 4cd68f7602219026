/** What the shells are told of the verbs: made of the same definitions as the help. */
import { COLUMN_WORDS } from '../column-choice.ts';
import { COMMON_OPTIONS, optionOf, type Command } from '../command.ts';
import { NOUNS } from '../manual.ts';
import type { Candidates } from '../values.ts';

interface Described {
  readonly word: string;
  readonly meaning: string;
}

export interface ShellVerb {
  /** 'create', or 'mblock put'. */
  readonly name: string;
  readonly summary: string;
  /** Both forms of each, '-o' and '--output'. */
  readonly options: readonly Described[];
  /** Keys for --sort; -o takes COLUMN_EXTRAS, too. */
  readonly columns: readonly Described[];
  /** 'size=' */
  readonly parameters: readonly (Described & { readonly candidates: string })[];
  /** What each argument is completed to, as wordsOf() writes it. */
  readonly arguments: readonly string[];
  /** The last argument may be given again and again. */
  readonly repeats: boolean;
}

/** Options, in both forms, that are followed by columns. */
export const COLUMN_OPTIONS = { output: ['-o', '--output'], sort: ['-O', '--sort'] } as const;

export const COLUMN_EXTRAS: readonly string[] = COLUMN_WORDS;

/** What can stand before the verb. */
export const TOOL_OPTIONS: readonly Described[] = (['help', 'verbose', 'version'] as const).flatMap(
  optionForms,
);

export function shellVerbs(commands: readonly Command[]): readonly ShellVerb[] {
  return commands
    .filter(({ hidden }) => !hidden)
    .map((command) => ({
      name: command.name,
      summary: command.summary,
      options: [...command.options, ...COMMON_OPTIONS].toSorted().flatMap(optionForms),
      columns: command.columns.map(({ key, meaning }) => ({ word: key, meaning })),
      parameters: Object.entries(command.parameters).map(([name, { kind, meaning }]) => ({
        word: `${name}=`,
        meaning,
        candidates: wordsOf(kind.candidates),
      })),
      arguments: command.positionals.map(({ candidates }) => wordsOf(candidates)),
      repeats: ['any', 'some'].includes(command.positionals.at(-1)?.count ?? 'one'),
    }));
}

/** Words before the blank of 'mblock put', each once; of the others the whole name. */
export function firstWords(verbs: readonly ShellVerb[]): readonly Described[] {
  const nouns = new Set<string>();
  return verbs.flatMap(({ name, summary }) => {
    const [first = '', second] = name.split(' ');
    if (second === undefined) return [{ word: first, meaning: summary }];
    if (nouns.has(first)) return [];
    nouns.add(first);
    const seconds = verbs.filter((verb) => verb.name.startsWith(`${first} `));
    const words = seconds.map((verb) => verb.name.slice(first.length + 1));
    return [{ word: first, meaning: `Commands on ${NOUNS[first]}: ${words.join(', ')}` }];
  });
}

/** By noun, the verbs that can follow it. */
export function secondWords(
  verbs: readonly ShellVerb[],
): ReadonlyMap<string, readonly Described[]> {
  const all = new Map<string, Described[]>();
  for (const { name, summary } of verbs) {
    const [noun = '', word] = name.split(' ');
    if (word === undefined) continue;
    all.set(noun, [...(all.get(noun) ?? []), { word, meaning: summary }]);
  }
  return all;
}

function optionForms(name: Parameters<typeof optionOf>[0]): Described[] {
  const { short, meaning } = optionOf(name);
  const long = { word: `--${name}`, meaning };
  return short === undefined ? [long] : [{ word: `-${short}`, meaning }, long];
}

/** 'capacity staging', or '@file' for what the shell finds; '' for what nothing is known of. */
function wordsOf(candidates: Candidates | undefined): string {
  if (candidates === undefined) return '';
  return typeof candidates === 'string' ? `@${candidates}` : candidates.join(' ');
}
