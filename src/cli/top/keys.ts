/** Keys of a terminal in raw mode. */

export type Key =
  | 'quit'
  | 'pause'
  | 'sort'
  | 'help'
  | 'up'
  | 'down'
  | 'pageUp'
  | 'pageDown'
  | 'first'
  | 'last'
  | 'other';

const KEYS: Readonly<Record<string, Key>> = {
  q: 'quit',
  Q: 'quit',
  p: 'pause',
  ' ': 'pause',
  s: 'sort',
  '?': 'help',
  h: 'help',
  k: 'up',
  j: 'down',
  g: 'first',
  G: 'last',
  '\u001b[A': 'up',
  '\u001bOA': 'up',
  '\u001b[B': 'down',
  '\u001bOB': 'down',
  '\u001b[5~': 'pageUp',
  '\u001b[6~': 'pageDown',
  '\u001b[H': 'first',
  '\u001b[1~': 'first',
  '\u001b[F': 'last',
  '\u001b[4~': 'last',
};

/** An escape sequence is one key; so is every other character. */
// eslint-disable-next-line no-control-regex
const ONE_KEY = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|O.)|[^]/gu;

export function keysOf(text: string): Key[] {
  return Array.from(text.match(ONE_KEY) ?? [], (key) => KEYS[key] ?? 'other');
}
