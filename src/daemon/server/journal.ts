/**
 * What the daemon says of itself, to people and to log collectors: one line, or one JSON object, an
 * event.
 */

export const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type Level = (typeof LEVELS)[number];
export type Facts = Readonly<Record<string, unknown>>;

export interface JournalOptions {
  level: Level;
  format: 'line' | 'json';
  /** Takes a whole line, with its end. */
  write: (line: string) => void;
  wallMs: () => number;
  /** Lines go to systemd's journal, which has a time of its own and reads the level from '<n>'. */
  systemd?: boolean | undefined;
}

/** Numbers of syslog(3). */
const PRIORITY: Record<Level, number> = { debug: 7, info: 6, warn: 4, error: 3 };
/** What clients bring about is said so often a second, then counted: nobody fills the disk with it. */
const CLIENT_EVENTS_PER_SECOND = 50;

export class Journal {
  #options: JournalOptions;
  #second = 0;
  #said = 0;
  #unsaid = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  configure(changes: Partial<JournalOptions>): void {
    this.#options = { ...this.#options, ...changes };
  }

  debug(event: string, facts?: Facts): void {
    this.#say('debug', event, facts);
  }
  info(event: string, facts?: Facts): void {
    this.#say('info', event, facts);
  }
  warn(event: string, facts?: Facts): void {
    this.#say('warn', event, facts);
  }
  error(event: string, facts?: Facts): void {
    this.#say('error', event, facts);
  }

  /** Of what any client can bring about as often as it likes. */
  ofClient(level: Level, event: string, facts?: Facts): void {
    if (!this.#shows(level)) return;
    const second = Math.floor(this.#options.wallMs() / 1000);
    if (second !== this.#second) {
      const unsaid = this.#unsaid;
      this.#second = second;
      this.#said = 0;
      this.#unsaid = 0;
      if (unsaid > 0) this.#say('warn', 'events of clients not shown', { count: unsaid });
    }
    this.#said += 1;
    if (this.#said <= CLIENT_EVENTS_PER_SECOND) this.#say(level, event, facts);
    else this.#unsaid += 1;
  }

  #shows(level: Level): boolean {
    return LEVELS.indexOf(level) >= LEVELS.indexOf(this.#options.level);
  }

  #say(level: Level, event: string, facts: Facts = {}): void {
    const { format, write, wallMs, systemd } = this.#options;
    if (!this.#shows(level)) return;
    const time = new Date(wallMs()).toISOString();
    if (format === 'json') {
      write(`${JSON.stringify({ time, level, event, ...plain(facts) })}\n`);
      return;
    }
    const words = Object.entries(plain(facts)).map(([key, value]) => `${key}=${asWord(value)}`);
    const head = systemd === true ? `<${PRIORITY[level]}>` : `${time} ${level} `;
    write(`${head}${[event, ...words].join(' ')}\n`);
  }
}

/** Errors as what is of use of them; what is undefined is left out. */
function plain(facts: Facts): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(facts)) {
    if (value === undefined) continue;
    if (!(value instanceof Error)) result[key] = value;
    else {
      const { code } = value as NodeJS.ErrnoException;
      result[key] = value.message;
      if (code !== undefined) result['code'] = code;
      // An error of ours says all that there is; of any other it matters where it came from.
      if (!isExpected(value)) result['stack'] = value.stack;
    }
  }
  return result;
}

/** True for what is refused or fails in operation; false for bugs. */
export function isExpected(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && code.startsWith('ERR_MPOOL_');
}

function asWord(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(text) && !text.includes('=')
    ? text
    : JSON.stringify(text);
}
