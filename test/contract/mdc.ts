import assert from 'node:assert/strict';
import type { Mdc, MdcId, MlogId, Pool } from '../../src/pool/api.ts';
import { allOf, pattern, refuses, texts } from '../pool/pool-host.ts';
import { codeOf, type Contract, MIB, titled } from './contract.ts';

async function newMdc(pool: Pool, capacityBytes = 256 * 1024): Promise<Mdc> {
  const allocation = await pool.mdcs.alloc({ capacityBytes });
  await allocation.commit();
  return pool.mdcs.open(allocation.id);
}

/** An MDC's content changes by appends and, as a whole, by compaction; never half, never lost. */
export function mdcContract(contract: Contract): void {
  const fresh: typeof contract.fresh = (...options) => contract.fresh(...options);
  const it = titled(contract);

  it('the root MDC is there from the start, and stays', async (t) => {
    const setup = await fresh(t);
    const root = await setup.pool.mdcs.root();
    assert.deepEqual(root.id, (await setup.pool.info()).rootMdc);
    assert.deepEqual(await texts(root.records()), []);
    assert.ok(root.usage.capacityBytes >= 200_000 && root.usage.usedBytes === 0);
    await root.append('one');
    await root.append(Buffer.from('two'), { sync: true });
    assert.equal(root.usage.recordCount, 2);
    const { id } = root;
    await refuses(() => setup.pool.mdcs.delete(id), 'ERR_MPOOL_PERMISSION');
    await root.close();
    await refuses(() => setup.pool.mdcs.delete(id), 'ERR_MPOOL_PERMISSION');
    await setup.reopen();
    const again = await setup.pool.mdcs.open(id);
    assert.deepEqual(await texts(again.records()), ['one', 'two']);
    await again.close();
  });

  it('compact() replaces the content, from an array, a generator or a stream', async (t) => {
    const setup = await fresh(t);
    let root = await setup.pool.mdcs.root();
    for (let i = 0; i < 100; i++) await root.append(`old ${i}`);
    const { generation } = root;
    await root.compact(['a', Buffer.from('b')]);
    assert.deepEqual(await texts(root.records()), ['a', 'b']);
    assert.equal(root.generation, generation + 1n);
    await root.compact(
      (function* () {
        for (let i = 0; i < 3; i++) yield `g${i}`;
      })(),
    );
    assert.deepEqual(await texts(root.records()), ['g0', 'g1', 'g2']);
    await root.compact(
      (async function* () {
        for await (const record of root.records()) yield `${Buffer.from(record).toString()}'`;
      })(),
    );
    await root.append('later');
    const want = ["g0'", "g1'", "g2'", 'later'];
    assert.deepEqual(await texts(root.records()), want);
    await root.close();
    await setup.reopen();
    root = await setup.pool.mdcs.root();
    assert.deepEqual(await texts(root.records()), want);
    await root.compact([]);
    assert.deepEqual(await texts(root.records()), []);
    assert.equal(root.usage.recordCount, 0);
    await root.compact(Array.from({ length: 5000 }, (_, i) => `many ${i}`));
    assert.equal(root.usage.recordCount, 5000);
    assert.equal((await texts(root.records()))[4999], 'many 4999');
    await root.close();
  });

  it('a compaction that fails leaves the old content', async (t) => {
    const { pool } = await fresh(t);
    const mdc = await newMdc(pool);
    for (let i = 0; i < 5; i++) await mdc.append(`kept ${i}`);
    const want = await texts(mdc.records());
    const { generation } = mdc;
    await refuses(
      () => mdc.compact([Buffer.alloc(200_000), Buffer.alloc(200_000)]),
      'ERR_MPOOL_LOG_FULL',
    );
    const source = function* (): Generator<string> {
      yield 'one';
      throw Object.assign(new RangeError('mine'), { code: 'ERR_MPOOL_INVALID_ARG' });
    };
    await refuses(() => mdc.compact(source()), 'ERR_MPOOL_INVALID_ARG', /mine/);
    await refuses(() => mdc.compact([5 as unknown as string]), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => mdc.compact(5 as unknown as string[]), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => mdc.compact(undefined as unknown as string[]), 'ERR_MPOOL_INVALID_ARG');
    assert.deepEqual(await texts(mdc.records()), want);
    assert.equal(mdc.generation, generation);
    await mdc.append('goes on');
    await mdc.compact(['done']);
    assert.deepEqual(await texts(mdc.records()), ['done']);
    await mdc.close();
  });

  it('a full MDC is compacted and has room again', async (t) => {
    const { pool } = await fresh(t);
    const mdc = await newMdc(pool, 64 * 1024);
    let count = 0;
    for (; ; count++) {
      const full = await mdc.append(pattern(1000, count)).then(
        () => undefined,
        (error: unknown) => codeOf(error),
      );
      if (full === undefined) continue;
      assert.equal(full, 'ERR_MPOOL_LOG_FULL');
      break;
    }
    assert.ok(count > 50);
    assert.equal((await allOf(mdc.records())).length, count);
    await mdc.compact([pattern(1000)]);
    // The record of the compaction has a frame of its own: that may cost one record's room.
    for (let i = 1; i < count - 1; i++) await mdc.append(pattern(1000, i));
    assert.equal((await allOf(mdc.records())).length, count - 1);
    await mdc.close();
  });

  it('between start and end of a compaction', async (t) => {
    const { pool } = await fresh(t);
    const mdc = await newMdc(pool);
    await refuses(() => mdc.endCompaction(), 'ERR_MPOOL_INVALID_ARG');
    await mdc.cancelCompaction();
    await mdc.append('old');
    await mdc.startCompaction();
    await refuses(() => mdc.startCompaction(), 'ERR_MPOOL_INVALID_ARG');
    await refuses(() => mdc.compact([]), 'ERR_MPOOL_INVALID_ARG');
    await mdc.append('new', { sync: true });
    assert.deepEqual(await texts(mdc.records()), ['old'], 'readers see what counts');
    assert.equal(mdc.usage.recordCount, 1, 'usage is of what is appended to');
    await mdc.cancelCompaction();
    assert.deepEqual(await texts(mdc.records()), ['old']);
    await mdc.append('old 2');
    await mdc.startCompaction();
    await mdc.append('new 1');
    const reader = mdc.reader();
    assert.equal(String(Buffer.from((await reader.next())!)), 'old');
    await mdc.endCompaction();
    assert.equal(String(Buffer.from((await reader.next())!)), 'new 1', 'readers begin again');
    assert.equal(await reader.next(), undefined);
    await mdc.close();
  });

  it('closing with a compaction under way cancels it', async (t) => {
    const setup = await fresh(t);
    const root = await setup.pool.mdcs.root();
    await root.append('old');
    await root.startCompaction();
    await root.append(pattern(100_000));
    await root.close();
    const again = await setup.pool.mdcs.root();
    assert.deepEqual(await texts(again.records()), ['old']);
    await again.startCompaction();
    await again.append(pattern(100_000), { sync: true });
    await setup.reopen({ force: true });
    const last = await setup.pool.mdcs.root();
    assert.deepEqual(await texts(last.records()), ['old']);
    await last.close();
  });

  it('what happens while a compaction ends waits for how it ends, in order', async (t) => {
    const setup = await fresh(t);
    const mdc = await newMdc(setup.pool);
    const { id } = mdc;
    await mdc.append('old');
    await mdc.startCompaction();
    await mdc.append('new');
    const ending = mdc.endCompaction();
    await refuses(() => mdc.endCompaction(), 'ERR_MPOOL_INVALID_ARG');
    const bytes = Buffer.from('1');
    const first = mdc.append(bytes);
    bytes.fill(0);
    const second = mdc.append('2', { sync: true });
    const cancelled = mdc.cancelCompaction();
    await ending;
    const third = mdc.append('3');
    await Promise.all([first, second, third, cancelled]);
    assert.deepEqual(await texts(mdc.records()), ['new', '1', '2', '3']);
    await mdc.startCompaction();
    await mdc.append('newest');
    const end = mdc.endCompaction();
    const close = mdc.close();
    await Promise.all([end, close]);
    await setup.reopen();
    const again = await setup.pool.mdcs.open(id);
    assert.deepEqual(await texts(again.records()), ['newest']);
    await again.close();
  });

  it('misuse of allocations, ids and handles', async (t) => {
    const { pool } = await fresh(t);
    const { mdcs, mlogs } = pool;
    const usage = await pool.usage();
    const aborted = await mdcs.alloc({ capacityBytes: 65_536 });
    await refuses(() => mdcs.open(aborted.id), 'ERR_MPOOL_UNCOMMITTED');
    await refuses(() => mdcs.delete(aborted.id), 'ERR_MPOOL_UNCOMMITTED');
    await aborted.abort();
    await aborted.abort();
    await refuses(() => aborted.commit(), 'ERR_MPOOL_NOT_FOUND');
    assert.deepEqual(await pool.usage(), usage);
    const [a, b] = [await newMdc(pool), await newMdc(pool)];
    const plain = await mlogs.alloc({ capacityBytes: 65_536 });
    await plain.commit();
    const wrong: unknown[] = [
      undefined,
      null,
      5,
      'x',
      {},
      { logA: a.id.logA },
      { logA: a.id.logA, logB: b.id.logB },
      { logA: a.id.logB, logB: a.id.logA },
      { logA: a.id.logA, logB: a.id.logA },
      { logA: plain.id, logB: plain.id },
      { logA: 0n, logB: 0n },
      { logA: 1, logB: 2 },
    ];
    for (const id of wrong as MdcId[]) {
      await refuses(() => mdcs.open(id), 'ERR_MPOOL_INVALID_ARG');
      await refuses(() => mdcs.delete(id), 'ERR_MPOOL_INVALID_ARG');
    }
    const unknown = { logA: 0x999201n as MlogId, logB: 0x99a201n as MlogId };
    await refuses(() => mdcs.open(unknown), 'ERR_MPOOL_NOT_FOUND');
    const again = await mdcs.open(a.id);
    await a.append('shared');
    assert.deepEqual(await texts(again.records()), ['shared']);
    await a.close();
    await a.close();
    await refuses(() => mdcs.delete(a.id), 'ERR_MPOOL_BUSY');
    for (const call of [
      () => a.append('x'),
      () => a.sync(),
      () => a.startCompaction(),
      () => a.endCompaction(),
      () => a.cancelCompaction(),
      () => a.compact([]),
      () => allOf(a.records()),
    ]) {
      await refuses(call, 'ERR_MPOOL_CLOSED');
    }
    assert.throws(() => a.reader(), { code: 'ERR_MPOOL_CLOSED' });
    await again.close();
    const [deleted, opened] = await Promise.allSettled([mdcs.delete(a.id), mdcs.open(a.id)]);
    assert.equal(deleted.status, 'fulfilled');
    assert.equal((opened as PromiseRejectedResult).reason.code, 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => mdcs.open(a.id), 'ERR_MPOOL_NOT_FOUND');
    await b.close();
    await mdcs.delete(b.id);
    await mlogs.delete([plain.id]);
    assert.deepEqual(await pool.usage(), usage);
  });

  it('mdcs.alloc: both logs or none, and listed as one', async (t) => {
    const { pool } = await fresh(t);
    const free = await pool.usage();
    const half = Math.floor(free.freeUsableBytes / MIB / 2 + 2) * MIB;
    await refuses(() => pool.mdcs.alloc({ capacityBytes: half }), 'ERR_MPOOL_NO_SPACE');
    assert.deepEqual(await pool.usage(), free, 'the first log was given back');
    const mdc = await newMdc(pool, 2 * MIB);
    const listed = await allOf(pool.mdcs.list());
    assert.deepEqual(
      listed.map(({ root }) => root),
      [true, false],
    );
    assert.deepEqual(listed[1]!.id, mdc.id);
    assert.equal(listed[1]!.allocatedBytes, 4 * MIB);
    assert.deepEqual(await allOf(pool.mlogs.list()), [], 'its logs are no mlogs of their own');
    await mdc.close();
  });
}
