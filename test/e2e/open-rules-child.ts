/**
 * Opens a pool again and again, alone or beside others, and looks that the daemon keeps its word: node
 * open-rules-child RUNDIR POOL MARKERS SEED ROUNDS. While it has the pool open there is a file of its own in MARKERS.
 * Prints what it found as JSON.
 */
import { closeSync, openSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { connect, isMpoolError } from '../../src/client.ts';

const [rundir, name, markers, seed, rounds] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const KINDS = [{ exclusive: true }, { exclusive: true, readOnly: true }, {}, { readOnly: true }];
const LOOPS = 2;

const found = { alone: 0, beside: 0, busy: 0, violations: [] as string[] };

/** Rounds in which it had the pool open alone, and as many in which it did not. */
async function openAndClose(loop: number): Promise<void> {
  const prng = new SeededPrng(Number(seed) + loop);
  const daemon = await connect({ rundir });
  const count = { alone: 0, beside: 0 };
  for (let turn = 0; count.alone < Number(rounds) || count.beside < Number(rounds); turn++) {
    // What it has had less often is tried more often, so that it ends.
    const wantAlone =
      count.alone === count.beside ? below(prng, 2) === 0 : count.alone < count.beside;
    const options = KINDS[(wantAlone ? 0 : 2) + below(prng, 2)]!;
    try {
      const pool = await daemon.open(name, options);
      const kind = options.exclusive === true ? 'alone' : 'beside';
      await mark(`${kind}-${process.pid}-${loop}-${turn}`, async () => {
        await pool.usage();
        await sleep(below(prng, 8));
      });
      await pool.close();
      count[kind] += 1;
      found[kind] += 1;
    } catch (error) {
      if (!isMpoolError(error, 'ERR_MPOOL_BUSY')) throw error;
      found.busy += 1;
    }
    await sleep(below(prng, 20));
  }
  await daemon.close();
}

/** Whichever of two that must not be there together came later sees the other. */
async function mark(marker: string, work: () => Promise<void>): Promise<void> {
  const path = join(markers, marker);
  closeSync(openSync(path, 'wx'));
  look(marker);
  await work();
  look(marker);
  rmSync(path);
}

function look(marker: string): void {
  for (const other of readdirSync(markers)) {
    if (other === marker) continue;
    if (marker.startsWith('beside') && other.startsWith('beside')) continue;
    found.violations.push(`${marker} and ${other}`);
  }
}

await Promise.all(Array.from({ length: LOOPS }, (_, loop) => openAndClose(loop)));
process.stdout.write(JSON.stringify(found));
