// Kills owners, daemons and clients at random moments for as long as is asked, on a plain file and, as root, on loop
// devices of 512- and 4096-byte sectors; compares all that was acknowledged after each death of whoever had the pool:
//   STORM_SECONDS=600 SEED=1 npm run storm
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { check, create, open } from '../../src/index.ts';
import { Lifetime, loopDevice, noLoopDevices } from '../device/places.ts';
import { MIB, POOL, Service } from '../e2e/rig.ts';
import { comparePool } from '../e2e/told.ts';
import { Worker } from '../e2e/worker.ts';
import { Expectation } from './events.ts';
import { killOwner } from './owner.ts';
import { tally } from '../tally.ts';

const seconds = Number(process.env['STORM_SECONDS'] ?? 60);
const first = Number(process.env['SEED'] ?? Date.now() % 1e6);
const endMs = performance.now() + seconds * 1000;
const FAILURES_MAX = 3;
/** What nobody knows to be committed stays: after so many kills a new pool. */
const KILLS_A_POOL = 12;
const OWNER_POOL_BYTES = 64 * MIB;
const DAEMON_POOL_BYTES = 768 * MIB;
const WORKERS = 3;

type Medium = 'file' | 'loop, 512' | 'loop, 4096';
const media: Medium[] = [
  'file',
  ...(noLoopDevices() ? [] : (['loop, 512', 'loop, 4096'] as const)),
];
const totals = { owners: 0, daemons: 0, clients: 0, objects: 0, records: 0, comparisons: 0 };

interface Round {
  lifetime: Lifetime;
  medium: Medium;
  seed: number;
  prng: SeededPrng;
}

/** Of that size, in that folder, gone when the round is over. */
function makeMedium({ lifetime, medium }: Round, path: string, sizeBytes: number): string {
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  if (medium === 'file') return path;
  return loopDevice(lifetime, path, medium === 'loop, 512' ? 512 : 4096);
}

async function isSound(path: string): Promise<void> {
  const { findings } = await check(path, { data: true });
  assert.deepEqual(
    findings.filter(({ severity }) => severity !== 'note'),
    [],
  );
}

async function stormOwners(round: Round): Promise<void> {
  const { lifetime, seed, prng } = round;
  const folder = mkdtempSync(join(tmpdir(), 'mpool-storm-'));
  lifetime.after(() => rmSync(folder, { recursive: true }));
  const path = makeMedium(round, join(folder, 'pool'), OWNER_POOL_BYTES);
  const capacity = { path, mblockSizeBytes: MIB };
  await (await create({ name: `storm-${process.pid}`, capacity })).close();
  const expected = new Expectation();
  for (let kill = 0; kill < KILLS_A_POOL && performance.now() < endMs; kill++) {
    await killOwner(path, { seed: seed + kill, afterMs: 80 + below(prng, 900) }, expected);
    totals.owners += 1;
    totals.comparisons += 1;
  }
  await isSound(path);
  totals.objects += expected.committed.size;
  totals.records += expected.syncedEnd;
}

async function stormDaemon(round: Round): Promise<void> {
  const { lifetime, seed, prng } = round;
  let path = '';
  const service = await Service.start(lifetime, {
    activateAll: false,
    prepare: (made) => {
      path = makeMedium(
        { ...round, lifetime: scopeOf(made) },
        made.pathOf(POOL),
        DAEMON_POOL_BYTES,
      );
    },
  });
  await service.daemon.create({ name: POOL, capacity: { path, mblockSizeBytes: MIB } });
  let started = 0;
  const startWorker = (): Worker => new Worker(service, 1000 * seed + started++);
  const all = Array.from({ length: WORKERS }, startWorker);
  const working = [...all];
  for (const worker of working) await worker.tells(5);
  for (let kill = 0; kill < KILLS_A_POOL && performance.now() < endMs; kill++) {
    await sleep(below(prng, 700));
    const victim = below(prng, 2 * WORKERS);
    if (victim < WORKERS) {
      await working[victim]!.end('SIGKILL');
      working[victim] = startWorker();
      all.push(working[victim]);
      totals.clients += 1;
    } else {
      await service.kill();
      totals.daemons += 1;
      await compareUnserved(path, all);
      await service.start();
      await service.daemon.activate(path);
    }
    for (const worker of working) await worker.tells(1 + below(prng, 20));
  }
  for (const worker of working) await worker.end('SIGTERM');
  await service.isQuiet();
  await service.stop();
  await compareUnserved(path, all);
  await isSound(path);
  for (const { expected } of all) {
    totals.objects += expected.committed.size;
    for (const log of Object.values(expected.logs)) totals.records += log.begun.size;
  }
}

/** What the workers told before may not all have been read yet, on a busy machine: it is looked at twice. */
async function compareUnserved(path: string, workers: readonly Worker[]): Promise<void> {
  await sleep(50);
  await using pool = await open(path, { readOnly: true });
  const compare = (): Promise<void> =>
    comparePool(
      pool,
      workers.map(({ expected }) => expected),
    );
  await compare().catch(async () => {
    await sleep(2000);
    await compare();
  });
  totals.comparisons += 1;
}

function scopeOf(service: Service): Lifetime {
  const lifetime = new Lifetime();
  service.after(() => lifetime.end());
  return lifetime;
}

async function runRound(index: number): Promise<void> {
  const seed = first + index;
  const lifetime = new Lifetime();
  const medium = media[index % media.length]!;
  const isDaemon = Math.floor(index / media.length) % 2 === 1;
  console.log(`SEED=${seed}: ${isDaemon ? 'a daemon and its clients' : 'owners'} on a ${medium}`);
  try {
    const round = { lifetime, medium, seed, prng: new SeededPrng(seed) };
    await (isDaemon ? stormDaemon : stormOwners)(round);
  } finally {
    await lifetime.end();
  }
}

let failed = 0;
for (let index = 0; performance.now() < endMs && failed < FAILURES_MAX; index++) {
  try {
    await runRound(index);
  } catch (error) {
    failed += 1;
    console.error(`SEED=${first + index}, round ${index}: ${(error as Error).stack}`);
  }
}
const { owners, daemons, clients, objects, records, comparisons } = totals;
console.log(
  `${owners} owners, ${daemons} daemons and ${clients} clients killed, ${comparisons} times compared: ` +
    `${objects} objects and ${records} records; ${failed} rounds failed`,
);
tally('daemons killed', daemons);
tally('clients killed', clients);
tally('objects compared', objects);
tally('records compared', records);
process.exitCode = failed > 0 ? 1 : 0;
