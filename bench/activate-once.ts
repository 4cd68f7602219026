// A process of its own: activates a pool, tells what that took, and does one thing more: closes it in
// order, ends as a crash would, or compacts the objects' MDC.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from '../src/pool/store.ts';
import { StoreMblocks } from '../src/pool/mblocks.ts';
import { openStoreAt } from './workspace.ts';

export type Then = 'close' | 'crash' | 'compact';

/** Times in ms, memory in bytes. */
export interface Activation {
  ms: number;
  stallMs: number;
  objectCount: number;
  tableBytes: number;
  rssBytes: number;
  heapBytes: number;
  logBytes: number;
  compaction?: { ms: number; stallMs: number; logBytes: number };
}

const [path, then] = process.argv.slice(2) as [string, Then];
await main();

async function main(): Promise<void> {
  const before = memory();
  const { value: store, ms, stallMs } = await watched(() => openStoreAt(path));
  const after = memory();
  const activation: Activation = {
    ms,
    stallMs,
    objectCount: store.table.count,
    tableBytes: store.table.bytes,
    rssBytes: after.rss - before.rss,
    heapBytes: after.heap - before.heap,
    logBytes: store.catalog.log.pair.active.usedBytes,
  };
  if (then === 'compact') {
    const compaction = await watched(() => store.catalog.log.compact());
    const { usedBytes } = store.catalog.log.pair.active;
    activation.compaction = { ...compaction, logBytes: usedBytes };
  }
  process.send!(activation);
  if (then === 'crash') await crash(store);
  await store.shutdown(true);
  process.disconnect();
}

/** With commits under way. */
async function crash(store: Store): Promise<void> {
  const mblocks = new StoreMblocks(store);
  for (let i = 0; i < 64; i++) {
    const mblock = await mblocks.alloc();
    await mblock.write(Buffer.alloc(4096, 'crash'));
    const committed = mblock.commit();
    if (i < 32) await committed;
  }
  process.kill(process.pid, 'SIGKILL');
}

/** The longest time that the event loop did not turn, beyond the millisecond between looks. */
async function watched<T>(
  work: () => Promise<T>,
): Promise<{ value: T; ms: number; stallMs: number }> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await sleep(20);
  delay.reset();
  const start = performance.now();
  const value = await work();
  const ms = performance.now() - start;
  await sleep(5);
  delay.disable();
  return { value, ms, stallMs: Math.max(0, delay.max / 1e6 - 1) };
}

function memory(): { rss: number; heap: number } {
  const { gc } = globalThis as { gc?: () => void };
  for (let i = 0; i < 3; i++) gc?.();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  return { rss, heap: heapUsed + arrayBuffers };
}
