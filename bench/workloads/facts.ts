// Figures without a peer: the checksum engine, and what an empty pool takes.
import { statSync } from 'node:fs';
import { crc32c, crc32cPages, crc32cPlain } from '../../src/base/crc32c.ts';
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import { measure } from '../comparison.ts';
import type { Bench, Workload } from '../workload.ts';
import { openPoolAt, randomBuffer } from '../workspace.ts';

export const facts: Workload = {
  name: 'facts',
  about: 'crc32c, and what an empty pool takes of its device',
  async run(bench) {
    const { runs } = bench;
    const buffer = randomBuffer(MIB, 4);
    const page = buffer.subarray(0, 4 * KIB);
    const sums = new Uint32Array(256);
    const speeds: [string, string, number, () => void][] = [
      ['crc32c-4k', 'crc32c of 4 KiB, native, a call each', page.length, () => crc32c(page)],
      ['crc32c-1m', 'crc32c of 1 MiB, native', MIB, () => crc32c(buffer)],
      ['crc32c-pages', 'crc32c of 256 pages in one call', MIB, () => crc32cPages(buffer, sums)],
      ['crc32c-plain', 'crc32c of 1 MiB in TypeScript', MIB, () => crc32cPlain(buffer, 0)],
    ];
    for (const [id, work, bytes, call] of speeds) {
      bench.add(
        await measure({ id, work, unit: 'GiB/s' }, runs, () => gibps(call, bytes, bench.seconds)),
      );
    }
    for (const [label, sizeBytes, mblockSizeBytes] of [
      ['64 MiB with 1 MiB mblocks', 64 * MIB, MIB],
      ['1 GiB', GIB, 32 * MIB],
      ['1 TiB', 1024 * GIB, 32 * MIB],
    ] as const) {
      await footprint(bench, label, sizeBytes, mblockSizeBytes);
    }
  },
};

function gibps(call: () => void, bytes: number, seconds: number): number {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < seconds * 250) {
    for (let i = 0; i < 16; i++) call();
    count += 16;
  }
  return (count * bytes) / GIB / ((performance.now() - start) / 1000);
}

async function footprint(
  bench: Bench,
  label: string,
  sizeBytes: number,
  mblockSizeBytes: number,
): Promise<void> {
  const { workspace } = bench;
  const options = { sizeBytes, mblockSizeBytes, preparation: 'sparse' as const };
  const path = await workspace.makePool('empty', options);
  const pool = await openPoolAt(path);
  const { usedBytes, reservedBytes } = await pool.usage();
  await pool.close();
  const id = `empty-${sizeBytes / MIB}`;
  const percent = (100 * (usedBytes + reservedBytes)) / sizeBytes;
  bench.add(
    await measure(
      {
        id,
        work: `an empty pool of ${label}: part taken by metadata`,
        unit: '%',
        target: { atMost: 3 },
      },
      1,
      () => percent,
    ),
  );
  const diskKib = (statSync(path).blocks * 512) / KIB;
  bench.add(
    await measure(
      { id: `${id}-disk`, work: `the same: blocks of a sparse file`, unit: 'KiB' },
      1,
      () => diskKib,
    ),
  );
  workspace.remove('empty.mpool');
}
