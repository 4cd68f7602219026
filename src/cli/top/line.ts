/**
 * Lines of a screen. Every text becomes a span here, and a span never holds anything but printable
 * characters: names come from other people's programs, and a terminal takes orders from what it shows.
 */
export type Style = 'heading' | 'bad' | 'busy';

export interface Span {
  readonly text: string;
  readonly style: Style | undefined;
}

export type Line = readonly Span[];

/** Control, format, private and unassigned characters, halves of pairs; separators of lines. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;
const SEGMENTER = new Intl.Segmenter();
/** Of UTF-16, in one character as people count them: more are marks piled up to be a nuisance. */
const SEGMENT_MAX = 8;
/** Two columns wide: Unicode's East Asian Width W and F, in ranges that hold a few others; and emoji. */
const WIDE = new RegExp(
  [
    '[\\u1100-\\u115f\\u2e80-\\u303e\\u3041-\\ua4cf\\ua960-\\ua97f\\uac00-\\ud7a3\\uf900-\\ufaff]',
    '[\\ufe30-\\ufe6f\\uff00-\\uff60\\uffe0-\\uffe6\\u{1b000}-\\u{1b2ff}\\u{20000}-\\u{3fffd}]',
    '\\p{Emoji_Presentation}',
    '\\ufe0f',
  ].join('|'),
  'u',
);
const MARKS_ONLY = /^\p{M}+$/u;
/** Of UTF-16: no line is so long, and nobody waits for the rest to be looked at. */
const TEXT_MAX = 1024;
const PLAIN = /^[\x20-\x7e]*$/;

export function span(text: string, style?: Style): Span {
  return { text: safeText(text), style };
}

/** Without anything that a terminal would not show as it is. */
export function safeText(text: string): string {
  if (PLAIN.test(text)) return text;
  const shown = text.slice(0, TEXT_MAX).replace(UNPRINTABLE, '?');
  return Array.from(SEGMENTER.segment(shown), ({ segment }) =>
    segment.length > SEGMENT_MAX || MARKS_ONLY.test(segment) ? '?' : segment,
  ).join('');
}

/** Columns that a safe text takes. Terminals differ on some emoji, so it may be one off there. */
export function widthOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let columns = 0;
  for (const { segment } of SEGMENTER.segment(text)) columns += WIDE.test(segment) ? 2 : 1;
  return columns;
}

export function lineWidth(line: Line): number {
  return line.reduce((sum, { text }) => sum + widthOf(text), 0);
}

/** As much of a safe text as fits, with '…' in the place of the rest. */
export function fitText(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  if (columns < 1) return '';
  let shown = '';
  let room = columns - 1;
  for (const { segment } of SEGMENTER.segment(text)) {
    room -= widthOf(segment);
    if (room < 0) break;
    shown += segment;
  }
  return `${shown}…`;
}

/** The same of a whole line. */
export function fitLine(line: Line, columns: number): Line {
  const shown: Span[] = [];
  let room = columns;
  for (const { text, style } of line) {
    if (room <= 0) break;
    const fitting = fitText(text, room);
    shown.push({ text: fitting, style });
    room -= widthOf(fitting);
    if (fitting !== text) break;
  }
  return shown;
}

/** Something of a line that is left out, the lowest `priority` first, when there is no room for all. */
export interface Part {
  readonly spans: Line;
  readonly priority: number;
}

export function part(priority: number, text: string, style?: Style): Part {
  return { spans: [span(text, style)], priority };
}

/** Parts two columns apart. */
export function lineOf(parts: readonly Part[], columns: number): Line {
  const kept = [...parts];
  const join = (): Line =>
    kept.flatMap(({ spans }, i) => (i === 0 ? spans : [span('  '), ...spans]));
  while (kept.length > 1 && lineWidth(join()) > columns) {
    const least = kept.reduce((a, b) => (b.priority <= a.priority ? b : a));
    kept.splice(kept.indexOf(least), 1);
  }
  return fitLine(join(), columns);
}

export function plainText(line: Line): string {
  return line
    .map(({ text }) => text)
    .join('')
    .trimEnd();
}

const CODES = { heading: '\u001b[1m', bad: '\u001b[31m', busy: '\u001b[33m' } as const;
const NORMAL = '\u001b[0m';
const CLEAR_REST = '\u001b[K';

/** For a terminal: clears what was on the line before. */
export function paintLine(line: Line, columns: number, colours: boolean): string {
  const painted = line.map(({ text, style }) =>
    colours && style !== undefined ? `${CODES[style]}${text}${NORMAL}` : text,
  );
  // At the last column it would clear what was just written there.
  return painted.join('') + (lineWidth(line) < columns ? CLEAR_REST : '');
}
