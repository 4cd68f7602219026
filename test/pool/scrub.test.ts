// Goal: a scrub of an active pool finds what check finds, at the rate it is given, whatever others do
// meanwhile; it can be ended at any moment and goes on where it was.
// Method: pools on simulated disks and clocks; the findings are compared with those of check, the reads
// with the trace of the devices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { halvesOfId } from '../../src/format/object-id.ts';
import type { LocalPool, MblockId, MlogId } from '../../src/pool/api.ts';
import { checkPoolAt } from '../../src/pool/inspect.ts';
import { activate } from '../../src/pool/activate.ts';
import { sharePool, StorePool } from '../../src/pool/pool.ts';
import type { Store } from '../../src/pool/store.ts';
import type { CheckReport } from '../../src/pool/check.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, allOf, B, freshPool, HERE, MIB, NAME, pattern, refuses, turns } from './pool-host.ts';

const SEED = Number(process.env['SEED'] ?? 20_250_723);
const FAST = { bytesPerSecond: Infinity };

interface Opened {
  host: SimHost;
  pool: LocalPool;
  store: Store;
}
interface Filled extends Opened {
  mblocks: MblockId[];
}

/** Mblocks of no page, of one and of many on both classes; a log, and an MDC that was compacted. */
async function filledPool(keepTrace = false): Promise<Filled> {
  const { host, pool: made } = await freshPool({
    sizeBytes: 24 * MIB,
    stagingBytes: 8 * MIB,
    host: { keepTrace },
    open: { slowDeviceMs: 40 },
  });
  await made.close();
  const { pool, store } = await openAgain(host);
  const mblocks: MblockId[] = [];
  for (const [lengthBytes, mediaClass] of [
    [0, 'capacity'],
    [1000, 'capacity'],
    [200 * PAGE_BYTES + 5, 'capacity'],
    [3 * PAGE_BYTES, 'staging'],
    [255 * PAGE_BYTES, 'capacity'],
  ] as const) {
    const mblock = await pool.mblocks.alloc({ mediaClass });
    if (lengthBytes > 0) await mblock.write(pattern(lengthBytes, lengthBytes));
    await mblock.commit();
    mblocks.push(mblock.id);
  }
  const allocation = await pool.mlogs.alloc({ capacityBytes: 64 * 1024 });
  await allocation.commit();
  const log = await pool.mlogs.open(allocation.id);
  for (let i = 0; i < 20; i++) await log.append(pattern(300, i), { sync: true });
  await log.close();
  const root = await pool.mdcs.root();
  for (let i = 0; i < 5; i++) await root.append(pattern(300, i), { sync: true });
  await root.close();
  return { host, pool, store, mblocks };
}

/** As openPool() does; the test may look into the store. */
async function openAgain(host: SimHost, readOnly = false): Promise<Opened> {
  const store = await activate(host.environment, {
    capacityPath: A,
    stagingPaths: [B],
    readOnly,
    force: false,
    engine: undefined,
    discard: true,
    checksumCacheBytes: undefined,
    // Simulated time passes in steps of a quarter of it.
    slowDeviceMs: 40,
  });
  const pool = new StorePool(sharePool(store), (force) => store.shutdown(force));
  return { host, pool, store };
}

function told(report: Pick<CheckReport, 'findings'>): string[] {
  return report.findings.map(({ structure, location, objectId, message }) => {
    return `${structure} ${objectId} ${location.device} ${location.offsetBytes} ${message}`;
  });
}

test('a class that was added and grew since the pool was opened is nothing to warn of', async () => {
  const { host, pool: made } = await freshPool({ sizeBytes: 24 * MIB });
  await made.close();
  host.addDisk(B, { sizeBytes: 8 * MIB });
  const { pool } = await openAgain(host);
  await pool.addMediaClass('staging', { path: B, mblockSizeBytes: MIB });
  host.disk(B).resize(10 * MIB);
  await pool.grow();
  const { findings } = await pool.scrub(FAST);
  assert.deepEqual(
    findings.filter(({ severity }) => severity !== 'note'),
    [],
  );
  await pool.close();
});

test('a whole pool: everything is verified, as check does', async () => {
  const { host, pool } = await filledPool();
  const progress: number[] = [];
  const before = host.operationCount;
  const report = await pool.scrub({
    ...FAST,
    onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes),
  });
  assert.equal(host.operationCount, before, 'a scrub writes nothing');
  assert.deepEqual([report.findings, report.complete, report.clean], [[], true, true]);
  assert.equal(report.cursor, undefined);
  assert.deepEqual(
    progress,
    progress.toSorted((a, b) => a - b),
  );
  assert.equal(progress.at(-1), 1);
  await pool.close();
  assert.equal(host.liveBufferCount, 0);
  const checked = await checkPoolAt(host, NAME, HERE, { data: true });
  const { logs, frames, records, ...counts } = checked.counts;
  assert.deepEqual({ ...report.counts, logs, frames, records }, checked.counts);
  assert.ok(counts.pages > 400 && report.counts.frames > 20 && report.counts.logs === 7);
});

/** Where the structures of each object are, in bytes of their device. */
function placesOf(store: Store): [device: string, offsetBytes: number][] {
  const { table } = store;
  const places: [string, number][] = [];
  for (let index = table.next(-1); index >= 0; index = table.next(index)) {
    const device = table.mediaClass(index) === 1 ? A : B;
    const pages = Math.ceil(table.lengthBytes(index) / PAGE_BYTES);
    const isLog = table.digest(index) === 0 && pages === 0;
    const offsets = isLog ? [0, 1] : pages === 1 ? [0] : [0, pages - 1, pages];
    if (isLog && table.role(index) === 2) offsets.pop();
    for (const page of pages === 0 && !isLog ? [] : offsets) {
      places.push([device, (table.pageAddress(index) + page) * PAGE_BYTES]);
    }
  }
  return places;
}

test('what check finds offline, a scrub finds online: the same places', async () => {
  const { host: sound, pool: first, store } = await filledPool();
  const places: [string, number][] = [
    [A, 0],
    [B, 16 * PAGE_BYTES],
    [A, 7 * PAGE_BYTES],
    ...placesOf(store),
  ];
  assert.ok(places.length >= 3 + 1 + 3 * 3 + 2 + 3, 'every object has its places');
  await first.close();
  for (const [device, offsetBytes] of places) {
    const host = sound.clone();
    const { pool } = await openAgain(host);
    host.disk(device).flipBit(offsetBytes + 100, 3);
    const checked = await readOnlyCheck(host);
    const report = await pool.scrub(FAST);
    assert.deepEqual(told(report), told(checked), `${device} ${offsetBytes}`);
    assert.equal(report.clean, false, `${device} ${offsetBytes}`);
    await pool.close();
  }
});

/** Of a copy of the disks as they are now: the pool stays open. */
function readOnlyCheck(host: SimHost): Promise<CheckReport> {
  return checkPoolAt(host.clone({ seed: 1 }), NAME, HERE, { data: true });
}

test('open logs, and the logs of the pool itself, are verified up to what the device has', async () => {
  for (const which of ['plain', 'root', 'MDC 0', 'MDC 1'] as const) {
    const { host, pool, store } = await filledPool();
    const { table } = store;
    const [{ id }] = (await allOf(pool.mlogs.list())) as unknown as [{ id: MlogId }];
    const log = await pool.mlogs.open(id);
    const root = await pool.mdcs.root();
    await log.append('unsynced, and not on the device yet');
    assert.equal((await pool.scrub(FAST)).clean, true);
    const { low, high } = halvesOfId((await pool.info()).rootMdc.logA);
    const pages = {
      plain: table.pageAddress(table.findId(id)),
      root: table.pageAddress(table.find(high, low)),
      'MDC 0': store.poolRecords.log.pair.active.place.extent.pageAddress,
      'MDC 1': store.catalog.log.pair.active.place.extent.pageAddress,
    };
    const offsetBytes = (pages[which] + 1) * PAGE_BYTES;
    host.disk(A).flipBit(offsetBytes + 70);
    const [finding, ...more] = (await pool.scrub(FAST)).findings;
    assert.deepEqual(more, [], which);
    assert.deepEqual([finding?.structure, finding?.location], ['log', { device: A, offsetBytes }]);
    host.disk(A).flipBit(offsetBytes + 70);
    host.disk(A).flipBit(offsetBytes - PAGE_BYTES + 40);
    const [header] = (await pool.scrub(FAST)).findings;
    assert.equal(header?.structure, 'log header', which);
    assert.equal(header.location.offsetBytes, offsetBytes - PAGE_BYTES);
    host.disk(A).flipBit(offsetBytes - PAGE_BYTES + 40);
    await log.close();
    await root.close();
    await pool.close();
  }
});

test('the rate bounds what is read in any time', async () => {
  const { host, pool } = await filledPool(true);
  const bytesPerSecond = 2 * MIB;
  const startMs = host.clock.monotonicMs();
  const from = host.trace.events.length;
  const report = await pool.scrub({ bytesPerSecond });
  const reads = host.trace.events
    .slice(from)
    .filter(({ op, phase }) => op === 'read' && phase === 'submit');
  const bytes = reads.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const seconds = (host.clock.monotonicMs() - startMs) / 1000;
  assert.ok(bytes >= report.counts.bytes, 'all of it was read from the devices');
  assert.ok(bytes / seconds <= bytesPerSecond * 1.02, `${bytes} bytes in ${seconds} s`);
  assert.ok(
    report.counts.bytes / seconds >= bytesPerSecond / 8,
    `${report.counts.bytes} bytes of ${bytes} in ${seconds} s: nor is it much slower`,
  );
  await pool.close();
});

test('ended at any moment, it goes on from its cursor, and everything is verified once', async () => {
  const { host, pool, store, mblocks } = await filledPool();
  const whole = await pool.scrub(FAST);
  const cursors: string[] = [];
  await pool.scrub({ ...FAST, onProgress: ({ cursor }) => cursors.push(cursor) });
  assert.ok(new Set(cursors).size > mblocks.length, 'there are many places to end at');
  host.disk(A).flipBit(placesOf(store)[0]![1] + 1);
  for (let stop = 0; stop < cursors.length; stop++) {
    let count = 0;
    const abort = new AbortController();
    const onProgress = (): void => {
      if (count++ === stop) abort.abort();
    };
    const first = await pool.scrub({ ...FAST, onProgress, signal: abort.signal });
    if (first.complete) {
      assert.equal(stop, cursors.length - 1, 'only the last moment is too late');
      break;
    }
    assert.match(first.cursor!, /^0x[0-9a-f]+(\+\d+)?$/);
    const rest = await pool.scrub({ ...FAST, from: first.cursor });
    assert.equal(rest.complete, true);
    const pages = first.counts.pages + rest.counts.pages;
    assert.equal(pages, whole.counts.pages, `ended at ${first.cursor}`);
  }
  await refuses(() => pool.scrub({ from: 'here' }), 'ERR_MPOOL_INVALID_ARG');
  await refuses(() => pool.scrub({ bytesPerSecond: 0 }), 'ERR_MPOOL_INVALID_ARG');
  await pool.close();
});

test('closing the pool ends a scrub at once, also one that waits', async () => {
  const { host, pool } = await filledPool();
  const slow = pool.scrub({ bytesPerSecond: 1000 });
  const fast = pool.scrub(FAST);
  await turns(20);
  await pool.close();
  const [a, b] = await Promise.all([slow, fast]);
  assert.equal(a.complete, false);
  assert.ok(typeof a.cursor === 'string' && a.clean && b.clean);
  assert.equal(host.liveBufferCount, 0);
  await refuses(() => pool.scrub(), 'ERR_MPOOL_CLOSED');
});

test('while others write, commit, delete, erase and compact it finds nothing, and they go on', async () => {
  for (let seed = SEED; seed < SEED + 6; seed++) {
    const { host, pool } = await filledPool();
    const usage = await pool.usage();
    const work = new Busy(pool, new SeededPrng(seed));
    const scrubs = [pool.scrub(FAST), pool.scrub({ bytesPerSecond: 20 * MIB })];
    const state = { running: true };
    const ended = Promise.all(scrubs).finally(() => (state.running = false));
    while (state.running) await work.step();
    for (const report of await ended) {
      assert.deepEqual(told(report), [], `seed ${seed}`);
      assert.equal(report.complete, true);
    }
    assert.ok(work.stepCount > 30, `others went on: ${work.stepCount} steps, seed ${seed}`);
    await work.end();
    // A range that is being discarded counts as used.
    await host.clock.advance(5000);
    const now = await pool.usage();
    assert.equal(now.usedBytes - now.metadataBytes, usage.usedBytes - usage.metadataBytes);
    await pool.close();
    assert.equal(host.liveBufferCount, 0);
    const checked = await checkPoolAt(host, NAME, HERE, { data: true });
    assert.equal(checked.clean, true);
  }
});

/** What users of the pool do. */
class Busy {
  stepCount = 0;
  readonly #pool: LocalPool;
  readonly #prng: SeededPrng;
  readonly #mblocks: MblockId[] = [];
  readonly #mlogs: MlogId[] = [];

  constructor(pool: LocalPool, prng: SeededPrng) {
    this.#pool = pool;
    this.#prng = prng;
  }

  async step(): Promise<void> {
    this.stepCount += 1;
    const kinds = [
      () => this.#put(),
      () => this.#deleteMblock(),
      () => this.#append(),
      () => this.#newLog(),
      () => this.#deleteLog(),
      () => this.#compact(),
      () => this.#pool.setParameters({ label: `l${this.stepCount}` }),
    ];
    await kinds[below(this.#prng, kinds.length)]!();
  }

  async end(): Promise<void> {
    await this.#pool.mblocks.delete(this.#mblocks);
    await this.#pool.mlogs.delete(this.#mlogs);
  }

  async #put(): Promise<void> {
    if (this.#mblocks.length > 4) return this.#deleteMblock();
    const mblock = await this.#pool.mblocks.alloc();
    await mblock.write(pattern(1 + below(this.#prng, 50_000), this.stepCount));
    await mblock.commit();
    this.#mblocks.push(mblock.id);
  }

  async #deleteMblock(): Promise<void> {
    const at = below(this.#prng, this.#mblocks.length + 1);
    await this.#pool.mblocks.delete(this.#mblocks.splice(at, 1));
  }

  async #newLog(): Promise<void> {
    if (this.#mlogs.length > 4) return;
    const allocation = await this.#pool.mlogs.alloc({ capacityBytes: 2 ** 16 });
    await allocation.commit();
    this.#mlogs.push(allocation.id);
  }

  async #append(): Promise<void> {
    const id = this.#mlogs[below(this.#prng, this.#mlogs.length + 1)];
    if (id === undefined) return;
    const log = await this.#pool.mlogs.open(id);
    if (below(this.#prng, 3) === 0) await log.erase();
    const records = Array.from({ length: 4 }, (_, i) =>
      log.append(pattern(2000, i), { sync: true }),
    );
    await Promise.all(records).catch(() => log.erase());
    if (below(this.#prng, 3) === 0) await log.erase();
    await log.close();
  }

  async #deleteLog(): Promise<void> {
    const at = below(this.#prng, this.#mlogs.length + 1);
    await this.#pool.mlogs.delete(this.#mlogs.splice(at, 1));
  }

  async #compact(): Promise<void> {
    const root = await this.#pool.mdcs.root();
    await root.startCompaction();
    await root.append(pattern(5000, this.stepCount));
    await root.endCompaction();
    await root.append('after', { sync: true });
    await root.close();
  }
}
