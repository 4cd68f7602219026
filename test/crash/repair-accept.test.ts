// Goal: repair -f that accepts losses, cut anywhere, can be run again and ends the same. Method: power cut at every operation.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allSurvive, sweepCrashes } from '../../src/testing/index.ts';
import type { MlogId } from '../../src/format/object-id.ts';
import { repairPoolAt } from '../../src/pool/repair.ts';
import { checkPoolAt } from '../../src/pool/inspect.ts';
import { tallySweep } from '../tally.ts';
import { A, B, freshPool, HERE, MIB, NAME, openHere, texts } from '../pool/pool-host.ts';

async function stale(which: 'A' | 'B', moves: boolean) {
  const { host, pool } = await freshPool({ sizeBytes: 32 * MIB, stagingBytes: 16 * MIB });
  const ids: MlogId[] = [];
  for (const mediaClass of ['staging', 'capacity'] as const) {
    const a = await pool.mlogs.alloc({ capacityBytes: 65536, mediaClass });
    await a.commit();
    ids.push(a.id);
    const log = await pool.mlogs.open(a.id);
    await log.append('one', { sync: true });
  }
  const mdc = await pool.mdcs.alloc({ capacityBytes: 65536, mediaClass: 'staging' });
  await mdc.commit();
  const d = await pool.mdcs.open(mdc.id);
  await d.append('before', { sync: true });
  const commit = async () => {
    const m = await pool.mblocks.alloc({});
    await m.write(new Uint8Array(5000));
    await m.commit();
    return m.id;
  };
  await commit();
  await commit();
  const path = which === 'B' ? B : A;
  const old = host.disk(path).bytes(0, host.disk(path).sizeBytes);
  await d.compact(['compacted']);
  for (const id of ids) await (await pool.mlogs.open(id)).append('two', { sync: true });
  await commit();
  await commit();
  if (moves) {
    const many = [];
    for (let i = 0; i < 300; i++) many.push(await pool.mlogs.alloc({ capacityBytes: 4096 }));
    for (const each of many) await each.commit();
  }
  for (const id of ids) await (await pool.mlogs.open(id)).append('three', { sync: true });
  const image = host.crash({ survivors: allSurvive });
  image.disk(path).poke(0, old);
  return { image, ids, mdc: mdc.id };
}

for (const which of ['A', 'B'] as const)
  for (const moves of [false, true])
    test(`device ${which} is an old copy${moves ? ', from before MDC 1 moved' : ''}`, async () => {
      const { image: start, ids, mdc } = await stale(which, moves);
      const result = await sweepCrashes<object>({
        seed: 1,
        maxCuts: 60,
        prepare: async () => start,
        context: () => ({}),
        async scenario(host) {
          await repairPoolAt(host.environment, NAME, HERE, { force: true });
        },
        async verify(image) {
          let host = image;
          const r = await repairPoolAt(host.environment, NAME, HERE, { force: true });
          assert.deepEqual([r.clean, r.withheld], [true, []], JSON.stringify(r));
          const again = await repairPoolAt(host.environment, NAME, HERE, { force: true });
          assert.deepEqual(again.steps, []);
          assert.equal(host.liveBufferCount, 0);
          for (let i = 0; i < 3; i++) {
            const pool = await openHere(host);
            const info = await pool.info();
            assert.deepEqual(info.lost, []);
            for (const id of ids) {
              const log = await pool.mlogs.open(id);
              const t = await texts(log.records());
              assert.ok(t[0] === 'one');
              await log.append('more', { sync: true });
            }
            const d = await pool.mdcs.open(mdc);
            await d.append('more', { sync: true });
            if (i === 1) await d.compact(['c']);
            const m = await pool.mblocks.alloc({});
            await m.write(new Uint8Array(5000));
            await m.commit();
            if (i === 0) await pool.close({ force: true });
            else host = host.crash();
          }
          const { findings } = await checkPoolAt(host, NAME, HERE, { data: true });
          assert.deepEqual(
            findings.filter(({ severity }) => severity !== 'note'),
            [],
          );
        },
      });
      tallySweep(result);
    });
