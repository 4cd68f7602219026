// Goal: a device that went back behind what it acknowledged is found out: by the logs of the other device, by marks, by
//   the data of the newest objects. What was lost is told, remembered, and accepted only when that is said.
// Method: disks of a simulated machine are rolled back to an earlier content, after clean stops and power cuts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { isMpoolError } from '../../src/base/errors.ts';
import { printObjectId, type MlogId } from '../../src/format/object-id.ts';
import type { LocalPool, OpenOptions } from '../../src/pool/api.ts';
import { checkPoolAt } from '../../src/pool/inspect.ts';
import { openPool } from '../../src/pool/open.ts';
import { repairPoolAt, type RepairOptions } from '../../src/pool/repair.ts';
import { allSurvive, SimHost } from '../../src/testing/index.ts';
import { A, B, closeClean, freshPool, HERE, MIB, NAME, refuses } from './pool-host.ts';

interface Made {
  host: SimHost;
  pool: LocalPool;
  onStaging: MlogId;
  onCapacity: MlogId;
}

function open(host: SimHost, options: OpenOptions = {}): Promise<LocalPool> {
  return openPool(host.environment, NAME, options, HERE);
}

function repair(host: SimHost, options: RepairOptions = {}) {
  return repairPoolAt(host.environment, NAME, HERE, options);
}

async function newLog(pool: LocalPool, mediaClass: 'capacity' | 'staging'): Promise<MlogId> {
  const allocation = await pool.mlogs.alloc({ capacityBytes: 64 * 1024, mediaClass });
  await allocation.commit();
  return allocation.id;
}

async function newMblock(pool: LocalPool, mediaClass: 'capacity' | 'staging', bytes = 20_000) {
  const mblock = await pool.mblocks.alloc({ mediaClass });
  await mblock.write(new Uint8Array(bytes).fill(Number(mblock.id >> 12n)));
  await mblock.commit();
  return mblock.id;
}

async function appendTo(pool: LocalPool, id: MlogId, ...records: string[]): Promise<void> {
  const log = await pool.mlogs.open(id);
  for (const record of records) await log.append(record, { sync: true });
  await log.close();
}

async function recordsOf(pool: LocalPool, id: MlogId): Promise<string[]> {
  const log = await pool.mlogs.open(id);
  const found: string[] = [];
  for await (const record of log.records()) found.push(Buffer.from(record).toString());
  await log.close();
  return found;
}

/** A pool on two devices with a log on each, closed once and open again. */
async function made(): Promise<Made> {
  const first = await freshPool({ sizeBytes: 32 * MIB, stagingBytes: 16 * MIB });
  const pool = first.pool as LocalPool;
  assert.equal((await pool.info()).recovery.unclean, false, 'a new pool is as it was made');
  const onStaging = await newLog(pool, 'staging');
  const onCapacity = await newLog(pool, 'capacity');
  await appendTo(pool, onStaging, 'one');
  await appendTo(pool, onCapacity, 'one');
  await closeClean(first);
  const again = await open(first.host);
  const { recovery } = await again.info();
  assert.deepEqual([recovery.unclean, recovery.verifiedLogs], [false, 3], 'as it was closed');
  return { host: first.host, pool: again, onStaging, onCapacity };
}

function contentOf(host: SimHost, path: string): Uint8Array {
  const disk = host.disk(path);
  return disk.bytes(0, disk.sizeBytes);
}

async function problemsOf(host: SimHost): Promise<string[]> {
  const { findings } = await checkPoolAt(host, NAME, HERE, {});
  return findings.filter(({ severity }) => severity !== 'note').map(({ message }) => message);
}

test('a staging device that is older, after a clean stop: its logs say what they lost', async () => {
  const { host, pool, onStaging, onCapacity } = await made();
  const old = contentOf(host, B);
  await appendTo(pool, onStaging, 'two', 'three');
  await appendTo(pool, onCapacity, 'two');
  await closeClean({ host, pool });
  const right = contentOf(host, B);
  host.disk(B).poke(0, old);

  const told = new RegExp(
    `^log ${printObjectId(onStaging)}: /dev/b acknowledged bytes \\d+ to \\d+ of generation 1`,
  );
  let again = await open(host);
  assert.equal((await again.info()).recovery.unclean, true, 'a look at the newest logs tells');
  await refuses(() => again.mlogs.open(onStaging), 'ERR_MPOOL_CORRUPT', told);
  assert.deepEqual(await recordsOf(again, onCapacity), ['one', 'two']);
  await newMblock(again, 'capacity');
  const { lost, lostCount, recovery } = await again.info();
  assert.equal(recovery.lostObjects, 1);
  assert.deepEqual([lost.map(({ object }) => object), lostCount], [[printObjectId(onStaging)], 1]);
  await closeClean({ host, pool: again });

  again = await open(host);
  assert.deepEqual((await again.info()).lost, lost, 'it is remembered');
  await closeClean({ host, pool: again });
  const [problem] = await problemsOf(host);
  assert.match(problem!, /the device acknowledged bytes \d+ to \d+ of generation 1 and lost them/);

  // The right device is found.
  const other = host.clone();
  other.disk(B).poke(0, right);
  assert.match((await problemsOf(other)).join(), /they are there now, and repair forgets the loss/);
  const mended = await repair(other);
  assert.deepEqual([mended.clean, mended.steps.length, mended.withheld.length], [true, 1, 0]);
  again = await open(other);
  assert.deepEqual((await again.info()).lost, []);
  assert.deepEqual(await recordsOf(again, onStaging), ['one', 'two', 'three']);
  await closeClean({ host: other, pool: again });

  // Without repair a log that opens is whole again.
  const simply = host.clone();
  simply.disk(B).poke(0, right);
  again = await open(simply);
  assert.equal((await again.info()).lostCount, 1);
  assert.deepEqual(await recordsOf(again, onStaging), ['one', 'two', 'three']);
  assert.equal((await again.info()).lostCount, 0);
  await closeClean({ host: simply, pool: again });
  assert.deepEqual(await problemsOf(simply), []);

  // It is not: the loss is accepted.
  const withheld = await repair(host);
  assert.deepEqual([withheld.steps, withheld.clean], [[], false]);
  assert.match(
    withheld.withheld[0]!.losses[0]!,
    /^what was acknowledged in bytes \d+ to \d+ of generation 1/,
  );
  const forced = await repair(host, { force: true });
  assert.deepEqual([forced.clean, forced.withheld], [true, []]);
  assert.deepEqual((await repair(host)).steps, []);
  again = await open(host);
  assert.deepEqual(await recordsOf(again, onStaging), ['one']);
  await appendTo(again, onStaging, 'two, again');
  assert.deepEqual((await again.info()).lostCount, 0);
  await closeClean({ host, pool: again });
  assert.deepEqual(await problemsOf(host), []);
});

test('a staging device that is older, after a power cut: known before anything is used', async () => {
  const { host, pool, onStaging } = await made();
  const old = contentOf(host, B);
  await appendTo(pool, onStaging, 'two');
  const mblock = await newMblock(pool, 'staging');
  const image = host.crash({ survivors: allSurvive });
  await pool.close({ force: true }).catch(() => {});
  image.disk(B).poke(0, old);
  for (const readOnly of [true, false]) {
    const before = image.operationCount;
    const again = await open(image, { readOnly });
    const { recovery, lost } = await again.info();
    if (readOnly) assert.equal(image.operationCount, before, 'nothing is written');
    assert.deepEqual(
      [recovery.unclean, recovery.lostObjects, recovery.verifiedObjects],
      [true, 2, 1],
    );
    const objects = [printObjectId(mblock), printObjectId(onStaging)].toSorted();
    assert.deepEqual(lost.map(({ object }) => object).toSorted(), objects);
    await refuses(() => again.mlogs.open(onStaging), 'ERR_MPOOL_CORRUPT');
    await refuses(() => again.mblocks.read(mblock, 0, 100), 'ERR_MPOOL_CHECKSUM');
    await closeClean({ host: image, pool: again });
  }
  // What is deleted is lost no more.
  const again = await open(image);
  await again.mblocks.delete([mblock]);
  await again.mlogs.delete([onStaging]);
  assert.equal((await again.info()).lostCount, 0);
  await closeClean({ host: image, pool: again });
  assert.deepEqual(await problemsOf(image), []);
});

test('an MDC that lost a compaction does not open with its old content', async () => {
  const { host, pool } = await made();
  const allocation = await pool.mdcs.alloc({ capacityBytes: 64 * 1024, mediaClass: 'staging' });
  await allocation.commit();
  const { id } = allocation;
  let mdc = await pool.mdcs.open(id);
  await mdc.append('before', { sync: true });
  // With a mark of log A; then one of log B.
  await newMblock(pool, 'capacity');
  const old = contentOf(host, B);
  await mdc.compact(['compacted']);
  await newMblock(pool, 'capacity');
  const image = host.crash({ survivors: allSurvive });
  await pool.close({ force: true }).catch(() => {});
  image.disk(B).poke(0, old);
  let again = await open(image);
  const told = /generation 2 was begun, and its header is of generation 1/;
  await refuses(() => again.mdcs.open(id), 'ERR_MPOOL_CORRUPT', told);
  await closeClean({ host: image, pool: again });
  const forced = await repair(image, { force: true });
  assert.deepEqual([forced.clean, forced.withheld], [true, []]);
  assert.deepEqual((await repair(image)).steps, []);
  again = await open(image);
  mdc = await again.mdcs.open(id);
  const records: string[] = [];
  for await (const record of mdc.records()) records.push(Buffer.from(record).toString());
  assert.deepEqual(records, ['before']);
  await mdc.append('after', { sync: true });
  await mdc.close();
  assert.equal((await again.info()).lostCount, 0);
  await closeClean({ host: image, pool: again });
  assert.deepEqual(await problemsOf(image), []);
});

for (const clean of [true, false]) {
  const when = clean ? 'a clean stop' : 'a power cut';
  test(`a capacity device that is older, after ${when}: nothing is written to the pool`, async () => {
    const { host, pool, onStaging } = await made();
    const before = await newMblock(pool, 'capacity');
    const old = contentOf(host, A);
    const after = await newMblock(pool, 'capacity');
    await appendTo(pool, onStaging, 'two');
    let image = host;
    if (clean) await closeClean({ host, pool });
    else image = host.crash({ survivors: allSurvive });
    await pool.close({ force: true }).catch(() => {});
    image.disk(A).poke(0, old);

    const told =
      /MDC 1: \/dev\/a acknowledged bytes \d+ to \d+ of generation 1 .*on \/dev\/b bears witness/;
    await refuses(() => open(image), 'ERR_MPOOL_CORRUPT', told);
    assert.equal(image.liveBufferCount, 0);
    const reader = await open(image, { readOnly: true });
    assert.equal((await reader.info()).recovery.unclean, true);
    assert.equal((await reader.mblocks.read(before, 0, 10)).length, 10);
    await closeClean({ host: image, pool: reader });

    const withheld = await repair(image);
    assert.equal(withheld.clean, false);
    assert.match(
      withheld.withheld[0]!.message,
      /^MDC 1 is written anew .* the device lost bytes up to \d+ of it/,
    );
    const forced = await repair(image, { force: true });
    assert.deepEqual([forced.clean, forced.withheld], [true, []]);
    const again = await open(image);
    await refuses(() => again.mblocks.find(after), 'ERR_MPOOL_NOT_FOUND');
    const next = await newMblock(again, 'capacity');
    assert.ok(next > after, 'no id is used twice');
    assert.deepEqual(await recordsOf(again, onStaging), ['one', 'two']);
    await closeClean({ host: image, pool: again });
    assert.deepEqual(await problemsOf(image), []);
  });
}

test('how much data is verified is a choice', async () => {
  const { host, pool } = await made();
  for (let i = 0; i < 5; i++) await newMblock(pool, 'capacity', 100_000);
  const image = host.crash({ survivors: allSurvive });
  await pool.close({ force: true }).catch(() => {});
  const verified = async (verifyBytes?: number): Promise<number> => {
    const again = await open(image.clone(), { readOnly: true, verifyBytes });
    const { recovery } = await again.info();
    await again.close();
    assert.equal(recovery.unclean, true);
    return recovery.verifiedObjects;
  };
  assert.deepEqual([await verified(0), await verified(250_000)], [0, 2]);
  assert.deepEqual([await verified(Infinity), await verified()], [5, 5]);
  for (const verifyBytes of [-1, 0.5, Number.NaN]) {
    await assert.rejects(open(image, { verifyBytes }), RangeError);
  }
});

test('read errors, and reads of another sector, are no loss', async () => {
  const { host, pool, onStaging } = await made();
  await appendTo(pool, onStaging, 'two', 'three');
  await newMblock(pool, 'staging');
  const image = host.crash({ survivors: allSurvive });
  await pool.close({ force: true }).catch(() => {});
  let tried = 0;
  for (const kind of ['error', 'flip', 'misdirected'] as const) {
    for (let nth = 1; ; nth++) {
      const copy = image.clone();
      const fault = copy.addFault({ op: 'read', disk: B, nth, effect: { kind } });
      try {
        const again = await open(copy);
        assert.equal((await again.info()).lostCount, 0, `${kind} of read ${nth}`);
        await again.close();
      } catch (error) {
        assert.ok(isMpoolError(error), String(error));
      }
      if (fault.hits === 0) break;
      tried += 1;
      const later = await open(copy);
      assert.equal((await later.info()).lostCount, 0, `${kind} of read ${nth} leaves no trace`);
      await closeClean({ host: copy, pool: later });
    }
  }
  assert.ok(tried > 10);
});

test('a wrong read of a log that has no mark yet does not shorten it', async () => {
  const { host, pool } = await made();
  const id = await newLog(pool, 'staging');
  await appendTo(pool, id, 'one', 'two', 'three');
  let tried = 0;
  for (const kind of ['stale', 'misdirected'] as const) {
    for (let nth = 1; ; nth++) {
      const fault = host.addFault({ op: 'read', disk: B, nth, effect: { kind } });
      try {
        const log = await pool.mlogs.open(id);
        assert.equal(log.recordCount, 3, `${kind}, read ${nth}`);
        await log.close();
      } catch (error) {
        if (!isMpoolError(error)) throw error;
      }
      fault.remove();
      if (fault.hits === 0) break;
      tried += 1;
    }
  }
  assert.ok(tried > 4);
  await closeClean({ host, pool });
});

test('a pool of before bears no witness, and expects none', async () => {
  const host = new SimHost({ seed: 3, keepTrace: false });
  for (const [path, file] of [
    [A, 'capacity'],
    [B, 'staging'],
  ] as const) {
    const bytes = gunzipSync(readFileSync(`test/golden/format-2/${file}.img.gz`));
    host.addDisk(path, { sizeBytes: bytes.length }).poke(0, bytes);
  }
  const where = { places: [], blockDevices: true };
  const again = (options: OpenOptions = {}): Promise<LocalPool> =>
    openPool(host.environment, 'golden', options, where);
  let pool = await again();
  for await (const { id } of pool.mlogs.list()) await appendTo(pool, id, 'more', 'and more');
  await newMblock(pool, 'staging');
  await pool.close();
  const findings = await checkPoolAt(host, 'golden', where, { data: true });
  assert.deepEqual(findings.findings, []);
  // As ever: a log that ends earlier is a log that ends earlier.
  const old = contentOf(host, B);
  pool = await again();
  const { recovery, lost } = await pool.info();
  assert.deepEqual([recovery.unclean, recovery.verifiedLogs, lost], [false, 0, []]);
  await newMblock(pool, 'staging');
  await pool.close();
  host.disk(B).poke(0, old);
  pool = await again();
  assert.equal((await pool.info()).recovery.unclean, false);
  await pool.close();
});
