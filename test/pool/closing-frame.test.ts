// Goal: a closing frame that only a cache has is not vouched for. Method: its durable write fails, the cache shows it
//   and will never write it (LWN, 'PostgreSQL's fsync() surprise', 2018); the pool is reopened, used, and the power goes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flushAsync } from '../../src/device/device.ts';
import { noneSurvive, type SimHost } from '../../src/testing/index.ts';
import { A, freshPool, openHere, texts } from './pool-host.ts';

async function doom(host: SimHost): Promise<void> {
  const device = await host.openDevice(A, { access: 'write' });
  const fault = host.addFault({ op: 'flush', disk: A, effect: { kind: 'error' } });
  await flushAsync(device).catch(() => {});
  fault.remove();
  await device.close();
}

test('of a log', async () => {
  const { host, pool } = await freshPool();
  const a = await pool.mlogs.alloc({ capacityBytes: 65536 });
  await a.commit();
  const log = await pool.mlogs.open(a.id);
  await log.append('one', { sync: true });
  const fault = host.addFault({ op: 'write', effect: { kind: 'error', lands: 'all' } });
  await assert.rejects(log.close(), { code: 'ERR_MPOOL_FAILED' });
  assert.equal(fault.hits, 1);
  await pool.close({ force: true }).catch(() => {});
  await doom(host);
  const again = await openHere(host);
  const log2 = await again.mlogs.open(a.id);
  await log2.append('two', { sync: true });
  const image = host.crash({ survivors: noneSurvive });
  const third = await openHere(image);
  assert.deepEqual((await third.info()).lost, []);
  assert.deepEqual(await texts((await third.mlogs.open(a.id)).records()), ['one', 'two']);
});

test('of MDC 1', async () => {
  const { host, pool } = await freshPool();
  const m = await pool.mblocks.alloc({});
  await m.write(new Uint8Array(5000));
  await m.commit();
  const fault = host.addFault({
    op: 'write',
    effect: { kind: 'error', lands: 'all' },
    times: Infinity,
  });
  await assert.rejects(pool.close());
  assert.ok(fault.hits > 0);
  fault.remove();
  await doom(host);
  const again = await openHere(host);
  const n = await again.mblocks.alloc({});
  await n.write(new Uint8Array(5000));
  await n.commit();
  const image = host.crash({ survivors: noneSurvive });
  const third = await openHere(image);
  assert.equal((await third.mblocks.read(n.id, 0, 10)).length, 10);
});
