// Goal: typed errors only. Method: absurd marks and losses in MDC 1; a frame with an absurd witness.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { activate } from '../../src/pool/activate.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { createPool } from '../../src/pool/create.ts';
import { checkPoolAt } from '../../src/pool/inspect.ts';
import { repairPoolAt } from '../../src/pool/repair.ts';
import type { LogMark } from '../../src/format/log-mark.ts';
import { halvesOfId, type MlogId } from '../../src/format/object-id.ts';
import { StoreMlogs } from '../../src/pool/mlogs.ts';
import { allSurvive, SimHost } from '../../src/testing/index.ts';
import { A, HERE, MIB, NAME, openHere } from './pool-host.ts';

async function made(sectorBytes: 512 | 4096) {
  const host = new SimHost({ seed: 7, keepTrace: false });
  host.addDisk(A, { sizeBytes: 64 * MIB, sectorBytes });
  await createPool(host.environment, { name: NAME, capacity: { path: A, mblockSizeBytes: MIB } });
  const pool = await openHere(host);
  const a = await pool.mlogs.alloc({ capacityBytes: 65536 });
  await a.commit();
  const log = await pool.mlogs.open(a.id);
  await log.append('one', { sync: true });
  await log.close();
  await pool.close();
  return { host, id: a.id };
}
const store = (host: SimHost) =>
  activate(host.environment, {
    capacityPath: A,
    stagingPaths: [],
    readOnly: false,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: undefined,
  });

/** Whatever opening it does, it is typed, and leaves no memory behind. */
async function opensOrRefuses(image: SimHost, id: MlogId): Promise<void> {
  for (const readOnly of [true, false]) {
    let pool;
    try {
      pool = await openHere(image, NAME, { readOnly });
      await pool.mlogs.open(id);
    } catch (e) {
      if (!isMpoolError(e)) throw e;
    }
    await pool?.close({ force: true });
    assert.equal(image.liveBufferCount, 0);
  }
}

const MARKS: [string, Omit<LogMark, 'idLow' | 'idHigh'>][] = [
  ['unaligned', { durableBytes: 4608, sequence: 1, crc: 5, generation: 1 }],
  ['unaligned 2', { durableBytes: 8192 + 512, sequence: 1, crc: 5, generation: 1 }],
  ['beyond', { durableBytes: 2 ** 53 - 512, sequence: 1, crc: 5, generation: 1 }],
  ['gen', { durableBytes: 4608, sequence: 1, crc: 5, generation: 2 ** 52 - 1 }],
  ['seq', { durableBytes: 65536 + 4096, sequence: 2 ** 52, crc: 5, generation: 1 }],
];
for (const sectorBytes of [512, 4096] as const)
  for (const [name, mark] of MARKS)
    test(`mark ${name} ${sectorBytes}`, async () => {
      const { host, id } = await made(sectorBytes);
      const s = await store(host);
      const { low, high } = halvesOfId(id);
      await s.catalog.recordMarks([{ idLow: low, idHigh: high, ...mark }]);
      const image = host.crash({ survivors: allSurvive });
      await opensOrRefuses(image, id);
      await checkPoolAt(image, NAME, HERE, {});
      const r = await repairPoolAt(image.environment, NAME, HERE, { force: true });
      assert.deepEqual([r.clean], [true], JSON.stringify(r));
      assert.deepEqual(
        (await repairPoolAt(image.environment, NAME, HERE, { force: true })).steps,
        [],
      );
      assert.equal(image.liveBufferCount, 0);
      const pool = await openHere(image);
      const log = await pool.mlogs.open(id);
      await log.append('x', { sync: true });
    });

for (const [generation, endBytes] of [
  [0x70000000, 8192],
  [2 ** 32 - 1, 8192],
  [2, 8192],
  [1, 2 ** 41],
  [100, 4096],
] as const)
  test(`witness ${generation} ${endBytes}`, async () => {
    const { host, id } = await made(512);
    const s = await store(host);
    const log = await new StoreMlogs(s).open(id);
    s.witnesses!.mdc1.generation = generation;
    s.witnesses!.mdc1.endBytes = endBytes;
    await log.append('forged', { sync: true });
    const image = host.crash({ survivors: allSurvive });
    await opensOrRefuses(image, id);
    const r = await repairPoolAt(image.environment, NAME, HERE, { force: true });
    assert.deepEqual([r.clean], [true], JSON.stringify(r));
    assert.deepEqual(
      (await repairPoolAt(image.environment, NAME, HERE, { force: true })).steps,
      [],
    );
    const pool = await openHere(image);
    const again = await pool.mlogs.open(id);
    await again.append('x', { sync: true });
    const n = await pool.mblocks.alloc({});
    await n.write(new Uint8Array(5000));
    await n.commit();
  });
