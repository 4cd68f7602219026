import { fitText, span, widthOf, type Line, type Span, type Style } from './line.ts';

/** A column of a table that leaves out columns rather than being too wide. */
export interface TableColumn<Row> {
  /** 'NAME' is aligned left, '>NAME' right. */
  readonly heading: string;
  /** The lowest is left out first. */
  readonly priority: number;
  /** At least so wide, so that columns do not jump with every number. */
  readonly columnsMin?: number;
  /** Of texts of any length, which are cut: between these. */
  readonly cut?: { readonly from: number; readonly to: number };
  cell(row: Row): string;
  style?(row: Row): Style | undefined;
}

interface Laid<Row> {
  column: TableColumn<Row>;
  heading: string;
  right: boolean;
  cells: readonly Span[];
  /** What it would take, and what it can do with. */
  wanted: number;
  least: number;
}

const GAP = 2;

/** The line of headings and one for each row. */
export function tableLines<Row>(
  columns: readonly TableColumn<Row>[],
  rows: readonly Row[],
  width: number,
): Line[] {
  const kept = columns.map((column) => lay(column, rows));
  const least = (): number => kept.reduce((sum, each) => sum + each.least + GAP, -GAP);
  while (kept.length > 1 && least() > width) {
    const next = kept.reduce((a, b) => (b.column.priority <= a.column.priority ? b : a));
    kept.splice(kept.indexOf(next), 1);
  }
  const widths = shareOut(kept, width, least());
  const headings = kept.map(({ heading }) => span(heading, 'heading'));
  return [headings, ...rows.map((_, row) => kept.map(({ cells }) => cells[row]!))].map((cells) =>
    alignCells(cells, kept, widths),
  );
}

function lay<Row>(column: TableColumn<Row>, rows: readonly Row[]): Laid<Row> {
  const right = column.heading.startsWith('>');
  const heading = right ? column.heading.slice(1) : column.heading;
  const { cut, columnsMin = 0 } = column;
  const cells = rows.map((row) => span(column.cell(row), column.style?.(row)));
  const longest = cells.reduce((most, { text }) => Math.max(most, widthOf(text)), 0);
  const whole = Math.max(heading.length, columnsMin, longest);
  const wanted = Math.min(whole, cut?.to ?? Infinity);
  const least = Math.min(wanted, Math.max(cut?.from ?? Infinity, heading.length));
  return { column, heading, right, cells, wanted, least };
}

/** Columns that can be cut get what is left, the first ones first. */
function shareOut(
  kept: readonly { wanted: number; least: number }[],
  width: number,
  least: number,
): number[] {
  let left = width - least;
  return kept.map((each) => {
    const more = Math.max(0, Math.min(left, each.wanted - each.least));
    left -= more;
    return Math.min(each.least + more, width);
  });
}

function alignCells(
  cells: readonly Span[],
  kept: readonly { right: boolean }[],
  widths: readonly number[],
): Line {
  const line: Span[] = [];
  for (const [i, cell] of cells.entries()) {
    const text = fitText(cell.text, widths[i]!);
    const padding = ' '.repeat(Math.max(0, widths[i]! - widthOf(text)));
    const gap = i === 0 ? '' : ' '.repeat(GAP);
    const isLast = i === cells.length - 1;
    const { right } = kept[i]!;
    line.push(span(gap + (right ? padding : '')), { text, style: cell.style });
    if (!right && !isLast) line.push(span(padding));
  }
  return line.filter(({ text }) => text !== '');
}
