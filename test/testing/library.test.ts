// Goal: a user of the package can run pools on a simulated machine through the public doors alone.
// Method: the example of the door's own comment: create, cut the power, open what survived.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/index.ts';
import { noneSurvive, SimHost, simulatedLibrary } from '../../src/testing/index.ts';

test('a pool on a simulated machine survives a power cut', async () => {
  const host = new SimHost({ seed: 42 });
  host.addDisk('/dev/a', { sizeBytes: 64 * 2 ** 20 });
  const pool = await simulatedLibrary(host).create({ name: 'mp1', capacity: { path: '/dev/a' } });
  const kept = await pool.mblocks.alloc();
  await kept.write(Buffer.from('survives'));
  await kept.commit();
  host.cutPowerAfter(3);
  const lost = await pool.mblocks.alloc();
  await assert.rejects(
    lost.write(Buffer.alloc(4096)).then(() => lost.commit()),
    (error) => isMpoolError(error),
  );
  const after = simulatedLibrary(host.crash({ survivors: noneSurvive }));
  await using again = await after.open('mp1', { readOnly: true });
  const bytes = await again.mblocks.read(kept.id, 0, 8);
  assert.equal(Buffer.from(bytes).toString(), 'survives');
  assert.equal((await after.scan())[0]!.name, 'mp1');
  await assert.rejects(again.mblocks.find(lost.id), (error) =>
    isMpoolError(error, 'ERR_MPOOL_NOT_FOUND'),
  );
});
