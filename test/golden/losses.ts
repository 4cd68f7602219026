/** A staging device that only pretends to flush: what it then lost, and what came back. */
import type { Pool } from '../../src/pool/api.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { placeOfObject } from '../../src/pool/user-log.ts';
import { verifyNewest } from '../../src/pool/verify-newest.ts';
import { noneSurvive, type SimHost } from '../../src/testing/index.ts';
import { bytesOf, newLog, type OpenStore, openStore, STAGING } from './structures.ts';

/**
 * The tails of two logs and an mblock are acknowledged and lost, and MDC 1 says so; one of the logs then has its
 * tail again.
 * @param pool of `host`, whose power is cut
 * @returns the machine after that, with the pool open
 */
export async function loseTails(host: SimHost, pool: Pool): Promise<OpenStore & { host: SimHost }> {
  const lostId = await newLog(pool, 64 * 1024, 'staging');
  const mendedId = await newLog(pool, 64 * 1024, 'staging');
  const lost = await pool.mlogs.open(lostId);
  const mended = await pool.mlogs.open(mendedId);
  await lost.append('stays', { sync: true });
  await mended.append('stays, too', { sync: true });
  host.addFault({ op: 'flush', disk: STAGING, times: Infinity, effect: { kind: 'lost' } });
  const effect = { kind: 'volatile' } as const;
  host.addFault({ op: 'write', disk: STAGING, durability: 'durable', times: Infinity, effect });
  await lost.append('is lost', { sync: true });
  await mended.append('comes back', { sync: true });
  const mblock = await pool.mblocks.alloc({ mediaClass: 'staging' });
  await mblock.write(bytesOf(9000, 10));
  await mblock.commit();
  // Its frame in MDC 1 carries the marks of both.
  await newLog(pool, 64 * 1024);

  const whole = host.clone();
  const after = host.crash({ survivors: noneSurvive });
  await pool.close({ force: true }).catch(() => {});
  const opened = await openStore(after);
  const { store } = opened;
  await verifyNewest(store, Infinity);
  const { extent } = placeOfObject(store, store.indexOf(mendedId), mendedId);
  const from = extent.pageAddress * PAGE_BYTES;
  after.disk(STAGING).poke(from, whole.disk(STAGING).bytes(from, extent.pageCount * PAGE_BYTES));
  await (await opened.pool.mlogs.open(mendedId)).close();
  return { ...opened, host: after };
}
