// Goal: devices that fail and say so lose nothing acknowledged, leak nothing, and are never believed again
// where they must not be (I10).
// Method: one fault at each place of a tour of the pool, in turn; then what is left is read without faults,
// as it is and after a power cut.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { noneSurvive, type FaultRule, type SimHost } from '../../src/testing/index.ts';
import { PoolModel } from './model.ts';
import { MIB, Rig } from './rig.ts';
import { newPool, SEED } from './sweep.ts';
import { prepareTour, tour } from './tour.ts';
import { closeClean, verifyPool } from './verify.ts';

/** Every how-manieth place: SIM_EVERY=1 for all. */
const EVERY = Number(process.env['SIM_EVERY'] ?? 3);

async function prepared(sectorBytes: 512 | 4096): Promise<{ host: SimHost; model: PoolModel }> {
  const { host, model } = await newPool({}, sectorBytes);
  const rig = await Rig.open(host, model);
  await prepareTour(rig);
  await closeClean(rig);
  return { host, model };
}

interface Ran {
  hits: number;
  errors: number;
}

/** One fault, on the way from opening the pool to closing it. */
async function runWith(rule: FaultRule, host: SimHost, model: PoolModel): Promise<Ran> {
  const fault = host.addFault(rule);
  let errors = 0;
  try {
    const rig = await Rig.open(host, model);
    errors += (await tour(rig)).length;
    await rig.close().catch((error: unknown) => {
      assert.ok(isMpoolError(error), String(error));
      errors += 1;
    });
  } catch (error) {
    if (!isMpoolError(error)) throw error;
    errors += 1;
  }
  assert.equal(host.inFlightCount, 0, 'nothing is in flight after close');
  assert.equal(host.liveBufferCount, 0, 'every buffer is given back after a fault');
  const { hits } = fault;
  host.clearFaults();
  return { hits, errors };
}

const RULES: [name: string, rule: FaultRule, mayPass?: true][] = [
  ['a write fails', { op: 'write', effect: { kind: 'error' } }],
  ['a write fails and landed', { op: 'write', effect: { kind: 'error', lands: 'all' } }],
  ['a write fails and landed in part', { op: 'write', effect: { kind: 'error', lands: 'some' } }],
  ['writes fail for ever', { op: 'write', times: Infinity, effect: { kind: 'error' } }],
  ['no space', { op: 'write', effect: { kind: 'error', errno: 'ENOSPC' } }],
  ['a flush fails', { op: 'flush', effect: { kind: 'error' } }],
  ['flushes fail for ever', { op: 'flush', times: Infinity, effect: { kind: 'error' } }],
  ['a read fails', { op: 'read', effect: { kind: 'error' } }],
  ['reads fail for ever', { op: 'read', times: Infinity, effect: { kind: 'error' } }],
  ['a write is late', { op: 'write', effect: { kind: 'delay', delayMs: 50 } }, true],
  ['discards fail', { op: 'discard', times: Infinity, effect: { kind: 'error' } }, true],
];

for (const [index, [name, rule, mayPass]] of RULES.entries()) {
  test(`${name}, at each place of a tour`, async (t) => {
    const { host, model } = await prepared(index % 2 === 0 ? 512 : 4096);
    let places = 0;
    let failures = 0;
    const first = rule.op === 'write' ? 1 + (SEED % EVERY) : 1;
    for (let nth = first; ; nth += rule.op === 'flush' ? 1 : EVERY) {
      const place = `nth ${nth} (SEED=${SEED})`;
      const faulty = host.clone();
      const faultyModel = model.clone();
      const { hits, errors } = await runWith({ ...rule, nth }, faulty, faultyModel);
      if (hits === 0) break;
      places += 1;
      failures += errors;
      try {
        await verifyPool(faulty.clone(), faultyModel.clone(), { goOn: nth % 2 === 0 });
        await verifyPool(faulty.crash({ survivors: noneSurvive }), faultyModel, { goOn: false });
      } catch (error) {
        throw new Error(`${place}: ${String(error)}`, { cause: error });
      }
      if (rule.op === 'discard') break;
    }
    t.diagnostic(`${places} places, ${failures} errors`);
    assert.ok(places > (rule.op === 'discard' ? 0 : 5), 'there were places for the fault');
    if (mayPass === undefined) assert.ok(failures >= places / 2, 'faults are seen');
    else assert.equal(failures, 0, 'it does no harm');
  });
}

test('there is no memory, at each place of a tour: errors, and nothing lost', async (t) => {
  for (const [index, times] of [1, 3, 100_000].entries()) {
    const { host, model } = await prepared(index === 1 ? 4096 : 512);
    let places = 0;
    let failures = 0;
    for (let nth = 1 + (SEED % EVERY); ; nth += EVERY) {
      const faulty = host.clone();
      const faultyModel = model.clone();
      const left = faulty.failAllocations(nth, times);
      let errors = 0;
      try {
        const rig = await Rig.open(faulty, faultyModel);
        errors += (await tour(rig)).length;
        await rig.close().catch((error: unknown) => {
          assert.ok(isMpoolError(error), String(error));
          errors += 1;
        });
      } catch (error) {
        if (!isMpoolError(error)) throw error;
        errors += 1;
      }
      if (left() === times) break;
      places += 1;
      failures += errors;
      try {
        assert.equal(faulty.inFlightCount, 0);
        faulty.clearFaults();
        assert.equal(faulty.liveBufferCount, 0, 'what there was is given back');
        await verifyPool(faulty.clone(), faultyModel.clone(), { goOn: nth % 2 === 0 });
        await verifyPool(faulty.crash({ survivors: noneSurvive }), faultyModel, { goOn: false });
      } catch (error) {
        throw new Error(`${times} from ${nth} on (SEED=${SEED})`, { cause: error });
      }
    }
    t.diagnostic(`${times} at a time: ${places} places, ${failures} errors`);
    assert.ok(places > 5 && failures >= places / 2);
  }
});

test('a failed flush is never forgotten: no later commit or sync is acknowledged', async () => {
  const { host, model } = await prepared(512);
  const rig = await Rig.open(host, model);
  const log = await rig.newMlog();
  const other = await rig.newMlog();
  await rig.append(log, 'durable', true);
  await rig.append(other, 'durable, too', true);
  const [one, two] = [await rig.alloc(), await rig.alloc()];
  await rig.write(one, 5000);
  await rig.write(two, 6000);
  await rig.append(log, 'lost');
  await (await rig.log(log)).reader().next();
  await rig.append(other, 'lost, too');
  await (await rig.log(other)).reader().next();
  host.addFault({ op: 'flush', effect: { kind: 'error' } });
  const failed = await rig.commit([one]).catch((error: unknown) => error);
  assert.ok(isMpoolError(failed), 'the commit fails');
  const next = await rig.commit([two]).catch((error: unknown) => error);
  assert.ok(isMpoolError(next, 'ERR_MPOOL_FAILED'), 'and each one after it');
  assert.equal((next.cause as Error).message, failed.message, 'with the first cause');
  await assert.rejects(rig.sync(log), { code: 'ERR_MPOOL_FAILED' });
  await assert.rejects(rig.sync(other), { code: 'ERR_MPOOL_FAILED' });
  await assert.rejects(rig.sync(log), { code: 'ERR_MPOOL_FAILED' });
  assert.equal((await rig.pool.info()).health, 'faulted');
  const [old] = model.idsOf('mblock');
  const oldId = old as Parameters<typeof rig.pool.mblocks.read>[0];
  assert.equal((await rig.pool.mblocks.read(oldId, 0, 10)).length, 10, 'reads go on');
  await one.abort();
  await rig.close().catch(() => {});
  assert.equal(host.liveBufferCount, 0);
  host.clearFaults();
  await verifyPool(host.crash(), model);
});

test('a commit in doubt is not harmed by what follows: it is there or not, never half', async () => {
  for (const lands of ['none', 'all'] as const) {
    const { host, model } = await prepared(512);
    const rig = await Rig.open(host, model);
    const mblock = await rig.alloc();
    await rig.write(mblock, 9000);
    host.addFault({ op: 'write', durability: 'durable', effect: { kind: 'error', lands } });
    await assert.rejects(rig.commit([mblock]));
    await mblock.abort();
    await host.clock.advance(3000);
    await rig.close();
    host.clearFaults();
    const id = mblock.id as bigint;
    await verifyPool(host.clone(), model);
    assert.equal(model.objects.has(id), lands === 'all', 'it is what media says');
  }
});

test('a compaction whose deciding write fails takes nothing acknowledged with it', async () => {
  // Writes that are durable by themselves: the frames of the target, its header, the old header.
  for (const nth of [1, 2, 3]) {
    for (const lands of ['none', 'all'] as const) {
      const { host, model } = await prepared(512);
      const rig = await Rig.open(host, model);
      const { root } = model;
      await rig.append(root, 'kept', true);
      await rig.startCompaction(root);
      await rig.append(root, 'compacted');
      host.addFault({ op: 'write', durability: 'durable', nth, effect: { kind: 'error', lands } });
      await assert.rejects(rig.endCompaction(root));
      // Each of these may be refused; what is acknowledged must be there later.
      await rig.cancelCompaction(root).catch(() => {});
      const versions = model.logs.get(root)!.versions;
      const mdc = await rig.mdc(root);
      const acknowledged = await mdc.append('more', { sync: true }).then(
        () => true,
        () => false,
      );
      if (acknowledged) {
        for (const version of versions) version.records.push(Buffer.from('more'));
        for (const version of versions) version.durable = version.records.length;
      }
      await rig.close().catch(() => {});
      host.clearFaults();
      await verifyPool(host.crash(), model);
    }
  }
});

test('commits waiting behind a metadata compaction that fails are not acknowledged and lost', async () => {
  for (const nth of [1, 2, 3, 4]) {
    for (const lands of ['none', 'all'] as const) {
      const { host, model } = await prepared(512);
      const rig = await Rig.open(host, model);
      const mblocks = await Promise.all([1, 2, 3].map(() => rig.alloc()));
      for (const mblock of mblocks) await rig.write(mblock, 4096);
      host.addFault({ op: 'write', durability: 'durable', nth, effect: { kind: 'error', lands } });
      const compacting = rig.store.catalog.log.compact().catch(() => {});
      await Promise.allSettled(mblocks.map((mblock) => rig.commit([mblock])));
      await compacting;
      await rig.close().catch(() => {});
      host.clearFaults();
      await verifyPool(host.crash(), model);
    }
  }
});

test('a late write of a failed compaction never meets the next one', async () => {
  const { host, model } = await prepared(512);
  const rig = await Rig.open(host, model);
  const id = await rig.newMdc(2 * MIB);
  await rig.startCompaction(id);
  const late = host.addFault({ op: 'write', nth: 2, times: 2, effect: { kind: 'hold' } });
  host.addFault({ op: 'write', effect: { kind: 'error' } });
  const mdc = await rig.mdc(id);
  const long = Buffer.alloc(250_000, 'x');
  const appends = [mdc.append(long), mdc.append(long), mdc.append(long)];
  await Promise.allSettled([...appends, mdc.sync()]);
  const cancelled = mdc.cancelCompaction();
  await host.clock.advance(100);
  let ended = false;
  void cancelled.then(() => (ended = true));
  await host.clock.advance(10);
  assert.ok(late.hits > 0, 'a write is late');
  assert.ok(!ended, 'it ends when its writes have');
  late.release();
  await cancelled;
  model.logs.get(id)!.cancelCompaction();
  host.clearFaults();
  await rig.compact(id, ['anew']);
  await closeClean(rig);
  await verifyPool(host.crash(), model);
});
