import { MpoolError } from '../base/errors.ts';
import { printIdHalves } from '../format/object-id.ts';
import type {
  CheckedStructure,
  CheckFinding,
  CheckLocation,
  CheckReport,
} from './check-findings.ts';

/** One thing that a repair writes; done, it stays done whatever comes after. */
export interface RepairStep {
  structure: CheckedStructure;
  location: CheckLocation;
  /** '0x…'. */
  objectId?: string | undefined;
  /** What is written, and from what. */
  message: string;
  /** What was acknowledged and is given up by it, each a sentence; none when all is restored. */
  losses: string[];
}

export interface RepairReport {
  dryRun: boolean;
  /** What was done, in this order; in a dry run what would be. */
  steps: RepairStep[];
  /** What was not done: it gives something up, and force was not said, or there is no space for it. */
  withheld: RepairStep[];
  /** What is wrong afterwards, none of it a note. What it is about stays as it is, and refuses to be read. */
  left: CheckFinding[];
  /** As of check: how many findings before and after. */
  before: CheckReport['severityCounts'];
  after: CheckReport['severityCounts'];
  durationMs: number;
  /** Nothing is left, and nothing is withheld. */
  clean: boolean;
}

export interface RepairOptions {
  /** Writes nothing: the same steps are carried out in memory. */
  dryRun?: boolean | undefined;
  /** Also does what gives up what was acknowledged and cannot be restored. */
  force?: boolean | undefined;
  /** Looks at every page of every mblock too: to tell of damage, for a page has no spare. */
  data?: boolean | undefined;
  /** Each step when it is done. */
  onStep?: ((step: RepairStep) => void) | undefined;
  /** As of check, which is run before and after. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Between steps. */
  signal?: AbortSignal | undefined;
}

/** Carries steps out, or withholds them, and remembers. */
export class RepairSteps {
  readonly done: RepairStep[] = [];
  readonly withheld: RepairStep[] = [];
  readonly #options: Pick<RepairOptions, 'force' | 'onStep' | 'signal'>;

  constructor(options: Pick<RepairOptions, 'force' | 'onStep' | 'signal'>) {
    this.#options = options;
  }

  /** @returns whether it was done */
  async take(step: RepairStep, work: () => Promise<void>): Promise<boolean> {
    if (this.#options.signal?.aborted === true) throw new MpoolError('ERR_MPOOL_ABORTED', 'repair');
    if (step.losses.length > 0 && this.#options.force !== true) {
      this.withheld.push(step);
      return false;
    }
    await work();
    this.done.push(step);
    this.#options.onStep?.(step);
    return true;
  }

  withhold(step: RepairStep): void {
    this.withheld.push(step);
  }
}

export function stepAt(
  structure: CheckedStructure,
  location: CheckLocation,
  message: string,
  more: { id?: { idLow: number; idHigh: number }; losses?: string[] } = {},
): RepairStep {
  const { id, losses = [] } = more;
  const objectId = id === undefined ? {} : { objectId: printIdHalves(id.idLow, id.idHigh) };
  return { structure, location, ...objectId, message, losses };
}
