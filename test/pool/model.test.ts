// Goal: whatever a program does with a pool, what it sees is what a plain model of it says.
// Method: random programs (fast-check, which prints the seed and the shortest failing one) of everything that
//   can be done with mblocks, logs and the root MDC, rightly and wrongly, with reopenings; then many actors at
//   once, each with a model of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Mblock, Mdc, Mlog, MlogId, Pool } from '../../src/pool/api.ts';
import { SimHost } from '../../src/testing/index.ts';
import { createPool } from '../../src/pool/create.ts';
import { A, allOf, closeClean, MIB, openHere, pattern } from './pool-host.ts';

interface MblockModel {
  handle: Mblock;
  state: 'open' | 'committed' | 'gone';
  content: Buffer;
}

interface LogModel {
  id: MlogId;
  handle: Mlog | null;
  records: Buffer[];
  exists: boolean;
}

/** Code of the error, or undefined when it went well. */
async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: { code?: string }) => error.code ?? assert.fail('an error without a code'),
  );
}

const KINDS = [
  'alloc',
  'write',
  'write',
  'commit',
  'commitAll',
  'abort',
  'delete',
  'read',
  'newLog',
  'append',
  'append',
  'openLog',
  'closeLog',
  'erase',
  'readLog',
  'deleteLog',
  'mdcAppend',
  'mdcCompact',
  'mdcStart',
  'mdcEnd',
  'mdcCancel',
  'mdcRead',
  'label',
  'list',
  'reopen',
] as const;

interface Step {
  kind: (typeof KINDS)[number];
  pick: number;
  size: number;
}

class World {
  readonly host: SimHost;
  pool!: Pool;
  root!: Mdc;
  readonly mblocks: MblockModel[] = [];
  readonly logs: LogModel[] = [];
  readonly ids = new Set<bigint>();
  mdc: Buffer[] = [];
  target: Buffer[] | null = null;
  label = 'raw';
  #serial = 0;

  constructor(seed: number) {
    this.host = new SimHost({ seed, keepTrace: false });
    this.host.addDisk(A, { sizeBytes: 16 * MIB });
  }

  async start(): Promise<void> {
    const { environment } = this.host;
    await createPool(environment, { name: 'p1', capacity: { path: A, mblockSizeBytes: MIB } });
    await this.#open();
  }

  async end(): Promise<void> {
    await this.#reopen();
    await this.#list();
    for (const mblock of this.mblocks) await this.#read(mblock);
    for (const log of this.logs) await this.#readLog(log);
    await this.#mdcRead();
    await closeClean({ host: this.host, pool: this.pool }, true);
  }

  async run({ kind, pick, size }: Step): Promise<void> {
    const mblock = this.mblocks[pick % Math.max(1, this.mblocks.length)];
    const log = this.logs[pick % Math.max(1, this.logs.length)];
    switch (kind) {
      case 'alloc':
        return this.#alloc(pick % 3 === 0);
      case 'write':
        return mblock && this.#write(mblock, size);
      case 'commit':
        return mblock && this.#commit(mblock);
      case 'commitAll':
        return this.#commitAll();
      case 'abort':
        return mblock && this.#abort(mblock);
      case 'delete':
        return mblock && this.#delete(mblock);
      case 'read':
        return mblock && this.#read(mblock);
      case 'newLog':
        return this.#newLog(size);
      case 'append':
        return log && this.#append(log, size, pick % 3 === 0);
      case 'openLog':
        return log && this.#openLog(log);
      case 'closeLog':
        await log?.handle?.close();
        if (log !== undefined) log.handle = null;
        return;
      case 'erase':
        return log && this.#erase(log);
      case 'readLog':
        return log && this.#readLog(log);
      case 'deleteLog':
        return log && this.#deleteLog(log);
      case 'mdcRead':
        return this.#mdcRead();
      case 'label':
        this.label = `label-${size}`;
        return this.pool.setParameters({ label: this.label });
      case 'list':
        return this.#list();
      case 'reopen':
        return this.#reopen();
      default:
        return this.#compaction(kind, size);
    }
  }

  async #open(): Promise<void> {
    this.pool = await openHere(this.host);
    this.root = await this.pool.mdcs.root();
    for (const log of this.logs) log.handle = null;
    for (const mblock of this.mblocks) {
      if (mblock.state === 'open') mblock.state = 'gone';
      if (mblock.state === 'committed')
        mblock.handle = await this.pool.mblocks.find(mblock.handle.id);
    }
  }

  async #reopen(): Promise<void> {
    await closeClean({ host: this.host, pool: this.pool }, true);
    this.target = null;
    await this.#open();
  }

  async #alloc(spare: boolean): Promise<void> {
    const handle = await this.pool.mblocks.alloc({ spare }).catch((error: { code: string }) => {
      assert.equal(error.code, 'ERR_MPOOL_NO_SPACE');
    });
    if (handle === undefined) return;
    assert.ok(!this.ids.has(handle.id), 'a new id');
    this.ids.add(handle.id);
    this.mblocks.push({ handle, state: 'open', content: Buffer.alloc(0) });
  }

  async #write(mblock: MblockModel, size: number): Promise<void> {
    const data = pattern(size, this.#serial++);
    const { content, handle, state } = mblock;
    const code = await codeOf(
      handle.write([data.subarray(0, size >> 1), data.subarray(size >> 1)]),
    );
    if (state === 'committed') return assert.equal(code, 'ERR_MPOOL_COMMITTED');
    if (state === 'gone')
      return assert.ok(code === 'ERR_MPOOL_NOT_FOUND' || code === 'ERR_MPOOL_CLOSED');
    const fits = content.length % 4096 === 0 && content.length + size <= handle.capacityBytes;
    assert.equal(code, fits || size === 0 ? undefined : 'ERR_MPOOL_INVALID_ARG');
    if (fits) mblock.content = Buffer.concat([content, data]);
    assert.equal(handle.writtenBytes, mblock.content.length);
  }

  async #commit(mblock: MblockModel): Promise<void> {
    const code = await codeOf(mblock.handle.commit());
    if (mblock.state === 'gone')
      return assert.ok(code === 'ERR_MPOOL_NOT_FOUND' || code === 'ERR_MPOOL_CLOSED');
    assert.equal(code, undefined);
    mblock.state = 'committed';
  }

  async #commitAll(): Promise<void> {
    const open = this.mblocks.filter(({ state }) => state !== 'gone');
    await this.pool.mblocks.commit(open.map(({ handle }) => handle));
    for (const mblock of open) mblock.state = 'committed';
  }

  async #abort(mblock: MblockModel): Promise<void> {
    const code = await codeOf(mblock.handle.abort());
    if (mblock.state === 'committed') return assert.equal(code, 'ERR_MPOOL_COMMITTED');
    if (mblock.state === 'open') assert.equal(code, undefined);
    mblock.state = 'gone';
  }

  async #delete(mblock: MblockModel): Promise<void> {
    const { handle, state } = mblock;
    const code = await codeOf(this.pool.mblocks.delete([handle.id, handle.id]));
    const want = {
      open: 'ERR_MPOOL_UNCOMMITTED',
      committed: undefined,
      gone: 'ERR_MPOOL_NOT_FOUND',
    };
    assert.equal(code, want[state]);
    if (state === 'committed') mblock.state = 'gone';
  }

  async #read({ handle, state, content }: MblockModel): Promise<void> {
    const want = {
      open: 'ERR_MPOOL_UNCOMMITTED',
      committed: undefined,
      gone: 'ERR_MPOOL_NOT_FOUND',
    };
    assert.equal(await codeOf(this.pool.mblocks.read(handle.id, 0, 0)), want[state]);
    if (state !== 'committed') return;
    const from = content.length >> 2;
    const bytes = await handle.read(from, content.length - from);
    assert.ok(content.subarray(from).equals(bytes));
  }

  async #newLog(size: number): Promise<void> {
    const allocation = await this.pool.mlogs
      .alloc({ capacityBytes: 8192 + size })
      .catch((error: { code: string }) => {
        assert.equal(error.code, 'ERR_MPOOL_NO_SPACE');
      });
    if (allocation === undefined) return;
    await allocation.commit();
    assert.ok(!this.ids.has(allocation.id), 'a new id');
    this.ids.add(allocation.id);
    this.logs.push({ id: allocation.id, handle: null, records: [], exists: true });
  }

  async #openLog(log: LogModel): Promise<void> {
    if (!log.exists)
      return assert.equal(await codeOf(this.pool.mlogs.open(log.id)), 'ERR_MPOOL_NOT_FOUND');
    log.handle ??= await this.pool.mlogs.open(log.id);
  }

  async #append(log: LogModel, size: number, sync: boolean): Promise<void> {
    if (log.handle === null) return;
    const record = pattern(size, this.#serial++);
    const code = await codeOf(log.handle.append(record, { sync }));
    if (code === undefined) log.records.push(record);
    else assert.equal(code, 'ERR_MPOOL_LOG_FULL');
    assert.equal(log.handle.recordCount, log.records.length);
    if (code !== undefined)
      assert.ok(log.handle.usedBytes + size + 68 > log.handle.capacityBytes - 1024);
  }

  async #erase(log: LogModel): Promise<void> {
    if (log.handle === null) return;
    const { generation } = log.handle;
    await log.handle.erase();
    assert.ok(log.handle.generation > generation);
    log.records = [];
  }

  async #readLog(log: LogModel): Promise<void> {
    if (!log.exists) return;
    const handle = log.handle ?? (await this.pool.mlogs.open(log.id));
    const found = await allOf(handle.records());
    assert.deepEqual(
      found.map((r) => r.length),
      log.records.map((r) => r.length),
    );
    assert.ok(found.every((record, i) => log.records[i]!.equals(record)));
    if (log.handle === null) await handle.close();
  }

  async #deleteLog(log: LogModel): Promise<void> {
    const code = await codeOf(this.pool.mlogs.delete([log.id]));
    assert.equal(
      code,
      !log.exists ? 'ERR_MPOOL_NOT_FOUND' : log.handle !== null ? 'ERR_MPOOL_BUSY' : undefined,
    );
    if (code === undefined) log.exists = false;
  }

  async #compaction(kind: Step['kind'], size: number): Promise<void> {
    const record = pattern(size, this.#serial++);
    const { root, target } = this;
    if (kind === 'mdcAppend') {
      const code = await codeOf(root.append(record, { sync: size % 2 === 0 }));
      if (code === undefined) (target ?? this.mdc).push(record);
      else assert.equal(code, 'ERR_MPOOL_LOG_FULL');
    } else if (kind === 'mdcStart') {
      assert.equal(
        await codeOf(root.startCompaction()),
        target === null ? undefined : 'ERR_MPOOL_INVALID_ARG',
      );
      this.target ??= [];
    } else if (kind === 'mdcEnd') {
      assert.equal(
        await codeOf(root.endCompaction()),
        target === null ? 'ERR_MPOOL_INVALID_ARG' : undefined,
      );
      if (target !== null) this.mdc = target;
      this.target = null;
    } else if (kind === 'mdcCancel') {
      await root.cancelCompaction();
      this.target = null;
    } else {
      const code = await codeOf(root.compact([record, 'x']));
      if (target !== null) return assert.equal(code, 'ERR_MPOOL_INVALID_ARG');
      if (code === undefined) this.mdc = [record, Buffer.from('x')];
      else assert.equal(code, 'ERR_MPOOL_LOG_FULL');
    }
  }

  async #mdcRead(): Promise<void> {
    const found = await allOf(this.root.records());
    assert.ok(found.length === this.mdc.length && found.every((r, i) => this.mdc[i]!.equals(r)));
  }

  async #list(): Promise<void> {
    const committed = this.mblocks.filter(({ state }) => state === 'committed');
    const found = await allOf(this.pool.mblocks.list());
    const sorted = committed.map(({ handle }) => handle.id).toSorted((a, b) => (a < b ? -1 : 1));
    assert.deepEqual(
      found.map(({ id }) => id),
      sorted,
    );
    const usage = await this.pool.usage();
    assert.equal(usage.mblockCount, committed.length);
    assert.equal(
      usage.mblockWrittenBytes,
      committed.reduce((sum, { content }) => sum + content.length, 0),
    );
    assert.equal(usage.mlogCount, 2 + this.logs.filter(({ exists }) => exists).length);
    assert.equal((await this.pool.parameters()).label, this.label);
  }
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...KINDS),
  pick: fc.nat(1000),
  size: fc.oneof(
    fc.nat(200),
    fc.constantFrom(0, 4096, 8192, 65_536, 262_076, 262_077),
    fc.nat(400_000),
  ),
});

test('random programs see what the model says', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 80, size: 'max' }),
      fc.nat(),
      async (steps, seed) => {
        const world = new World(seed);
        await world.start();
        for (const each of steps) await world.run(each);
        await world.end();
      },
    ),
    { numRuns: 60, interruptAfterTimeLimit: 8000, markInterruptAsFailure: false },
  );
});

test('many actors at once, each on objects of its own, do not see each other', async () => {
  for (let seed = 1; seed <= 4; seed++) {
    const host = new SimHost({ seed, keepTrace: false });
    host.addDisk(A, { sizeBytes: 256 * MIB });
    await createPool(host.environment, { name: 'p1', capacity: { path: A, mblockSizeBytes: MIB } });
    let pool = await openHere(host);
    const kept = new Map<Mblock['id'], Buffer>();
    const logs = new Map<MlogId, string[]>();
    const actor = async (number: number): Promise<void> => {
      const prng = new SeededPrng(seed * 1000 + number);
      const allocation = await pool.mlogs.alloc({ capacityBytes: 65_536 });
      await allocation.commit();
      const log = await pool.mlogs.open(allocation.id);
      const records: string[] = [];
      logs.set(log.id, records);
      for (let i = 0; i < 25; i++) {
        const mblock = await pool.mblocks.alloc();
        const data = pattern(below(prng, 30_000), number * 100 + i);
        await mblock.write(data);
        if (below(prng, 5) === 0) {
          await mblock.abort();
          continue;
        }
        await Promise.all([
          mblock.commit(),
          log.append(`${mblock.id}`, { sync: below(prng, 2) === 0 }),
        ]);
        records.push(`${mblock.id}`);
        kept.set(mblock.id, data);
        if (below(prng, 3) > 0) continue;
        const read = mblock.read(0, data.length);
        await mblock.delete();
        kept.delete(mblock.id);
        assert.ok(data.equals(await read), `seed ${seed}: a read under way gets its bytes`);
      }
      await log.close();
    };
    await Promise.all(Array.from({ length: 16 }, (_, number) => actor(number)));
    await closeClean({ host, pool });
    pool = await openHere(host);
    assert.equal((await allOf(pool.mblocks.list())).length, kept.size, `seed ${seed}`);
    for (const [id, data] of kept)
      assert.ok(data.equals(await pool.mblocks.read(id, 0, data.length)));
    for (const [id, records] of logs) {
      const log = await pool.mlogs.open(id);
      assert.deepEqual(
        (await allOf(log.records())).map((record) => Buffer.from(record).toString()),
        records,
      );
      await log.close();
    }
    await closeClean({ host, pool });
  }
});
