// Durable appends of 4 KiB records to an mlog, one at a time and 32 at once, beside fio's write and
// fdatasync one at a time; in a file written beforehand and in a sparse one, whose blocks come with
// the first write to them.
import { MIB } from '../../src/base/units.ts';
import type { Mlog, Pool } from '../../src/pool/api.ts';
import type { Fio } from '../fio.ts';
import type { Bench, Workload } from '../workload.ts';
import { inParallel, openPoolAt, type Preparation } from '../workspace.ts';

const NAME = 'durable-append';
const RECORD_BYTES = 4096;
const LOG_BYTES = 160 * MIB;
/** How fio may do it; it is given the way that is best for it. */
const WAYS = [
  { ioengine: 'psync', direct: 1 },
  { ioengine: 'psync', direct: 0 },
  { ioengine: 'io_uring', direct: 1 },
] as const;

export const durableAppend: Workload = {
  name: NAME,
  about: 'durable 4 KiB mlog appends, 1 and 32 in flight, against fio --fdatasync=1 one at a time',
  async run(bench) {
    if (bench.fio === null) return;
    for (const preparation of ['written', 'sparse'] as const) {
      await appends(bench, bench.fio, preparation);
    }
  },
};

async function appends(bench: Bench, fio: Fio, preparation: Preparation): Promise<void> {
  const { workspace, seconds } = bench;
  const peerFile = `${NAME}-peer`;
  const fioWrites = async (way: (typeof WAYS)[number]): Promise<number> => {
    const known = preparation === 'written' && workspace.has(peerFile);
    const sizeBytes = LOG_BYTES;
    const ms = `${seconds * 1000}ms`;
    const filename = known
      ? workspace.path(peerFile)
      : await workspace.makeFile(peerFile, sizeBytes, preparation);
    const job = { filename, size: sizeBytes, rw: 'write', bs: '4k', fdatasync: 1, ...way };
    const { iops } = await fio.run({ ...job, fallocate: 'none', overwrite: 0, runtime: ms });
    return iops;
  };
  const best = await fastest(fioWrites);
  const pools = new FreshLogs(bench, preparation);
  for (const { inFlight, atLeastRatio } of [
    { inFlight: 1, atLeastRatio: 0.95 },
    { inFlight: 32, atLeastRatio: 8 },
  ]) {
    await bench.compare({
      id: `${NAME}-${preparation}-${inFlight}`,
      work: `durable 4 KiB append, ${inFlight} in flight, ${preparation} file`,
      unit: 'appends/s',
      ours: () => pools.with((log) => appendAll(log, inFlight, seconds)),
      peer: {
        name: `fio fdatasync=1, ${best.ioengine}${best.direct ? ' O_DIRECT' : ''}`,
        run: () => fioWrites(best),
      },
      atLeastRatio,
    });
  }
  await pools.end();
  workspace.remove(peerFile);
}

async function fastest(
  run: (way: (typeof WAYS)[number]) => Promise<number>,
): Promise<(typeof WAYS)[number]> {
  let best: (typeof WAYS)[number] = WAYS[0];
  let most = 0;
  for (const way of WAYS) {
    const iops = await run(way);
    if (iops > most) [best, most] = [way, iops];
  }
  return best;
}

/** A log that is new for each run; in a sparse file its blocks are new too. */
class FreshLogs {
  readonly #bench: Bench;
  readonly #preparation: Preparation;
  #pool: Pool | null = null;

  constructor(bench: Bench, preparation: Preparation) {
    this.#bench = bench;
    this.#preparation = preparation;
  }

  async with(run: (log: Mlog) => Promise<number>): Promise<number> {
    if (this.#preparation === 'sparse') await this.end();
    if (this.#pool === null) {
      const { workspace } = this.#bench;
      const options = { sizeBytes: 512 * MIB, preparation: this.#preparation };
      this.#pool = await openPoolAt(await workspace.makePool(NAME, options));
    }
    const pool = this.#pool;
    const allocation = await pool.mlogs.alloc({ capacityBytes: LOG_BYTES });
    await allocation.commit();
    const log = await pool.mlogs.open(allocation.id);
    const result = await run(log);
    await log.close();
    await pool.mlogs.delete([allocation.id]);
    return result;
  }

  async end(): Promise<void> {
    await this.#pool?.close();
    this.#pool = null;
    this.#bench.workspace.remove(`${NAME}.mpool`);
  }
}

async function appendAll(log: Mlog, inFlight: number, seconds: number): Promise<number> {
  const record = Buffer.alloc(RECORD_BYTES, 'durable');
  const start = performance.now();
  const end = start + seconds * 1000;
  const fullBytes = log.capacityBytes - 4 * MIB;
  let count = 0;
  await inParallel(inFlight, async () => {
    while (performance.now() < end && log.usedBytes < fullBytes) {
      await log.append(record, { sync: true });
      count += 1;
    }
  });
  return count / ((performance.now() - start) / 1000);
}
