// Goal: activation believes only what is durable, finishes what a crash interrupted, writes nothing when it
// only reads, and lets go of everything when it refuses.
// Method: pools on a simulated machine; the order of operations in its trace.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { activate, type ActivateOptions } from '../../src/pool/activate.ts';
import { createPool } from '../../src/pool/create.ts';
import { SimHost } from '../../src/testing/index.ts';

const MIB = 2 ** 20;
const [CAPACITY, STAGING] = ['/dev/a', '/dev/b'];

async function pool(): Promise<SimHost> {
  const host = new SimHost({ seed: 4 });
  host.addDisk(CAPACITY, { sizeBytes: 8 * MIB });
  host.addDisk(STAGING, { sizeBytes: 8 * MIB });
  await createPool(host.environment, {
    name: 'p',
    capacity: { path: CAPACITY, mblockSizeBytes: MIB },
    staging: { path: STAGING, mblockSizeBytes: MIB },
  });
  return host;
}

const OPTIONS: ActivateOptions = {
  capacityPath: CAPACITY,
  stagingPaths: [STAGING],
  readOnly: false,
  force: false,
  engine: undefined,
  discard: true,
  checksumCacheBytes: undefined,
};

test('everything is flushed before any log is read and believed', async () => {
  const host = (await pool()).clone();
  const store = await activate(host.environment, OPTIONS);
  const { events } = host.trace;
  for (const disk of [CAPACITY, STAGING]) {
    const flushed = events.findIndex(
      (e) => e.op === 'flush' && e.phase === 'complete' && e.disk === disk,
    );
    assert.ok(flushed >= 0, `${disk} is flushed`);
    const logRead = events.findIndex(
      (e) =>
        e.op === 'read' &&
        e.disk === CAPACITY &&
        e.offsetBytes >= 32 * 4096 &&
        e.offsetBytes < 6 * MIB,
    );
    assert.ok(flushed < logRead, `${disk} is flushed before logs are read`);
  }
  await store.shutdown(false);
});

test('read-only activation and its end write, flush and discard nothing', async () => {
  const host = (await pool()).clone();
  // Something a read-write activation would repair.
  host.disk(CAPACITY).flipBit(16 * 4096 + 100);
  const before = host.operationCount;
  const store = await activate(host.environment, { ...OPTIONS, readOnly: true });
  assert.throws(() => store.assertWritable(), { code: 'ERR_MPOOL_READ_ONLY' });
  await store.shutdown(false);
  assert.equal(host.operationCount, before);
  assert.equal(host.liveBufferCount, 0);
});

test('activating twice finds the same, and the second time there is nothing left to repair', async () => {
  const host = await pool();
  host.disk(CAPACITY).flipBit(100);
  host.disk(STAGING).flipBit(16 * 4096 + 100);
  const writes = async (): Promise<number> => {
    const copy = host.trace.events.length;
    const store = await activate(host.environment, OPTIONS);
    const count = host.trace.events
      .slice(copy)
      .filter(({ op, phase }) => op === 'write' && phase === 'submit').length;
    await store.shutdown(false);
    return count;
  };
  // The closing frames of MDC 0 and 1 may be in a cache only: each time they are written once more.
  assert.equal(await writes(), 2 + 2, 'one copy on each device is repaired');
  assert.equal(await writes(), 2);
});

test('a read that fails anywhere in activation is refused, and gives everything back', async () => {
  const host = await pool();
  let places = 0;
  for (let nth = 1; ; nth++) {
    const image = host.clone();
    const fault = image.addFault({ op: 'read', nth, times: Infinity, effect: { kind: 'error' } });
    const result = await activate(image.environment, OPTIONS).catch((error: unknown) => error);
    if (fault.hits === 0) break;
    places += 1;
    if (isMpoolError(result)) assert.equal(image.liveBufferCount, 0, `read ${nth}`);
    else await (result as Awaited<ReturnType<typeof activate>>).shutdown(false);
    // Every claim is given back: it can be activated at once.
    image.clearFaults();
    await (await activate(image.environment, OPTIONS)).shutdown(false);
  }
  assert.ok(places > 15, `${places} places`);
});

test('a pool without its staging device: refused, or read-only by force', async () => {
  const host = await pool();
  host.pullDisk(STAGING);
  await assert.rejects(activate(host.environment, OPTIONS), { code: 'ERR_MPOOL_NO_DEVICE' });
  const store = await activate(host.environment, { ...OPTIONS, readOnly: true, force: true });
  assert.match(store.fault!, /staging/);
  assert.throws(() => store.mediaOf('staging'), { code: 'ERR_MPOOL_NO_DEVICE' });
  await store.shutdown(false);
  assert.equal(host.liveBufferCount, 0);
});

test('a device that shrank, a staging device by itself, and one of another pool are refused', async () => {
  const shrunk = (await pool()).clone();
  shrunk.disk(CAPACITY).resize(6 * MIB);
  await assert.rejects(activate(shrunk.environment, OPTIONS), { code: 'ERR_MPOOL_DEVICE_CHANGED' });
  const alone = { ...OPTIONS, capacityPath: STAGING, stagingPaths: [] };
  await assert.rejects(activate((await pool()).environment, alone), {
    code: 'ERR_MPOOL_NOT_FOUND',
  });
  const host = await pool();
  host.addDisk('/dev/c', { sizeBytes: 8 * MIB });
  host.addDisk('/dev/d', { sizeBytes: 8 * MIB });
  await createPool(host.environment, {
    name: 'q',
    capacity: { path: '/dev/c', mblockSizeBytes: MIB },
    staging: { path: '/dev/d', mblockSizeBytes: MIB },
  });
  host.pullDisk(STAGING);
  host.moveDisk('/dev/d', STAGING);
  await assert.rejects(activate(host.environment, OPTIONS), { code: 'ERR_MPOOL_NO_DEVICE' });
  assert.equal(host.liveBufferCount, 0);
});
