/** A daemon with a pool in a FUSE file, killed at work, and its clients: see test/e2e/load-child.ts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Pool } from '../../src/index.ts';
import { Lifetime, program } from '../device/places.ts';
import { MIB, POOL, Service } from '../e2e/rig.ts';
import { comparePool, Expectation, type Told } from '../e2e/told.ts';
import type { Episode, Witness } from './crash-episode.ts';
import { FuseFile } from './fuse-file.ts';
import { type EpisodeOptions, isAtWork } from './owner-episode.ts';

const CLIENTS = 3;
const POOL_BYTES = 128 * MIB;

class ClientsWitness implements Witness {
  readonly #expected: Expectation[] = [];

  take(source: number, line: string): void {
    (this.#expected[source] ??= new Expectation()).take(JSON.parse(line) as Told);
  }
  compare(pool: Pool): Promise<void> {
    return comparePool(pool, Object.values(this.#expected));
  }
}

/** The last life of the daemon ends with a kill too; one of the clients goes before it. */
export async function daemonEpisode(folder: string, options: EpisodeOptions): Promise<Episode> {
  const { seed, ms, kills } = options;
  const lifetime = new Lifetime();
  let file!: FuseFile;
  try {
    const service = await Service.start(lifetime, {
      prepare: async (made) => {
        const logPath = join(folder, `daemon-${seed}.log`);
        const fuse = { sizeBytes: POOL_BYTES, name: POOL, logPath };
        file = await FuseFile.mount(join(made.folder, 'files'), fuse);
        made.after(() => file.kill());
      },
    });
    const capacity = { path: file.path, mblockSizeBytes: MIB };
    await service.daemon.create({ name: POOL, capacity });
    await file.tell('jitter', { chance: 0.2, mostMs: 3, seed });
    await work(service);
    await file.unmount();
  } finally {
    await lifetime.end();
  }
  return { logPath: file.logPath, witness: new ClientsWitness() };

  async function work(service: Service): Promise<void> {
    const prng = new SeededPrng(seed);
    let clients = await startClients(service, file, seed);
    for (let kill = 0; kill < kills; kill++) {
      if (kill === 0) await isAtWork(file);
      await sleep(ms / kills / 2 + below(prng, ms / kills));
      if (kill === kills - 1) clients[0]!.kill('SIGKILL');
      if (options.fault !== undefined && kill === 0) {
        await file.tell('fault', [options.fault]);
        // They end by themselves, as all do that do not know what to do about a failure.
        await Promise.race([Promise.all(clients.map((client) => exitOf(client))), sleep(ms)]);
      }
      await service.kill();
      await file.tell('fault', []);
      if (kill === kills - 1) break;
      await service.start();
      if (clients.some((client) => !isRunning(client))) {
        await Promise.all(clients.map((client) => end(client)));
        clients = await startClients(service, file, seed + 100 * (kill + 1));
      }
    }
    await Promise.all(clients.map((client) => end(client)));
  }
}

async function startClients(
  service: Service,
  file: FuseFile,
  seed: number,
): Promise<ChildProcess[]> {
  const clients: ChildProcess[] = [];
  for (let i = 0; i < CLIENTS; i++) clients.push(await startClient(service, file, seed + i));
  return clients;
}

async function startClient(service: Service, file: FuseFile, seed: number): Promise<ChildProcess> {
  const toldPath = join(service.folder, `told-${seed}`);
  const told = openSync(toldPath, 'wx');
  await file.tell('listenTo', toldPath);
  const args = ['--enable-source-maps', program('../e2e/load-child'), service.rundir, POOL];
  const child = spawn(process.execPath, [...args, String(seed)], {
    stdio: ['ignore', told, 'pipe'],
  });
  child.stderr!.resume();
  service.after(() => child.kill('SIGKILL'));
  closeSync(told);
  return child;
}

function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

async function exitOf(child: ChildProcess): Promise<void> {
  if (isRunning(child)) await once(child, 'exit');
}

async function end(child: ChildProcess): Promise<void> {
  const exited = exitOf(child);
  child.kill('SIGKILL');
  await exited;
}
