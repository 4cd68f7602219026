// Goal: MDC 1 that lost a commit is told of when a surviving log bears witness of it. Method: the capacity device goes back
//   behind a commit; a log on staging that had no mark yet says so, but is opened only later.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pool } from '../../src/pool/api.ts';
import { allSurvive, type SimHost } from '../../src/testing/index.ts';
import { A, freshPool, openHere, MIB } from './pool-host.ts';

async function isRefused(host: SimHost): Promise<boolean> {
  return openHere(host).then(
    () => false,
    (error: { code: string; message: string }) => {
      assert.equal(error.code, 'ERR_MPOOL_CORRUPT');
      assert.match(
        error.message,
        /MDC 1: .* acknowledged bytes .* lost them .* bears witness of it/,
      );
      return true;
    },
  );
}

async function commitOne(pool: Pool): Promise<void> {
  const mblock = await pool.mblocks.alloc();
  await mblock.write(new Uint8Array(5000));
  await mblock.commit();
}

test('the log that knows has no mark yet', async () => {
  const { host, pool } = await freshPool({ sizeBytes: 32 * MIB, stagingBytes: 16 * MIB });
  const a = await pool.mlogs.alloc({ capacityBytes: 65536, mediaClass: 'staging' });
  await a.commit();
  const log = await pool.mlogs.open(a.id);
  await log.append('one', { sync: true });
  const old = host.disk(A).bytes(0, host.disk(A).sizeBytes);
  await commitOne(pool);
  await log.append('two', { sync: true });
  const image = host.crash({ survivors: allSurvive });
  image.disk(A).poke(0, old);
  assert.ok(await isRefused(image), 'before a commit can grow over the place');
});

test('after a clean stop, the log that knows has not been used for long', async () => {
  const { host, pool } = await freshPool({ sizeBytes: 32 * MIB, stagingBytes: 16 * MIB });
  const a = await pool.mlogs.alloc({ capacityBytes: 65536, mediaClass: 'staging' });
  await a.commit();
  const log = await pool.mlogs.open(a.id);
  await log.append('one', { sync: true });
  await log.close();
  await commitOne(pool);
  for (let i = 0; i < 20; i++) {
    const b = await pool.mlogs.alloc({ capacityBytes: 65536 });
    await b.commit();
    const l = await pool.mlogs.open(b.id);
    await l.append('x', { sync: true });
    await l.close();
  }
  await pool.close();
  const old = host.disk(A).bytes(0, host.disk(A).sizeBytes);
  const again = await openHere(host);
  await commitOne(again);
  const log2 = await again.mlogs.open(a.id);
  await log2.append('two', { sync: true });
  await log2.close();
  await again.close();
  host.disk(A).poke(0, old);
  assert.ok(await isRefused(host), 'an acknowledged commit is gone');
});
