/** A reaper on a simulated machine. */
import { below, SeededPrng } from '../../src/base/prng.ts';
import { MIB, PAGE_BYTES } from '../../src/base/units.ts';
import { Reaper } from '../../src/mcache/reaper.ts';
import { SimClock } from '../../src/testing/index.ts';
import { FakeMachine, FakeSet } from './reaper-machine.ts';

export const SEED = Number(process.env['SEED'] ?? 1);

/** Time in which the sets are used, and then all that is due happens. */
const STEP_MS = 5;

export interface RigOptions {
  sets?: number | undefined;
  limitMib?: number | undefined;
  otherMib?: number | undefined;
  variable?: string | undefined;
}

export function rig(options: RigOptions = {}) {
  const clock = new SimClock({ autoAdvance: false });
  const sets = Array.from({ length: options.sets ?? 1 }, () => new FakeSet(clock));
  const machine = new FakeMachine(...sets);
  machine.limitBytes = (options.limitMib ?? 100) * MIB;
  machine.otherBytes = (options.otherMib ?? 0) * MIB;
  const reaper = new Reaper({ clock, gauge: machine, variable: options.variable ?? '' });
  const prng = new SeededPrng(SEED);
  return {
    clock,
    set: sets[0]!,
    sets,
    machine,
    reaper,
    prng,
    below: (limit: number) => below(prng, limit),
    /** What of the limit is used, of 1. */
    used: () => machine.usedBytes / machine.limitBytes!,
    /** Leaves so much of the limit free, by what others use. */
    leaveFree: (mib: number) => {
      machine.otherBytes = machine.limitBytes! - machine.cachedBytes - mib * MIB;
    },
    /** Lets time pass in steps. @param use is called at the start of each */
    run: async (forMs: number, use: (step: number) => void = () => {}): Promise<void> => {
      for (let step = 0; step < forMs / STEP_MS; step++) {
        use(step);
        // oxlint-disable-next-line no-await-in-loop -- one step after another
        await clock.advance(STEP_MS);
      }
    },
  };
}

export function mibOf(pages: number): number {
  return (pages * PAGE_BYTES) / MIB;
}

/** Rows of a MiB each. */
export const ROW_PAGES = MIB / PAGE_BYTES;
