// Goal: a log keeps every record of any size in order, refuses what does not fit and then is as it was.
// Method: sizes around the frame's limits, logs filled to the last byte, readers across erasure, misuse.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mlog, MlogId, Pool } from '../../src/pool/api.ts';
import { SeededPrng, below } from '../../src/base/prng.ts';
import {
  allOf,
  closeClean,
  freshPool,
  MIB,
  openHere,
  pattern,
  refuses,
  reopen,
  texts,
  turns,
} from './pool-host.ts';

const FRAME = 262_144;
const WHOLE_MAX = FRAME - 64 - 4;

async function newLog(pool: Pool, capacityBytes = MIB): Promise<Mlog> {
  const allocation = await pool.mlogs.alloc({ capacityBytes });
  await allocation.commit();
  return pool.mlogs.open(allocation.id);
}

async function records(log: Mlog): Promise<Uint8Array[]> {
  return allOf(log.records());
}

function assertRecords(found: Uint8Array[], lengths: number[]): void {
  assert.deepEqual(
    found.map((record) => record.length),
    lengths,
  );
  found.forEach((record, i) => assert.ok(pattern(lengths[i]!, i).equals(record), `record ${i}`));
}

for (const sectorBytes of [512, 4096] as const) {
  test(`records of every size around the limits of frames, sectors of ${sectorBytes}`, async () => {
    const host = { fileSectorBytes: sectorBytes };
    let setup = await freshPool({
      host,
      create: { capacity: { path: '/files/a', sizeBytes: 64 * MIB, mblockSizeBytes: MIB } },
    });
    const lengths = [0, 1, 2, 440, 443, 444, 445, 446, 4028, 4029, 4096];
    for (let d = -6; d <= 6; d++) lengths.push(WHOLE_MAX + d, 2 * WHOLE_MAX + d);
    lengths.push(3 * FRAME, 0, 5 * FRAME + 1, 0, 1);
    let log = await newLog(setup.pool, 24 * MIB);
    for (const [i, length] of lengths.entries()) {
      await log.append(pattern(length, i), { sync: i % 5 === 0 });
    }
    assert.equal(log.recordCount, lengths.length);
    assertRecords(await records(log), lengths);
    const { usedBytes, id } = log;
    await log.close();
    setup = await reopen(setup);
    log = await setup.pool.mlogs.open(id);
    assertRecords(await records(log), lengths);
    assert.equal(log.recordCount, lengths.length);
    assert.ok(log.usedBytes >= usedBytes && log.usedBytes <= usedBytes + sectorBytes);
    await log.close();
    await closeClean(setup);
  });
}

test('LOG_FULL leaves all as it was; smaller records may still fit; to the last byte', async () => {
  const prng = new SeededPrng(11);
  for (const capacityBytes of [8192, 12_288, 300_000, 700_000]) {
    let setup = await freshPool();
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
        assert.equal((error as { code: string }).code, 'ERR_MPOOL_LOG_FULL');
        assert.deepEqual([log.usedBytes, log.recordCount], before, 'nothing changed');
        refused++;
        size = size > 64 ? Math.floor(size * 0.7) : size - 1;
      }
    }
    assert.ok(refused > 10 && lengths.length > 1, `${lengths.length} records, ${refused} refused`);
    assert.ok(log.usedBytes <= log.capacityBytes);
    await refuses(() => log.append(''), 'ERR_MPOOL_LOG_FULL');
    assertRecords(await records(log), lengths);
    const { id } = log;
    await log.close();
    setup = await reopen(setup);
    log = await setup.pool.mlogs.open(id);
    assertRecords(await records(log), lengths);
    await refuses(() => log.append(''), 'ERR_MPOOL_LOG_FULL');
    await log.erase();
    await log.append('again', { sync: true });
    assert.deepEqual(await texts(log.records()), ['again']);
    await log.close();
    await closeClean(setup);
  }
});

test('a record that just fits, and one byte more', async () => {
  for (const capacityBytes of [8192, 262_144 + 4096, 262_144 + 8192, MIB]) {
    const setup = await freshPool();
    const log = await newLog(setup.pool, capacityBytes);
    let fits = 0;
    for (let step = 2 ** 20; step >= 1; step /= 2) {
      const size = fits + step;
      if (
        await log.append(Buffer.alloc(size)).then(
          () => true,
          () => false,
        )
      )
        fits = size;
      await log.erase();
    }
    await refuses(() => log.append(Buffer.alloc(fits + 1)), 'ERR_MPOOL_LOG_FULL');
    await log.append(pattern(fits), { sync: true });
    const frames = Math.ceil(log.capacityBytes / FRAME);
    assert.ok(fits >= log.capacityBytes - frames * (68 + 512), `${fits} of ${log.capacityBytes}`);
    assert.ok(pattern(fits).equals((await log.reader().next())!));
    await log.close();
    await closeClean(setup);
  }
});

test('text and bytes; the bytes are copied before append() returns', async () => {
  const setup = await freshPool();
  const log = await newLog(setup.pool);
  const bytes = Buffer.from('mine');
  const appended = log.append(bytes);
  bytes.fill(0);
  await appended;
  await log.append('naïve ✓');
  assert.deepEqual(await texts(log.records()), ['mine', 'naïve ✓']);
  await log.close();
  await closeClean(setup);
});

test('arguments that are none are refused, with a rejected promise, before anything happens', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const log = await newLog(pool);
  await log.append('one', { sync: true });
  const before = host.operationCount;
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
  assert.equal(host.operationCount, before, 'nothing was written');
  assert.equal(Buffer.from((await reader.next())!).toString(), 'one', 'nothing was consumed');
  await log.close();
  await closeClean(setup);
});

test('readers are independent; next() with a limit and skip() do not lose records', async () => {
  const setup = await freshPool();
  const log = await newLog(setup.pool);
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
    together.map(String).map((s) => s.length > 0),
    [true, true, true, true],
  );
  assert.equal(together[3], undefined, 'calls take their turns');
  await log.close();
  await refuses(() => a.next(), 'ERR_MPOOL_CLOSED');
  await closeClean(setup);
});

test('appending and reading in turns, with records over several frames', async () => {
  const setup = await freshPool();
  const log = await newLog(setup.pool, 16 * MIB);
  const reader = log.reader();
  const prng = new SeededPrng(5);
  let read = 0;
  for (let i = 0; i < 120; i++) {
    const length = below(prng, 10) === 0 ? below(prng, 700_000) : below(prng, 2000);
    const appended = log.append(pattern(length, i), { sync: below(prng, 4) === 0 });
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
  await closeClean(setup);
});

test('erase: the log is empty, its generation higher, readers begin again', async () => {
  const setup = await freshPool();
  const log = await newLog(setup.pool);
  for (let i = 0; i < 100; i++) await log.append(`old ${i}`);
  const [early, fresh] = [log.reader(), log.reader()];
  await early.next();
  assert.equal(log.generation, 1n);
  await log.erase();
  assert.equal(log.generation, 2n);
  assert.equal(log.recordCount, 0);
  assert.equal(log.usedBytes, 0);
  assert.equal(await early.next(), undefined);
  assert.equal(await fresh.next(), undefined);
  await log.erase(10n);
  assert.equal(log.generation, 10n);
  await log.erase(3n);
  assert.equal(log.generation, 11n, 'never falls');
  await log.append('new');
  assert.equal(String(Buffer.from((await early.next())!)), 'new');
  await log.close();
  const again = await setup.pool.mlogs.open(log.id);
  assert.equal(again.generation, 11n);
  assert.deepEqual(await texts(again.records()), ['new']);
  await again.close();
  await closeClean(setup);
});

test('a reader overtaken by an erasure and new records never reports damage', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const log = await newLog(pool, 4 * MIB);
  for (let i = 0; i < 12; i++) await log.append(pattern(200_000, i), { sync: true });
  for (let round = 0; round < 6; round++) {
    const reader = log.reader();
    const held = host.addFault({ op: 'read', nth: round + 1, times: 2, effect: { kind: 'hold' } });
    const reading = (async () => {
      let count = 0;
      while ((await reader.next()) !== undefined) count++;
      return count;
    })();
    await turns(30);
    await log.erase();
    for (let i = 0; i < 12; i++) await log.append(pattern(190_000, i), { sync: true });
    held.remove();
    held.release();
    assert.ok((await reading) >= 12, 'ends at the end of the new content');
    host.clearFaults();
  }
  await log.close();
  await closeClean(setup);
});

test('misuse of an allocation, of a closed log and of a deleted one', async () => {
  const setup = await freshPool();
  const { pool } = setup;
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
  assert.equal((await mlogs.properties(id)).usedBytes, 0);
  await one.append('shared');
  assert.deepEqual(await texts(two.records()), ['shared']);
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
  await closeClean(setup);
});

test('open, close and delete at the same time', async () => {
  const setup = await freshPool();
  const { mlogs } = setup.pool;
  const log = await newLog(setup.pool);
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
  await closeClean(setup);
});

test('mlog ids are of type, and not those of an MDC', async () => {
  const setup = await freshPool();
  const { mlogs, mblocks } = setup.pool;
  const mblock = await mblocks.alloc();
  await mblock.commit();
  const { rootMdc } = await setup.pool.info();
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
  await closeClean(setup);
});

test('compaction semantics: markers in their order, and an unfinished one is told', async () => {
  let setup = await freshPool();
  const { id } = await (async () => {
    const log = await newLog(setup.pool);
    await refuses(() => log.startCompaction(), 'ERR_MPOOL_INVALID_ARG', /without/);
    await refuses(
      () => setup.pool.mlogs.open(log.id, { compactionSemantics: true }),
      'ERR_MPOOL_INVALID_ARG',
    );
    await log.close();
    return log;
  })();
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
  setup = await reopen(setup);
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
  await closeClean(setup);
});

test('a hundred thousand appends that are not waited for are all there, in few writes', async () => {
  const setup = await freshPool();
  const log = await newLog(setup.pool, 16 * MIB);
  const before = setup.host.operationCount;
  const appends: Promise<void>[] = [];
  for (let i = 0; i < 100_000; i++) appends.push(log.append(`record ${i}`));
  assert.ok(new Set(appends).size < 100, 'no promise for each');
  await Promise.all(appends);
  await log.sync();
  assert.ok(setup.host.operationCount - before <= 12, 'frames are filled, and one flush');
  let next = 0;
  for await (const record of log.records())
    assert.equal(Buffer.from(record).toString(), `record ${next++}`);
  assert.equal(next, 100_000);
  await log.close();
  await closeClean(setup);
});

test('without memory a record is in the log whole or not at all, and so is what follows', async () => {
  const long = pattern(400_000);
  let refusals = 0;
  for (let nth = 1; nth <= 12; nth++) {
    const setup = await freshPool({ sizeBytes: 32 * MIB });
    const { host, pool } = setup;
    const log = await newLog(pool, 2 * MIB);
    const kept: Buffer[] = [Buffer.from('first')];
    await log.append(kept[0]!, { sync: true });
    const left = host.failAllocations(nth);
    for (const record of [long, Buffer.from('next'), long, Buffer.from('last')]) {
      await log.append(record, { sync: true }).then(
        () => kept.push(record),
        (error: { code: string }) => {
          refusals += 1;
          assert.match(error.code, /^ERR_MPOOL_(IO|FAILED)$/);
        },
      );
    }
    if (left() > 0) host.clearFaults();
    await log.close().catch(() => {});
    const again = await pool.mlogs.open(log.id);
    const found = await allOf(again.records());
    assert.deepEqual(
      found.map(({ length }) => length),
      kept.map(({ length }) => length),
      `nth ${nth}`,
    );
    for (const [i, record] of found.entries()) assert.ok(kept[i]!.equals(record));
    await again.close();
    await closeClean({ host, pool });
  }
  assert.ok(refusals > 6, `${refusals} were refused`);
});

test('after a failed write a log says so for ever, and reading goes on', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const log = await newLog(pool);
  await log.append('kept', { sync: true });
  host.addFault({ op: 'write', effect: { kind: 'error', errno: 'EIO' } });
  await refuses(() => log.append('lost', { sync: true }), 'ERR_MPOOL_FAILED');
  await refuses(() => log.append('x'), 'ERR_MPOOL_FAILED');
  await refuses(() => log.sync(), 'ERR_MPOOL_FAILED');
  await refuses(() => log.erase(), 'ERR_MPOOL_FAILED');
  await log.append('x').catch((error: Error) => {
    assert.equal((error.cause as { code: string }).code, 'ERR_MPOOL_IO', 'the first cause');
  });
  assert.equal(String(Buffer.from((await log.reader().next())!)), 'kept');
  const { health, problems } = await pool.info();
  assert.deepEqual([health, problems.map(({ kind }) => kind)], ['degraded', ['object-failed']]);
  await refuses(() => log.close(), 'ERR_MPOOL_FAILED');
  await log.close();
  const again = await pool.mlogs.open(log.id);
  assert.deepEqual(await texts(again.records()), ['kept']);
  assert.equal((await pool.info()).health, 'optimal', 'it is well again');
  await again.append('goes on', { sync: true });
  await again.close();
  await closeClean(setup);
});

// Found by pools living through crashes and faults: close() said that all was well, and what was appended
// after opening again came behind a hole.
test('an async append whose write fails later is told at the latest by close()', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const log = await newLog(pool);
  await log.append('kept', { sync: true });
  host.addFault({ op: 'write', effect: { kind: 'error', errno: 'EIO' } });
  await log.append(pattern(300_000));
  await turns(50);
  await refuses(() => log.close(), 'ERR_MPOOL_FAILED');
  const again = await pool.mlogs.open(log.id);
  assert.deepEqual(await texts(again.records()), ['kept']);
  await again.close();
  await closeClean(setup);
});

test('an async append before a crash may be lost, but only as part of a suffix', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const { host, pool } = await freshPool({ host: { seed } });
    const log = await newLog(pool, 4 * MIB);
    const lengths = Array.from({ length: 60 }, (_, i) => (i * 7919 * seed) % 40_000);
    for (const [i, length] of lengths.entries())
      await log.append(pattern(length, i), { sync: i === 20 });
    const { id } = log;
    const image = host.crash();
    const recovered = await openHere(image);
    const after = await recovered.mlogs.open(id);
    const found = await records(after);
    assert.ok(found.length >= 21, `seed ${seed}: the synced ones are there`);
    assertRecords(found, lengths.slice(0, found.length));
    await after.close();
    await closeClean({ host: image, pool: recovered });
    await pool.close({ force: true }).catch(() => {});
  }
});

test('records whose flush failed are written once more before others are built upon them', async () => {
  const { host, pool } = await freshPool();
  const log = await newLog(pool);
  await log.append('in a cache');
  assert.deepEqual(await texts(log.records()), ['in a cache']);
  host.addFault({ op: 'flush', effect: { kind: 'error' } });
  await refuses(() => log.sync(), 'ERR_MPOOL_FAILED');
  await pool.close({ force: true }).catch(() => {});
  const again = await openHere(host);
  const found = await again.mlogs.open(log.id);
  assert.deepEqual(await texts(found.records()), ['in a cache'], 'the cache still has it');
  await found.append('built upon it', { sync: true });
  const after = await openHere(host.crash());
  const last = await after.mlogs.open(log.id);
  assert.deepEqual(await texts(last.records()), ['in a cache', 'built upon it']);
  await after.close({ force: true });
});
