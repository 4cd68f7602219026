// All sequences of up to so many operations of a small alphabet, and of each the power cut after every
// operation of its devices, with all survivors that a device may leave, as far as they can be counted out.
import { survivorPolicies, sweepCrashes, type SimHost } from '../../src/testing/index.ts';
import { PoolModel } from '../crash/model.ts';
import { Rig } from '../crash/rig.ts';
import { newPool } from '../crash/sweep.ts';
import { closeClean, settleOn } from '../crash/verify.ts';

const ALPHABET: Record<string, (rig: Rig) => Promise<unknown>> = {
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

export interface Sequences {
  sequences: number;
  sequencesLeftOut: number;
  cuts: number;
  images: number;
  /** Cuts at which not all subsets of sectors were tried, and how many images were not, in all. */
  boundedCuts: number;
  imagesLeftOut: number;
}

export async function sweepSequences(options: {
  seconds: number;
  depth: number;
  /** Every how-manieth sequence; 1 by default. */
  every?: number;
  /** Of one cut: all subsets of sectors, while there are no more than so many; else the most telling. */
  subsetsMax?: number;
}): Promise<Sequences> {
  const endMs = performance.now() + options.seconds * 1000;
  const all = sequencesUpTo(options.depth).filter((_, i) => i % (options.every ?? 1) === 0);
  const total: Sequences = {
    sequences: 0,
    sequencesLeftOut: 0,
    cuts: 0,
    images: 0,
    boundedCuts: 0,
    imagesLeftOut: 0,
  };
  const { host, model } = await prepared();
  const subsetsMax = options.subsetsMax ?? 256;
  for (const sequence of all) {
    if (performance.now() > endMs) total.sequencesLeftOut += 1;
    else await sweepOne({ sequence, subsetsMax }, host, model, total);
  }
  return total;
}

async function prepared(): Promise<{ host: SimHost; model: PoolModel }> {
  const { host, model } = await newPool({ sizeBytes: 12 * 2 ** 20 }, 512, 1);
  const rig = await Rig.open(host, model);
  await rig.mblocks([3000]);
  await rig.mblocks([3001]);
  await rig.mblocks([3002]);
  await rig.append(await rig.newMlog(), 'first', true);
  await closeClean(rig);
  return { host, model };
}

async function sweepOne(
  { sequence, subsetsMax }: { sequence: string[]; subsetsMax: number },
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
        for (const name of sequence) await ALPHABET[name]!(rig);
      } finally {
        if (machine.powerIsCut) await rig.closeAfterCut();
        else await closeClean(rig);
      }
    },
    verify: (image, context) => settleOn(image, context.clone()),
    policies(operations, seed) {
      const pieces = operations.reduce((sum, { pieceCount }) => sum + pieceCount, 0);
      if (2 ** pieces > subsetsMax) {
        total.boundedCuts += 1;
        total.imagesLeftOut += 2 ** pieces - subsetsMax;
      }
      return survivorPolicies(operations, { limit: subsetsMax, seed });
    },
  }).catch((error: unknown) => {
    throw new Error(`${sequence.join(', ')}: ${String(error)}`, { cause: error });
  });
  total.sequences += 1;
  total.cuts += result.cuts;
  total.images += result.images;
}

function sequencesUpTo(depth: number): string[][] {
  const names = Object.keys(ALPHABET);
  let last: string[][] = [[]];
  const all: string[][] = [];
  for (let length = 1; length <= depth; length++) {
    last = last.flatMap((sequence) => names.map((name) => [...sequence, name]));
    all.push(...last);
  }
  return all;
}
