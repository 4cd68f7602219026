import { reaper, type ReaperStats } from '../src/index.ts';
import { BLOCK_BYTES } from './table-format.ts';
import { blockCountIn } from './table-run.ts';
import type { TableStore } from './table-store.ts';

const MIB = 2 ** 20;
const BAR_COLUMNS = 48;

/** What the store and the reaper do, now and then: over the last screen on a terminal, else a line each. */
export class Screen {
  readonly #budgetBytes: number;
  readonly #startedMs = performance.now();
  #last = { ms: performance.now(), lookups: 0, ready: 0, awaited: 0 };
  #lineCount = 0;
  /** The hardest moment since the last screen: pressure comes and goes many times a second. */
  #hardest: ReaperStats | undefined;
  readonly #onPressure = (stats: ReaperStats): void => {
    if (stats.pressure >= (this.#hardest?.pressure ?? 0)) this.#hardest = stats;
  };

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
    reaper.on('pressure', this.#onPressure);
  }

  close(): void {
    reaper.off('pressure', this.#onPressure);
  }

  show(store: TableStore): void {
    const second = `${((performance.now() - this.#startedMs) / 1000).toFixed(0)} s`.padStart(4);
    const { lookupsPerSecond, readyShare } = this.#rates(store);
    const stats = reaper.stats();
    const { residentPages, ...since } = stats;
    this.#onPressure(stats);
    const { pressure, limit, ttlMs } = this.#hardest!;
    this.#hardest = undefined;
    const { hot, cold, unmapped } = residentPages;
    const lookups = `${grouped(lookupsPerSecond)} lookups/s`;
    const ready = `${(100 * readyShare).toFixed(2)} % of blocks ready`;
    const life = `time-to-live down to ${(ttlMs / 1000).toFixed(2)} s`;
    const evicted = `${grouped(since.evictedObjects)} tables evicted`;
    const resident = `resident: hot ${mib(hot)}, cold ${mib(cold)}, unmapped ${mib(unmapped)} MiB`;
    const press = `pressure up to ${pressure.toFixed(2)}`;
    if (!process.stdout.isTTY) {
      console.log([second, lookups, ready, resident, press, life, evicted].join('  '));
      return;
    }
    const { compactions, compactedBlocks } = store.stats;
    const tableCount = store.runs.flat().length;
    const blockCount = store.runs.reduce((sum, run) => sum + blockCountIn(run), 0);
    const lines = [
      `mpool tables ${second}   Ctrl-C ends`,
      '',
      `${lookups}, ${ready}`,
      `${tableCount} tables of ${mib(blockCount)} MiB in ${store.runs.length} runs`,
      `${compactions} compactions, which read ${mib(compactedBlocks)} MiB past the page cache`,
      '',
      `${resident} of ${(this.#budgetBytes / MIB).toFixed(0)}`,
      this.#bar([hot, cold, unmapped]),
      `reaper: ${press} (${limit}), ${life}`,
      `${evicted} (${mib(since.evictedPages)} MiB); ` +
        `${grouped(since.refaultedObjects)} were used again within a minute`,
    ];
    const up = this.#lineCount === 0 ? '' : `\x1b[${this.#lineCount}A`;
    process.stdout.write(
      `${up}${lines.map((line) => `${line.slice(0, process.stdout.columns)}\x1b[K\n`).join('')}`,
    );
    this.#lineCount = lines.length;
  }

  /** Since it was asked last. */
  #rates(store: TableStore): { lookupsPerSecond: number; readyShare: number } {
    const { lookups, readyBlocks: ready, awaitedBlocks: awaited } = store.stats;
    const now = { ms: performance.now(), lookups, ready, awaited };
    const last = this.#last;
    this.#last = now;
    const blocks = ready - last.ready + awaited - last.awaited;
    return {
      lookupsPerSecond: ((lookups - last.lookups) / (now.ms - last.ms)) * 1000,
      readyShare: blocks === 0 ? 0 : (ready - last.ready) / blocks,
    };
  }

  /** Of what is resident, against the budget. */
  #bar(pages: readonly number[]): string {
    const columns = pages.map((count, i) =>
      '#=-'[i]!.repeat(Math.round((count * BLOCK_BYTES * BAR_COLUMNS) / this.#budgetBytes)),
    );
    return `[${columns.join('').slice(0, BAR_COLUMNS).padEnd(BAR_COLUMNS)}]`;
  }
}

/** Of pages, or blocks, which are as long. */
function mib(pageCount: number): string {
  return ((pageCount * BLOCK_BYTES) / MIB).toFixed(1);
}

export function grouped(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}
