/** Owners that work on a pool in a FUSE file and are killed, one after the other: see test/kill/child.ts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { create, type Pool } from '../../src/index.ts';
import { program } from '../device/places.ts';
import { MIB, until } from '../e2e/rig.ts';
import { compareOwned } from '../kill/compare.ts';
import { type Event, Expectation } from '../kill/events.ts';
import type { Episode, Witness } from './crash-episode.ts';
import { FuseFile } from './fuse-file.ts';
import type { Fault } from './fuse-medium.ts';

const POOL_BYTES = 64 * MIB;

export class OwnerWitness implements Witness {
  readonly #expected = new Expectation();

  take(_source: number, line: string): void {
    this.#expected.take(JSON.parse(line) as Event);
  }
  compare(pool: Pool): Promise<unknown> {
    return compareOwned(pool, this.#expected);
  }
}

export interface EpisodeOptions {
  seed: number;
  /** How long it works, all in all. */
  ms: number;
  kills: number;
  /** From some moment of the work on, until whoever works then has ended. */
  fault?: Fault | undefined;
}

export async function ownerEpisode(folder: string, options: EpisodeOptions): Promise<Episode> {
  const { seed, ms, kills, fault } = options;
  const prng = new SeededPrng(seed);
  const file = await FuseFile.mount(folder, { sizeBytes: POOL_BYTES, name: `owner-${seed}` });
  try {
    const capacity = { path: file.path, mblockSizeBytes: MIB };
    await (await create({ name: `real-${process.pid}`, capacity })).close();
    await file.tell('jitter', { chance: 0.2, mostMs: 3, seed });
    for (let kill = 0; kill < kills; kill++) {
      const owner = await startOwner(file, folder, seed + kill);
      const exited = once(owner, 'exit');
      if (kill === 0) await isAtWork(file);
      await sleep(ms / kills / 2 + below(prng, ms / kills));
      if (fault !== undefined && kill === 0) {
        await file.tell('fault', [fault]);
        // It ends by itself, as all do that do not know what to do about a failure.
        await Promise.race([exited, sleep(ms)]);
      }
      owner.kill('SIGKILL');
      await exited;
      await file.tell('fault', []);
    }
    await file.unmount();
  } finally {
    await file.kill();
  }
  return { logPath: file.logPath, witness: new OwnerWitness() };
}

/** Something was told: what comes before it, no image can be expected of. */
export function isAtWork(file: FuseFile): Promise<void> {
  return until('something is told', async () => (await file.tell('counts', null)).told > 0);
}

/** What it tells goes to a file that the medium listens to. */
async function startOwner(file: FuseFile, folder: string, seed: number): Promise<ChildProcess> {
  const toldPath = join(folder, `told-${seed}`);
  const told = openSync(toldPath, 'wx');
  await file.tell('listenTo', toldPath);
  const args = ['--enable-source-maps', program('../kill/child'), file.path, String(seed)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', told, 'pipe'] });
  child.stderr!.resume();
  closeSync(told);
  return child;
}
