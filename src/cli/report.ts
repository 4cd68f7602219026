/** Tables whose columns and order the user chooses with -o and --sort. */
import { assert } from '../base/assert.ts';
import type { ColumnChoice } from './column-choice.ts';
import { formatTable } from './columns.ts';
import type { Call, Context } from './command.ts';
import { jsonDocument } from './json.ts';
import type { CellStyle, ColumnInfo, ReportColumn, SortValue } from './report-columns.ts';
import { formatSize } from './sizes.ts';

/** The rows as --sort wants them: equal ones, and all of them without --sort, stay in their order. */
export function sortRows<Row>(
  call: Pick<Call, 'columns'>,
  columns: readonly ReportColumn<Row>[],
  rows: readonly Row[],
): readonly Row[] {
  const steps = choiceOf(call).sort.map(({ key, falling }) => ({
    column: find(columns, key),
    falling,
  }));
  return rows.toSorted((a, b) => {
    for (const { column, falling } of steps) {
      const order = compare(column.sortValue(a), column.sortValue(b), falling);
      if (order !== 0) return order;
    }
    return 0;
  });
}

/** Prints the columns that were chosen of rows that are in their order. */
export async function writeTable<Row>(
  call: Call,
  context: Context,
  columns: readonly ReportColumn<Row>[],
  rows: readonly Row[],
): Promise<void> {
  const shown = choiceOf(call).shown.map((key) => find(columns, key));
  const style: CellStyle = {
    size: call.options.has('nosuffix') ? String : formatSize,
    resolve: !call.options.has('noresolve'),
  };
  const cells = rows.map((row) => shown.map((column) => column.cell(row, style)));
  const headings = !call.options.has('noheadings') && rows.length > 0;
  await context.out.write(formatTable(shown, cells, { headings }));
}

/** True when -o or --sort, or what is shown anyway, needs one of these columns. */
export function needsColumn(call: Pick<Call, 'columns'>, keys: readonly string[]): boolean {
  const { shown, sort } = choiceOf(call);
  return keys.some((key) => shown.includes(key) || sort.some((step) => step.key === key));
}

/** What -o help prints. */
export async function writeColumns(
  call: Pick<Call, 'options'>,
  context: Context,
  verb: string,
  columns: readonly ColumnInfo[],
): Promise<void> {
  if (call.options.has('json')) {
    const content = columns.map(({ key, heading, meaning, shown }) => {
      return { key, heading, meaning, shown };
    });
    await context.out.write(jsonDocument(verb, { columns: content }));
    return;
  }
  const table = ['COLUMN', 'SHOWN', 'MEANING'].map((heading) => {
    return { heading, align: 'left' } as const;
  });
  const words = { always: 'always', verbose: 'with -v', asked: '' };
  const rows = columns.map(({ key, shown, meaning }) => [key, words[shown], meaning]);
  await context.out.write(formatTable(table, rows, { headings: true }));
}

function choiceOf(call: Pick<Call, 'columns'>): ColumnChoice {
  assert(call.columns !== undefined, 'a verb that prints a table says its columns');
  return call.columns;
}

function find<Row>(columns: readonly ReportColumn<Row>[], key: string): ReportColumn<Row> {
  const column = columns.find((each) => each.key === key);
  assert(column !== undefined, `the table has the column ${key}`);
  return column;
}

/** What is not known comes last, both ways. */
function compare(a: SortValue | undefined, b: SortValue | undefined, falling: boolean): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  const order = a < b ? -1 : a > b ? 1 : 0;
  return falling ? -order : order;
}
