/**
 * The columns that a verb's table can have: one definition each, which the table, -o, --sort, the
 * help, the manual and completion all go by.
 */
import type { Column } from './columns.ts';

/** What every column tells of itself, whatever its rows are. */
export interface ColumnInfo extends Column {
  /** As -o and --sort name it. */
  readonly key: string;
  /** A line for -o help. */
  readonly meaning: string;
  /** 'verbose': with -v; 'asked': only when -o names it. */
  readonly shown: 'always' | 'verbose' | 'asked';
}

/** How cells are written: -p and -N change it. */
export interface CellStyle {
  size(bytes: number): string;
  /** Names of users and groups instead of numbers. */
  readonly resolve: boolean;
}

/** What rows are compared by: of one column all strings, or all numbers. */
export type SortValue = string | number | bigint;

/** A column of a table of such rows. A value that a row does not have is shown as '-'. */
export interface ReportColumn<Row> extends ColumnInfo {
  cell(row: Row, style: CellStyle): string;
  sortValue(row: Row): SortValue | undefined;
}

type Definition<Row> = Omit<ReportColumn<Row>, 'shown'>;

/** Columns in the order of the table, by when they are shown. */
export function reportColumns<Row>(columns: {
  always: readonly Definition<Row>[];
  verbose?: readonly Definition<Row>[];
  asked?: readonly Definition<Row>[];
}): readonly ReportColumn<Row>[] {
  return (['always', 'verbose', 'asked'] as const).flatMap((shown) =>
    (columns[shown] ?? []).map((definition) => ({ ...definition, shown })),
  );
}

/**
 * A column of any values.
 * @param heading 'NAME' is aligned left, '>NAME' right
 * @param write how a value is shown; as it is by default
 */
export function column<Row, Value extends SortValue>(
  key: string,
  heading: string,
  meaning: string,
  value: (row: Row) => Value | undefined,
  write: (value: Value, style: CellStyle) => string = String,
): Definition<Row> {
  const right = heading.startsWith('>');
  return {
    key,
    heading: right ? heading.slice(1) : heading,
    align: right ? 'right' : 'left',
    meaning,
    sortValue: value,
    cell(row, style) {
      const found = value(row);
      return found === undefined ? '-' : write(found, style);
    },
  };
}

/** A column of bytes, written as people read them unless -p. Aligned right. */
export function sizeColumn<Row>(
  key: string,
  heading: string,
  meaning: string,
  value: (row: Row) => number | undefined,
): Definition<Row> {
  return column(key, `>${heading}`, meaning, value, (bytes, style) => style.size(bytes));
}
