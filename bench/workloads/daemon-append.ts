// Durable appends of 4 KiB records through the daemon beside the embedded library: what a round trip adds to
// one at a time, and how many 32 at once come to.
import { MIB } from '../../src/base/units.ts';
import type { Pool } from '../../src/pool/api.ts';
import { judged } from '../comparison.ts';
import { DaemonRig } from '../daemon-rig.ts';
import { spreadOf } from '../spread.ts';
import type { Bench, Workload } from '../workload.ts';
import { inParallel } from '../workspace.ts';

const NAME = 'daemon-append';
const RECORD_BYTES = 4096;
const LOG_BYTES = 160 * MIB;
const IN_FLIGHT = 32;

export const daemonAppend: Workload = {
  name: NAME,
  about:
    'durable 4 KiB appends of a client of the daemon, 1 and 32 in flight, against embedded ones',
  async run(bench) {
    const options = { sizeBytes: 512 * MIB, preparation: 'written' } as const;
    await DaemonRig.with(bench, NAME, options, (rig) => appends(bench, rig));
  },
};

async function appends(bench: Bench, rig: DaemonRig): Promise<void> {
  const ours: number[] = [];
  const peers: number[] = [];
  const run = async (pool: Pool, inFlight: number, p50s?: number[]): Promise<number> => {
    const { rate, p50 } = await appendAll(pool, inFlight, bench.seconds);
    p50s?.push(p50);
    return rate;
  };
  await bench.compare({
    id: `${NAME}-1`,
    work: 'client: durable 4 KiB append, one at a time',
    unit: 'appends/s',
    ours: () => rig.client((pool) => run(pool, 1, ours)),
    peer: { name: 'embedded', run: () => rig.embedded((pool) => run(pool, 1, peers)) },
  });
  // The first of ours does not count: see compare().
  const added = ours.slice(1).map((us, i) => us - (peers[i]! + peers[i + 1]!) / 2);
  const peerUs = Math.round(spreadOf(peers).median);
  bench.add(
    judged({
      id: `${NAME}-1-added`,
      work: `client: added to the p50 of a durable append, which is ${peerUs} µs embedded`,
      unit: 'µs',
      ours: spreadOf(added),
      target: { atMost: 60 },
    }),
  );
  await bench.compare({
    id: `${NAME}-${IN_FLIGHT}`,
    work: `client: durable 4 KiB append, ${IN_FLIGHT} in flight`,
    unit: 'appends/s',
    ours: () => rig.client((pool) => run(pool, IN_FLIGHT)),
    peer: { name: 'embedded', run: () => rig.embedded((pool) => run(pool, IN_FLIGHT)) },
  });
}

/** To a log that is new for each run. */
async function appendAll(
  pool: Pool,
  inFlight: number,
  seconds: number,
): Promise<{ rate: number; p50: number }> {
  const allocation = await pool.mlogs.alloc({ capacityBytes: LOG_BYTES });
  await allocation.commit();
  const log = await pool.mlogs.open(allocation.id);
  const record = Buffer.alloc(RECORD_BYTES, 'durable');
  const us: number[] = [];
  const start = performance.now();
  const end = start + seconds * 1000;
  const fullBytes = log.capacityBytes - 4 * MIB;
  await inParallel(inFlight, async () => {
    for (let from = performance.now(); from < end; from = performance.now()) {
      if (log.usedBytes >= fullBytes) return;
      await log.append(record, { sync: true });
      us.push((performance.now() - from) * 1000);
    }
  });
  const rate = us.length / ((performance.now() - start) / 1000);
  await log.close();
  await pool.mlogs.delete([allocation.id]);
  return { rate, p50: spreadOf(us).median };
}
