/** Tables as LVM prints them: no boxes, columns two spaces apart, one heading line. */
export interface Column {
  readonly heading: string;
  /** 'right' for numbers; the last left column is not padded. */
  readonly align: 'left' | 'right';
}

/** @returns lines with their newlines; no rows and no headings give the empty string */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  options: { headings: boolean },
): string {
  const all = options.headings ? [columns.map((column) => column.heading), ...rows] : rows;
  const widths = columns.map((_, i) => Math.max(0, ...all.map((row) => widthOf(row[i] ?? ''))));
  return all
    .map((row) => {
      const cells = columns.map((column, i) => {
        const cell = row[i] ?? '';
        const padding = ' '.repeat((widths[i] ?? 0) - widthOf(cell));
        return column.align === 'right' ? padding + cell : cell + padding;
      });
      return `${cells.join('  ').trimEnd()}\n`;
    })
    .join('');
}

const SEGMENTER = new Intl.Segmenter();

/** Characters as people count them: file names may be in any script. */
function widthOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  return Array.from(SEGMENTER.segment(text)).length;
}
