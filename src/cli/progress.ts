import { formatSize } from './sizes.ts';

const REDRAW_MS = 100;

/** '[#####     ]  50% 12.0m of 24.0m  1.20m/s  0:10' cut to the terminal; pure. */
export function renderProgress(state: {
  done: number;
  total: number;
  elapsedMs: number;
  columns: number;
  unit: 'bytes' | 'steps';
}): string {
  const { done, total, elapsedMs, columns, unit } = state;
  const show = (count: number): string => (unit === 'bytes' ? formatSize(count) : String(count));
  const perSecond = elapsedMs > 0 ? (done / elapsedMs) * 1000 : 0;
  const rate = unit === 'bytes' ? `  ${formatSize(perSecond)}/s` : '';
  if (total <= 0) return `${show(done)}${rate}`.slice(0, Math.max(0, columns - 1));
  const part = Math.min(1, done / total);
  const leftSeconds = perSecond > 0 ? Math.ceil((total - done) / perSecond) : 0;
  const left = `${Math.floor(leftSeconds / 60)}:${String(leftSeconds % 60).padStart(2, '0')}`;
  const percent = `${String(Math.floor(part * 100)).padStart(3)}%`;
  const text = ` ${percent} ${show(done)} of ${show(total)}${rate}  ${left}`;
  const width = Math.min(40, columns - 1 - text.length - 2);
  if (width < 5) return text.trim().slice(0, Math.max(0, columns - 1));
  const filled = Math.round(part * width);
  return `[${'#'.repeat(filled)}${' '.repeat(width - filled)}]${text}`;
}

/** A bar on the terminal's last line, redrawn at most ten times a second and wiped at the end. */
export class Progress {
  #terminal: { write(text: string): void; columns: number } | undefined;
  #unit: 'bytes' | 'steps';
  #startMs = performance.now();
  #drawnMs = 0;
  #drawn = false;

  constructor(
    terminal: { write(text: string): void; columns: number } | undefined,
    unit: 'bytes' | 'steps',
  ) {
    this.#terminal = terminal;
    this.#unit = unit;
  }

  update(done: number, total: number): void {
    const nowMs = performance.now();
    // Work shorter than a redraw shows no bar at all.
    if (!this.#terminal || nowMs - Math.max(this.#drawnMs, this.#startMs) < REDRAW_MS) return;
    this.#drawnMs = nowMs;
    this.#drawn = true;
    const elapsedMs = nowMs - this.#startMs;
    const columns = this.#terminal.columns;
    const bar = renderProgress({ done, total, elapsedMs, columns, unit: this.#unit });
    this.#terminal.write(`\r${bar}\u001b[K`);
  }

  /** Wipes the bar. Idempotent. */
  end(): void {
    if (this.#drawn) this.#terminal?.write('\r\u001b[K');
    this.#drawn = false;
  }
}
