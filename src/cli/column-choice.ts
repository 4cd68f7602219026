/** What -o and --sort say: which columns, in which order. */
import type { ColumnInfo } from './report-columns.ts';
import { suggest } from './suggest.ts';
import { UsageError } from './usage-error.ts';

export interface SortStep {
  readonly key: string;
  readonly falling: boolean;
}

export interface ColumnChoice {
  /** Keys of what is shown, from left to right, each once. */
  readonly shown: readonly string[];
  /** The first decides; the next when the first are equal. */
  readonly sort: readonly SortStep[];
  /** The list of columns was asked for, and nothing else. */
  readonly help: boolean;
}

/** Words that stand in -o beside the columns' keys. */
export const COLUMN_WORDS = ['all', 'help'] as const;

/**
 * Reads 'name,used', '+devices', 'all' and 'help' of -o, and 'used,-name' of --sort. Either may be
 * given several times: a later one goes on where the one before ended.
 * @throws UsageError for a column that the table does not have
 */
export function chooseColumns(
  all: readonly ColumnInfo[],
  given: { output: readonly string[]; sort: readonly string[]; verbose: boolean },
): ColumnChoice {
  const usual = all.filter(
    ({ shown }) => shown === 'always' || (shown === 'verbose' && given.verbose),
  );
  const sort = given.sort.flatMap(itemsOf).map((item) => ({
    key: keyOf(all, item.replace(/^[+-]/, '')),
    falling: item.startsWith('-'),
  }));
  let help = false;
  let shown = usual.map(({ key }) => key);
  for (const [i, text] of given.output.entries()) {
    const adds = text.startsWith('+');
    if (i === 0 && !adds) shown = [];
    for (const item of itemsOf(adds ? text.slice(1) : text)) {
      if (item === 'help') help = true;
      else if (item === 'all') shown.push(...all.map(({ key }) => key));
      else shown.push(keyOf(all, item));
    }
  }
  return { shown: [...new Set(shown)], sort, help };
}

function itemsOf(text: string): string[] {
  return text.split(',');
}

function keyOf(all: readonly ColumnInfo[], text: string): string {
  const keys = all.map(({ key }) => key);
  if (keys.includes(text)) return text;
  // What stands over a column is what people see of it.
  const headed = all.find(({ heading }) => heading.toLowerCase() === text.toLowerCase());
  const near = headed?.key ?? suggest(text, keys);
  const hint = near === undefined ? '' : `, did you mean '${near}'?`;
  throw new UsageError(`no column '${text}'${hint || ','} use -o help for the columns`);
}
