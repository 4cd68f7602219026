import assert from 'node:assert/strict';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Mlog, MlogId, Pool } from '../../src/pool/api.ts';
import { allOf, pattern, refuses, texts } from '../pool/pool-host.ts';
import { codeOf, type Contract, MIB, titled } from './contract.ts';

const FRAME = 262_144;
const WHOLE_MAX = FRAME - 64 - 4;

async function newLog(pool: Pool, capacityBytes = MIB): Promise<Mlog> {
  const allocation = await pool.mlogs.alloc({ capacityBytes });
  await allocation.commit();
  return pool.mlogs.open(allocation.id);
}

async function assertRecords(log: Mlog, lengths: readonly number[]): Promise<void> {
  const found = await allOf(log.records());
  assert.deepEqual(
    found.map((record) => record.length),
    lengths,
  );
  found.forEach((record, i) => assert.ok(pattern(lengths[i]!, i).equals(record), `record ${i}`));
}

/** A log keeps every record of any size in order, refuses what does not fit and then is as it was. */
export function mlogContract(contract: Contract): void {
  const fresh: typeof contract.fresh = (...options) => contract.fresh(...options);
  const it = titled(contract);

  it('records of every size around the limits of frames', async (t) => {
    const setup = await fresh(t);
    const lengths = [0, 1, 2, 440, 443, 444, 445, 446, 4028, 4029, 4096, 65_535, 65_536, 65_537];
    for (let d = -6; d <= 6; d += 3) lengths.push(WHOLE_MAX + d, 2 * WHOLE_MAX + d);
    lengths.push(3 * FRAME, 0, 5 * FRAME + 1, 0, 1, 3 * MIB + 5, 7);
    let log = await newLog(setup.pool, 24 * MIB);
    for (const [i, length] of lengths.entries()) {
      await log.append(pattern(length, i), { sync: i % 5 === 0 });
    }
    assert.equal(log.recordCount, lengths.length);
    await assertRecords(log, lengths);
    const { usedBytes, id } = log;
    await log.close();
    await setup.reopen();
    log = await setup.pool.mlogs.open(id);
    await assertRecords(log, lengths);
    assert.equal(log.recordCount, lengths.length);
    assert.ok(log.usedBytes >= usedBytes && log.usedBytes <= usedBytes + 4096);
    await log.close();
  });

  it('thousands of appends at once to a log that takes some of them: each is told, none is doubled', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool, 4096);
    const appends = Array.from({ length: 9000 }, (_, i) => {
      // A smaller one may fit behind one that does not.
      const record = i % 1000 === 999 ? 'x' : `${i}`.padStart(6);
      return log.append(record, { sync: i % 100 === 0 }).then(
        () => record,
        (error: unknown) => {
          assert.equal(codeOf(error), 'ERR_MPOOL_LOG_FULL');
          return undefined;
        },
      );
    });
    const ordered = (await Promise.all(appends)).filter((record) => record !== undefined);
    assert.ok(ordered.length > 100 && ordered.length < 1000, String(ordered.length));
    assert.deepEqual(await texts(log.records()), ordered);
    await log.close();
  });

  it('LOG_FULL leaves all as it was; smaller records may still fit', async (t) => {
    const setup = await fresh(t);
    const prng = new SeededPrng(11);
    for (const capacityBytes of [8192, 300_000]) {
      let log = await newLog(setup.pool, capacityBytes);
      const lengths: number[] = [];
      let refused = 0;
      for (let size = 2 * capacityBytes; size >= 0;) {
        const before = [log.usedBytes, log.recordCount];
        try {
          await log.append(pattern(size, lengths.length), { sync: below(prng, 3) === 0 });
          lengths.push(size);
          if (below(prng, 2) === 0) size = Math.floor(size / 2);
        } catch (error) {
          assert.equal(codeOf(error), 'ERR_MPOOL_LOG_FULL');
          assert.deepEqual([log.usedBytes, log.recordCount], before, 'nothing changed');
          refused++;
          size = size > 64 ? Math.floor(size * 0.7) : size - 1;
        }
      }
      assert.ok(
        refused > 10 && lengths.length > 1,
        `${lengths.length} records, ${refused} refused`,
      );
      assert.ok(log.usedBytes <= log.capacityBytes);
      await refuses(() => log.append(''), 'ERR_MPOOL_LOG_FULL');
      await assertRecords(log, lengths);
      const { id } = log;
      await log.close();
      await setup.reopen();
      log = await setup.pool.mlogs.open(id);
      await assertRecords(log, lengths);
      await refuses(() => log.append(''), 'ERR_MPOOL_LOG_FULL');
      await log.erase();
      await log.append('again', { sync: true });
      assert.deepEqual(await texts(log.records()), ['again']);
      await log.close();
    }
  });

  it('of appends at once each is refused or kept by itself', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool, 64 * 1024);
    const lengths = [1000, 100_000, 2000, 70_000, 3000, 59_000, 10, 59_000];
    const settled = await Promise.allSettled(
      lengths.map((length, i) => log.append(pattern(length, i), { sync: i % 3 === 0 })),
    );
    const kept = settled.flatMap((each, i) => (each.status === 'fulfilled' ? [i] : []));
    for (const each of settled) {
      if (each.status === 'rejected') assert.equal(each.reason.code, 'ERR_MPOOL_LOG_FULL');
    }
    assert.ok(kept.length >= 4 && !kept.includes(1) && !kept.includes(3));
    const found = await allOf(log.records());
    assert.equal(log.recordCount, kept.length);
    assert.deepEqual(
      found.map((record) => record.length),
      kept.map((i) => lengths[i]),
    );
    found.forEach((record, at) => assert.ok(pattern(record.length, kept[at]).equals(record)));
    await log.close();
  });

  it('text and bytes; the bytes are copied before append() returns', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool);
    const bytes = Buffer.from('mine');
    const large = Buffer.alloc(100_000, 'x');
    const appended = [log.append(bytes), log.append(large), log.append('between')];
    bytes.fill(0);
    large.fill(0);
    await Promise.all(appended);
    await log.append('naïve ✓');
    assert.deepEqual(await texts(log.records()), [
      'mine',
      'x'.repeat(100_000),
      'between',
      'naïve ✓',
    ]);
    await log.close();
  });

  it('arguments that are none are refused, with a rejected promise', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool);
    await log.append('one', { sync: true });
    for (const record of [
      undefined,
      null,
      5,
      {},
      [],
      [1],
      new ArrayBuffer(4),
      5n,
      new Uint16Array(4),
    ]) {
      await refuses(() => log.append(record as string), 'ERR_MPOOL_INVALID_ARG');
    }
    const reader = log.reader();
    for (const wrong of [NaN, -1, 0.5, Infinity, '3', null, 2 ** 53, 3n] as number[]) {
      await refuses(() => reader.skip(wrong), 'ERR_MPOOL_INVALID_ARG');
      await refuses(() => reader.next({ maxBytes: wrong }), 'ERR_MPOOL_INVALID_ARG');
    }
    for (const generation of [5, 'x', null, -1n, 2n ** 53n] as bigint[]) {
      await refuses(() => log.erase(generation), 'ERR_MPOOL_INVALID_ARG');
    }
    const sizes: unknown[] = [undefined, null, NaN, 0, -1, 0.5, '1', Infinity, 2 ** 53, 10n];
    for (const capacityBytes of sizes as number[]) {
      await refuses(() => pool.mlogs.alloc({ capacityBytes }), 'ERR_MPOOL_INVALID_ARG');
      await refuses(() => pool.mdcs.alloc({ capacityBytes }), 'ERR_MPOOL_INVALID_ARG');
    }
    for (const options of [undefined, null, 5, 'x'] as unknown as { capacityBytes: number }[]) {
      await refuses(() => pool.mlogs.alloc(options), 'ERR_MPOOL_INVALID_ARG');
    }
    assert.equal(log.recordCount, 1);
    assert.equal(Buffer.from((await reader.next())!).toString(), 'one', 'nothing was consumed');
    await log.close();
  });

  it('readers are independent; next() with a limit and skip() do not lose records', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool);
    const [a, b] = [log.reader(), log.reader()];
    assert.equal(await a.next(), undefined, 'empty');
    for (const text of ['first', 'second', 'third']) await log.append(text);
    const text = async (reader = a, options = {}): Promise<string | undefined> => {
      const record = await reader.next(options);
      return record && Buffer.from(record).toString();
    };
    assert.equal(await text(), 'first', 'sees what is buffered');
    await refuses(() => a.next({ maxBytes: 5 }), 'ERR_MPOOL_TOO_LARGE', /6 bytes/);
    await refuses(() => a.next({ maxBytes: 0 }), 'ERR_MPOOL_TOO_LARGE');
    assert.equal(await text(a, { maxBytes: 6 }), 'second', 'was not consumed');
    await refuses(() => b.skip(4), 'ERR_MPOOL_TOO_LARGE');
    await b.skip(5);
    await refuses(() => b.skip(7), 'ERR_MPOOL_SKIP_MISMATCH');
    assert.equal(await text(b), 'third', 'a shorter one is passed over');
    await refuses(() => b.skip(1), 'ERR_MPOOL_SKIP_MISMATCH');
    await refuses(() => b.skip(0), 'ERR_MPOOL_SKIP_MISMATCH');
    assert.equal(await text(b), undefined);
    await log.append('fourth');
    assert.equal(await text(b), 'fourth', 'goes on after the end');
    a.rewind();
    assert.equal(await text(a), 'first');
    await a.close();
    assert.equal(await text(a), 'first', 'a closed reader begins again');
    const together = await Promise.all([a.next(), a.next(), a.next(), a.next()]);
    assert.deepEqual(
      together.map((record) => record && Buffer.from(record).toString()),
      ['second', 'third', 'fourth', undefined],
      'calls take their turns',
    );
    await log.close();
    await refuses(() => a.next(), 'ERR_MPOOL_CLOSED');
  });

  it('appending and reading in turns, with records over several frames', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool, 16 * MIB);
    const reader = log.reader();
    const prng = new SeededPrng(5);
    let read = 0;
    for (let i = 0; i < 100; i++) {
      const length = below(prng, 10) === 0 ? below(prng, 700_000) : below(prng, 2000);
      const appended = log.append(pattern(length, i), { sync: below(prng, 8) === 0 });
      if (below(prng, 2) === 0) {
        for (let record = await reader.next(); record !== undefined; record = await reader.next()) {
          assert.ok(pattern(record.length, read).equals(record), `record ${read}`);
          read++;
        }
        assert.equal(read, i + 1, 'all that was appended before');
      }
      await appended;
    }
    await log.close();
  });

  it('erase: the log is empty, its generation higher, readers begin again', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool);
    for (let i = 0; i < 100; i++) await log.append(`old ${i}`);
    const [early, unused] = [log.reader(), log.reader()];
    await early.next();
    assert.equal(log.generation, 1n);
    await log.erase();
    assert.equal(log.generation, 2n);
    assert.equal(log.recordCount, 0);
    assert.equal(log.usedBytes, 0);
    assert.equal(await early.next(), undefined);
    assert.equal(await unused.next(), undefined);
    await log.erase(10n);
    assert.equal(log.generation, 10n);
    await log.erase(3n);
    assert.equal(log.generation, 11n, 'never falls');
    await log.append('new');
    assert.equal(String(Buffer.from((await early.next())!)), 'new');
    await log.close();
    const again = await pool.mlogs.open(log.id);
    assert.equal(again.generation, 11n);
    assert.deepEqual(await texts(again.records()), ['new']);
    await again.close();
  });

  it('a reader overtaken by erasures and new records never reports damage', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool, 4 * MIB);
    for (let i = 0; i < 12; i++) await log.append(pattern(200_000, i));
    for (let round = 0; round < 6; round++) {
      const reader = log.reader();
      const reading = (async () => {
        let count = 0;
        while ((await reader.next()) !== undefined) count++;
        return count;
      })();
      await log.erase();
      for (let i = 0; i < 12; i++) await log.append(pattern(190_000, i));
      const count = await reading;
      assert.ok(count >= 0 && count <= 36, `${count}`);
    }
    await log.close();
  });

  it('misuse of an allocation, of a closed log and of a deleted one', async (t) => {
    const { pool } = await fresh(t);
    const { mlogs } = pool;
    const usage = await pool.usage();
    const aborted = await mlogs.alloc({ capacityBytes: 65_536 });
    await refuses(() => mlogs.open(aborted.id), 'ERR_MPOOL_UNCOMMITTED');
    await refuses(() => mlogs.delete([aborted.id]), 'ERR_MPOOL_UNCOMMITTED');
    await refuses(() => mlogs.properties(aborted.id), 'ERR_MPOOL_UNCOMMITTED');
    await Promise.all([aborted.abort(), aborted.abort()]);
    await refuses(() => aborted.commit(), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => mlogs.open(aborted.id), 'ERR_MPOOL_NOT_FOUND');
    assert.deepEqual(await pool.usage(), usage);
    const allocation = await mlogs.alloc({ capacityBytes: 65_536 });
    assert.equal(allocation.capacityBytes, 65_536 - 4096);
    await Promise.all([allocation.commit(), allocation.commit()]);
    await allocation.commit();
    await refuses(() => allocation.abort(), 'ERR_MPOOL_COMMITTED');
    await allocation[Symbol.asyncDispose]();
    const { id } = allocation;
    const [one, two] = await Promise.all([mlogs.open(id), mlogs.open(id)]);
    await refuses(() => mlogs.delete([id]), 'ERR_MPOOL_BUSY');
    const properties = await mlogs.properties(id);
    assert.deepEqual(properties, {
      id,
      mediaClass: 'capacity',
      committed: true,
      allocatedBytes: 65_536,
      generation: 1n,
      usedBytes: 0,
    });
    assert.deepEqual(await allOf(mlogs.list()), [properties]);
    await one.append('shared');
    assert.deepEqual(await texts(two.records()), ['shared']);
    assert.equal(two.recordCount, 1);
    assert.ok((await mlogs.properties(id)).usedBytes! > 0);
    await Promise.all([one.close(), one.close()]);
    for (const call of [
      () => one.append('x'),
      () => one.sync(),
      () => one.erase(),
      () => one.startCompaction(),
    ]) {
      await refuses(call, 'ERR_MPOOL_CLOSED');
    }
    assert.throws(() => one.reader(), { code: 'ERR_MPOOL_CLOSED' });
    await refuses(() => allOf(one.records()), 'ERR_MPOOL_CLOSED');
    await two.append('still open');
    await refuses(() => mlogs.delete([id]), 'ERR_MPOOL_BUSY');
    await two.close();
    assert.equal((await mlogs.properties(id)).usedBytes, undefined);
    await mlogs.delete([id, id]);
    await refuses(() => mlogs.delete([id]), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => mlogs.open(id), 'ERR_MPOOL_NOT_FOUND');
    assert.deepEqual(await pool.usage(), usage);
  });

  it('open, close and delete at the same time', async (t) => {
    const { pool } = await fresh(t);
    const { mlogs } = pool;
    const log = await newLog(pool);
    const { id } = log;
    await log.append('kept');
    const closing = log.close();
    const again = mlogs.open(id);
    await refuses(() => mlogs.delete([id]), 'ERR_MPOOL_BUSY');
    await closing;
    assert.deepEqual(await texts((await again).records()), ['kept']);
    await (await again).close();
    const [deleted, opened] = await Promise.allSettled([mlogs.delete([id]), mlogs.open(id)]);
    assert.equal(deleted.status, 'fulfilled');
    assert.equal((opened as PromiseRejectedResult).reason.code, 'ERR_MPOOL_NOT_FOUND');
  });

  it('mlog ids are of type, and not those of an MDC', async (t) => {
    const { pool } = await fresh(t);
    const { mlogs, mblocks } = pool;
    const mblock = await mblocks.alloc();
    await mblock.commit();
    const { rootMdc } = await pool.info();
    const wrong: unknown[] = [
      0n,
      -1n,
      mblock.id,
      5,
      '0x1201',
      null,
      undefined,
      0x1200n,
      rootMdc.logA,
      rootMdc.logB,
    ];
    for (const id of wrong as MlogId[]) {
      await refuses(() => mlogs.open(id), 'ERR_MPOOL_INVALID_ARG');
      await refuses(() => mlogs.delete([id]), 'ERR_MPOOL_INVALID_ARG');
      await refuses(() => mlogs.properties(id), 'ERR_MPOOL_INVALID_ARG');
    }
    for (const ids of [undefined, null, 5, 'x'] as unknown as MlogId[][]) {
      await refuses(() => mlogs.delete(ids), 'ERR_MPOOL_INVALID_ARG');
    }
    await refuses(() => mlogs.open(0xabcde201n as MlogId), 'ERR_MPOOL_NOT_FOUND');
  });

  it('compaction semantics: markers in their order, and an unfinished one is told', async (t) => {
    const setup = await fresh(t);
    const plainFirst = await newLog(setup.pool);
    const { id } = plainFirst;
    await refuses(() => plainFirst.startCompaction(), 'ERR_MPOOL_INVALID_ARG', /without/);
    await refuses(
      () => setup.pool.mlogs.open(id, { compactionSemantics: true }),
      'ERR_MPOOL_INVALID_ARG',
    );
    await plainFirst.close();
    let log = await setup.pool.mlogs.open(id, { compactionSemantics: true });
    await refuses(() => log.append('early'), 'ERR_MPOOL_INVALID_ARG', /startCompaction/);
    await refuses(() => log.endCompaction(), 'ERR_MPOOL_INVALID_ARG');
    await log.startCompaction();
    await refuses(() => log.startCompaction(), 'ERR_MPOOL_INVALID_ARG');
    await log.append('compacted');
    await log.close();
    await refuses(
      () => setup.pool.mlogs.open(id, { compactionSemantics: true }),
      'ERR_MPOOL_COMPACTING',
    );
    const plain = await setup.pool.mlogs.open(id);
    assert.deepEqual(await texts(plain.records()), ['compacted'], 'without them it can be read');
    await plain.erase();
    await plain.close();
    log = await setup.pool.mlogs.open(id, { compactionSemantics: true });
    await log.startCompaction();
    await log.append('one');
    await log.endCompaction();
    await refuses(() => log.endCompaction(), 'ERR_MPOOL_INVALID_ARG');
    await log.append('two', { sync: true });
    assert.deepEqual(await texts(log.records()), ['one', 'two']);
    await log.close();
    await setup.reopen();
    log = await setup.pool.mlogs.open(id, { compactionSemantics: true });
    assert.deepEqual(await texts(log.records()), ['one', 'two']);
    await log.close();
    const bare = await newLog(setup.pool);
    await bare.append('no markers');
    await bare.close();
    await refuses(
      () => setup.pool.mlogs.open(bare.id, { compactionSemantics: true }),
      'ERR_MPOOL_CORRUPT',
    );
  });

  it('a hundred thousand appends that are not waited for are all there', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool, 16 * MIB);
    const appends: Promise<void>[] = [];
    for (let i = 0; i < 100_000; i++) appends.push(log.append(`record ${i}`));
    await Promise.all(appends);
    assert.equal(log.recordCount, 100_000);
    await log.sync();
    let next = 0;
    for await (const record of log.records()) {
      assert.equal(Buffer.from(record).toString(), `record ${next++}`);
    }
    assert.equal(next, 100_000);
    await log.close();
  });

  it('writers at the same time share flushes', async (t) => {
    const { pool } = await fresh(t);
    const log = await newLog(pool, 4 * MIB);
    await pool.info();
    const before = pool.stats().flushes;
    const writers = Array.from({ length: 32 }, async (_, writer) => {
      for (let i = 0; i < 20; i++) await log.append(`${writer} ${i}`, { sync: true });
    });
    await Promise.all(writers);
    await pool.info();
    assert.ok(
      pool.stats().flushes - before <= 320,
      'half of them at most had a flush of their own',
    );
    const next = Array.from({ length: 32 }, () => 0);
    for (const text of await texts(log.records())) {
      const [writer, i] = text.split(' ').map(Number) as [number, number];
      assert.equal(i, next[writer]!++, 'in the order of each');
    }
    assert.ok(next.every((count) => count === 20));
    await log.close();
  });
}
