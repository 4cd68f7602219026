/**
 * Why maps matter: a small key-value store of sorted tables, asked as fast as it can answer while tables
 * are put and merged, with less memory than data. Every answer is checked.
 *
 *   npm run example:tables -- [MIB] [SECONDS]
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as othersTurn, setTimeout as sleep } from 'node:timers/promises';
import { create, open, type Pool, reaper } from '../src/index.ts';
import { grouped, Screen } from './table-screen.ts';
import { TableStore } from './table-store.ts';
import { randomFrom, Workload, zipfianBelow } from './table-workload.ts';

const MIB = 2 ** 20;
const dataBytes = Number(process.argv[2] ?? 100) * MIB;
const wantedSeconds = Number(process.argv[3] ?? 5);
const seed = Number(process.env['SEED'] ?? 1);
if (!(dataBytes >= 4 * MIB && wantedSeconds > 0 && Number.isSafeInteger(seed))) {
  console.error('usage: [SEED=NUMBER] table-demo [MIB, at least 4] [SECONDS]');
  process.exit(2);
}
/** A third of the data: some of it must go. */
const budgetBytes = Math.min(32 * MIB, Math.floor(dataBytes / 3));
const LOADS = 16;
const CLIENTS = 16;
/** How often a client asks before others have their turn. */
const LOOKUPS_IN_A_ROW = 32;
/** Between puts, and between looks for something to merge. */
const PAUSE_MS = 200;

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => stop.abort(signal));
}
// Not where temporary files are: that may be memory, and then there is nothing to evict.
await mkdir('build', { recursive: true });
const folder = await mkdtemp(join('build', 'tables-'));
const path = join(folder, 'tables.mpool');
let pool: Pool | undefined;
try {
  reaper.configure({ budgetBytes });
  const name = folder.replaceAll(/[^\w-]/g, '-');
  // Data, what a merge of all of it writes, and tables that lookups of older generations still have.
  const sizeBytes = 4 * dataBytes + 128 * MIB;
  pool = await create({ name, capacity: { path, sizeBytes, mblockSizeBytes: 2 * MIB } });
  const workload = new Workload(seed, dataBytes);
  let store = await TableStore.open(pool);
  const loadSeconds = await timed(() => load(store, workload));
  const { puts, compactions } = store.stats;
  say(
    'put',
    `${grouped(workload.keyCount)} keys, ${mib(dataBytes)}, in ${loadSeconds.toFixed(1)} s: ` +
      `${puts} puts, ${compactions} compactions; maps may take ${mib(budgetBytes)}`,
  );
  const seconds = await timed(() => run(store, workload));
  summarize(store, workload, seconds);
  await store.close();
  await pool.close();

  pool = await open(path);
  store = await TableStore.open(pool);
  const asked = workload.checkedAnswers;
  for (let key = 0; key < workload.keyCount; key += 64) {
    await workload.check(key, (bytes) => store.get(bytes));
  }
  say('reopened', `${grouped(workload.checkedAnswers - asked)} answers, all as they were put`);
  await store.close();
} finally {
  // Only after an error is there anything to force.
  await pool?.close({ force: true });
  await rm(folder, { recursive: true });
}

/** Every load has keys of the whole range, as they come to a store in life: merging has something to do. */
async function load(store: TableStore, workload: Workload): Promise<void> {
  for (let i = 0; i < LOADS && !stop.signal.aborted; i++) {
    const keys: number[] = [];
    for (let key = i; key < workload.keyCount; key += LOADS) keys.push(key);
    await workload.put(keys, (entries) => store.put(entries));
    while (await store.compact());
  }
}

/** Lookups, puts and compactions side by side, until the time is over or one of them fails. */
async function run(store: TableStore, workload: Workload): Promise<void> {
  const screen = new Screen(budgetBytes);
  const timer = setTimeout(() => stop.abort(), wantedSeconds * 1000);
  const pause = (ms: number) => sleep(ms, undefined, { signal: stop.signal }).catch(() => {});
  const untilStopped = async (step: () => Promise<void>): Promise<void> => {
    try {
      while (!stop.signal.aborted) await step();
    } finally {
      // Whoever fails ends the others too.
      stop.abort();
    }
  };
  const zipfian = zipfianBelow(workload.keyCount);
  const clients = Array.from({ length: CLIENTS }, (_, i) => {
    const random = randomFrom(seed + 1 + i);
    return untilStopped(async () => {
      for (let n = 0; n < LOOKUPS_IN_A_ROW; n++) {
        await workload.check(zipfian(random()), (key) => store.get(key));
      }
      // What is ready is answered without leaving this thread: nothing else would ever have its turn.
      await othersTurn();
    });
  });
  const puts = untilStopped(async () => {
    await workload.put(workload.someKeys(Math.ceil(workload.keyCount / 128)), (entries) =>
      store.put(entries),
    );
    await pause(PAUSE_MS);
  });
  const compactions = untilStopped(async () => {
    if (!(await store.compact())) await pause(PAUSE_MS);
  });
  const screens = untilStopped(async () => {
    await pause(1000);
    screen.show(store);
  });
  const results = await Promise.allSettled([...clients, puts, compactions, screens]);
  clearTimeout(timer);
  screen.close();
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

function summarize(store: TableStore, workload: Workload, seconds: number): void {
  const { lookups, readyBlocks, awaitedBlocks, puts, compactions } = store.stats;
  const { evictedObjects, evictedPages, refaultedObjects } = reaper.stats();
  const readyShare = (100 * readyBlocks) / Math.max(1, readyBlocks + awaitedBlocks);
  const ended = stop.signal.reason as unknown;
  say(typeof ended === 'string' ? ended : 'ran', `${seconds.toFixed(1)} s`);
  say('lookups', `${grouped(lookups / seconds)}/s, ${readyShare.toFixed(2)} % of blocks ready`);
  say('tables', `${puts} puts, ${compactions} compactions, now ${store.runs.length} runs`);
  say(
    'evicted',
    `${grouped(evictedObjects)} tables, ${mib(evictedPages * 4096)}; ` +
      `${grouped(refaultedObjects)} were used again within a minute`,
  );
  say('checked', `${grouped(workload.checkedAnswers)} answers, all as they were put`);
}

function say(what: string, detail: string): void {
  console.log(`${what.padEnd(9)} ${detail}`);
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}
