// Goal: a pool that failed because MDC 1 lost something writes nothing to MDC 1 any more, and whole logs can be
//   read. Method: a log goes back, is told of, and comes again; the pool fails in between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import { activate } from '../../src/pool/activate.ts';
import { StoreMlogs } from '../../src/pool/mlogs.ts';
import { A, B, freshPool, openHere, MIB, texts } from './pool-host.ts';

/** A pool that remembers a loss of a log which is whole again. */
async function withOldLoss() {
  const { host, pool } = await freshPool({ sizeBytes: 32 * MIB, stagingBytes: 16 * MIB });
  const k = await pool.mlogs.alloc({ capacityBytes: 65536, mediaClass: 'staging' });
  await k.commit();
  const log = await pool.mlogs.open(k.id);
  await log.append('one', { sync: true });
  const old = host.disk(B).bytes(0, host.disk(B).sizeBytes);
  await log.append('two', { sync: true });
  await log.close();
  await pool.close();
  const right = host.disk(B).bytes(0, host.disk(B).sizeBytes);
  host.disk(B).poke(0, old);
  const p2 = await openHere(host);
  assert.equal((await p2.info()).lostCount, 1);
  await p2.close();
  host.disk(B).poke(0, right);
  const store = await activate(host.environment, {
    capacityPath: A,
    stagingPaths: [B],
    readOnly: false,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: undefined,
  });
  return { host, store, id: k.id };
}

test('after MDC 1 lost something no frame goes to it', async () => {
  const { store, id } = await withOldLoss();
  store.lostWrites.lostMetadata('MDC 1 is short');
  const before = store.catalog.log.frameCount;
  const log = await new StoreMlogs(store).open(id);
  assert.deepEqual(await texts(log.records()), ['one', 'two']);
  assert.equal(store.catalog.log.frameCount, before, 'MDC 1 was appended to by a failed pool');
});

test('after a write to MDC 1 failed a log that is whole again can be read', async () => {
  const { host, store, id } = await withOldLoss();
  const fault = host.addFault({ op: 'write', disk: A, effect: { kind: 'error' } });
  await store.catalog.recordLosses([...store.catalog.losses.values()]).catch(() => {});
  assert.equal(fault.hits, 1);
  assert.ok(store.failure instanceof MpoolError);
  const log = await new StoreMlogs(store).open(id);
  assert.deepEqual(await texts(log.records()), ['one', 'two']);
});
