// Goal: the records of a damaged log come through the daemon up to the damage, as they do without it.
// Method: a real daemon on a file with a bit turned in a frame of a log.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { pattern, refuses } from '../pool/pool-host.ts';
import { clientRig, damage, MIB, POOL } from './client-rig.ts';

test('of a damaged log the records up to the damage come through the daemon', async (t) => {
  const rig = await clientRig(t);
  let pool = await rig.daemon.open(POOL);
  const allocation = await pool.mlogs.alloc({ capacityBytes: MIB });
  await allocation.commit();
  const records = Array.from({ length: 40 }, (_, i) => Buffer.from(pattern(3000, i + 50)));
  {
    await using log = await pool.mlogs.open(allocation.id);
    for (const record of records) await log.append(record, { sync: true });
  }
  await pool.close();
  await damage(rig.path, records[20]!.subarray(0, 64), 9);
  pool = await rig.daemon.open(POOL);
  await refuses(() => pool.mlogs.open(allocation.id), 'ERR_MPOOL_CORRUPT');
  for (let i = 0; i < 2; i++) {
    await using log = await pool.mlogs.open(allocation.id, { salvage: true });
    assert.equal(log.recordCount, 20);
    const read: Uint8Array[] = [];
    await assert.rejects(
      async () => {
        for await (const record of log.records()) read.push(record);
      },
      (error) => isMpoolError(error, 'ERR_MPOOL_CORRUPT') && /number 21 on/.test(error.message),
    );
    assert.deepEqual(
      read.map((each) => Buffer.from(each)),
      records.slice(0, 20),
    );
    await refuses(() => log.append('x', { sync: true }), 'ERR_MPOOL_READ_ONLY');
  }
  await pool.close();
});
