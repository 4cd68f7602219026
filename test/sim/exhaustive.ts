// All sequences of up to so many operations of a small alphabet, and of each the power cut after every
// operation of its devices, with all survivors that a device may leave, as far as they can be counted out.
import { survivorPolicies, sweepCrashes, type SimHost } from '../../src/testing/index.ts';
import { PoolModel } from '../crash/model.ts';
import { Rig } from '../crash/rig.ts';
import { newPool } from '../crash/sweep.ts';
import { closeClean, settleOn } from '../crash/verify.ts';
import { tally, tallySweep } from '../tally.ts';

/** What sequences are tried on. */
export interface Config {
  devices: 'capacity' | 'both' | 'file';
  sectorBytes: 512 | 4096;
}

export const CONFIGS: Record<string, Config> = {
  'capacity-512': { devices: 'capacity', sectorBytes: 512 },
  'capacity-4096': { devices: 'capacity', sectorBytes: 4096 },
  'both-512': { devices: 'both', sectorBytes: 512 },
  'both-4096': { devices: 'both', sectorBytes: 4096 },
  'file-512': { devices: 'file', sectorBytes: 512 },
};

type Alphabet = Record<string, (rig: Rig) => Promise<unknown>>;

const ALPHABET: Alphabet = {
  commit: (rig) => rig.mblocks([2000]),
  delete: (rig) => rig.deleteMblocks(rig.model.idsOf('mblock').slice(0, 1)),
  append: (rig) => rig.append(rig.model.root, 'sync', true),
  async: (rig) => rig.append(rig.model.root, 'async'),
  compact: (rig) => rig.compact(rig.model.root, ['compacted']),
  erase: (rig) => rig.erase(rig.model.idsOf('mlog')[0]!),
  log: (rig) => rig.append(rig.model.idsOf('mlog')[0]!, 'of the log', true),
  label: (rig) => rig.setLabel('labelled'),
  metadata: (rig) => rig.store.catalog.log.compact(),
};

/** With a staging class as well. */
const STAGED: Alphabet = {
  ...ALPHABET,
  stage: (rig) => rig.mblocks([1000], 'staging'),
  // The last one: of those that are there from the start, it is on staging.
  unstage: (rig) => rig.deleteMblocks(rig.model.idsOf('mblock').slice(-1)),
  both: async (rig) => {
    const made = [await rig.alloc('capacity'), await rig.alloc('staging')];
    for (const mblock of made) await rig.write(mblock, 500);
    await rig.commit(made);
  },
};

export interface Sequences {
  sequences: number;
  sequencesLeftOut: number;
  cuts: number;
  images: number;
  /** Cuts at which not all subsets of sectors were tried, because there are too many. */
  boundedCuts: number;
  /** EXHAUSTIVE_FROM to go on with. */
  next: number;
}

const MINUTE_MS = 60_000;

export interface SweepOptions {
  config: Config;
  seconds: number;
  depth: number;
  /** Every how-manieth sequence, beginning with that one: 1 and 0 by default. */
  every?: number;
  offset?: number;
  /** Numbers of sequences below it are left out. */
  from?: number;
  /** Of one cut: all subsets of sectors, while there are no more than so many; else the most telling. */
  subsetsMax?: number;
  onMinute?: (total: Sequences) => void;
}

export async function sweepSequences(options: SweepOptions): Promise<Sequences> {
  const { config, seconds, depth, every = 1, offset = 0, from = 0, subsetsMax = 256 } = options;
  const endMs = performance.now() + seconds * 1000;
  const total: Sequences = {
    sequences: 0,
    sequencesLeftOut: 0,
    cuts: 0,
    images: 0,
    boundedCuts: 0,
    next: 0,
  };
  const { host, model } = await prepared(config);
  const alphabet = config.devices === 'both' ? STAGED : ALPHABET;
  let tellMs = performance.now() + MINUTE_MS;
  for (const [number, sequence] of sequencesUpTo(depth, alphabet).entries()) {
    if (number < from || number % every !== offset % every) continue;
    if (performance.now() > endMs) {
      total.sequencesLeftOut += 1;
      continue;
    }
    await sweepOne({ number, sequence, alphabet, subsetsMax }, host, model, total);
    if (performance.now() < tellMs) continue;
    options.onMinute?.(total);
    tellMs = performance.now() + MINUTE_MS;
  }
  return total;
}

async function prepared({
  devices,
  sectorBytes,
}: Config): Promise<{ host: SimHost; model: PoolModel }> {
  const { host, model } = await newPool({ devices, sizeBytes: 12 * 2 ** 20 }, sectorBytes, 1);
  const rig = await Rig.open(host, model);
  await rig.mblocks([3000]);
  await rig.mblocks([3001]);
  await rig.mblocks([3002], devices === 'both' ? 'staging' : 'capacity');
  await rig.append(await rig.newMlog(), 'first', true);
  await closeClean(rig);
  return { host, model };
}

interface Sequence {
  number: number;
  sequence: string[];
  alphabet: Alphabet;
  subsetsMax: number;
}

async function sweepOne(
  { number, sequence, alphabet, subsetsMax }: Sequence,
  host: SimHost,
  model: PoolModel,
  total: Sequences,
): Promise<void> {
  const result = await sweepCrashes<PoolModel>({
    seed: 1,
    prepare: async () => host,
    context: () => model.clone(),
    async scenario(machine, context) {
      const rig = await Rig.open(machine, context);
      try {
        for (const name of sequence) await alphabet[name]!(rig);
      } finally {
        if (machine.powerIsCut) await rig.closeAfterCut();
        else await closeClean(rig);
      }
    },
    verify: (image, context) => settleOn(image, context.clone()),
    policies(operations, seed) {
      const pieces = operations.reduce((sum, { pieceCount }) => sum + pieceCount, 0);
      if (2 ** pieces > subsetsMax) total.boundedCuts += 1;
      return survivorPolicies(operations, { limit: subsetsMax, seed });
    },
  }).catch((error: unknown) => {
    const name = `EXHAUSTIVE_FROM=${number}: ${sequence.join(', ')}`;
    throw new Error(`${name}: ${String(error)}`, { cause: error });
  });
  total.sequences += 1;
  tally('short sequences');
  tallySweep(result);
  total.next = number + 1;
  total.cuts += result.cuts;
  total.images += result.images;
}

function sequencesUpTo(depth: number, alphabet: Alphabet): string[][] {
  const names = Object.keys(alphabet);
  let last: string[][] = [[]];
  const all: string[][] = [];
  for (let length = 1; length <= depth; length++) {
    last = last.flatMap((sequence) => names.map((name) => [...sequence, name]));
    all.push(...last);
  }
  return all;
}
