import type { PoolHealth, PoolProblem } from '../../pool/api.ts';
import type { Journal } from './journal.ts';

interface WatchedPool {
  readonly name: string;
  readonly store: {
    readonly problems: readonly PoolProblem[];
    readonly fault: string | undefined;
    readonly health: { readonly state: PoolHealth };
  };
}

interface Known {
  state: PoolHealth;
  fault: string | undefined;
  problems: ReadonlyMap<string, PoolProblem>;
}

/** Of one pool at one look: a rotten device must not fill the journal. */
const SAID_MAX = 10;
const NOTHING: Known = { state: 'optimal', fault: undefined, problems: new Map() };

/** Says what is wrong with pools: each problem once when it comes and once when it is over. */
export class HealthJournal {
  readonly #journal: Journal;
  #known = new Map<string, Known>();

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  look(pools: readonly WatchedPool[]): void {
    const known = new Map<string, Known>();
    for (const { name, store } of pools) {
      const { problems, fault, health } = store;
      const now: Known = {
        state: health.state,
        fault,
        problems: new Map(problems.map((each) => [`${each.kind} ${each.object ?? ''}`, each])),
      };
      this.#say(name, this.#known.get(name) ?? NOTHING, now);
      known.set(name, now);
    }
    this.#known = known;
  }

  #say(pool: string, before: Known, now: Known): void {
    const come = [...now.problems].filter(([key]) => !before.problems.has(key));
    for (const [, { kind, message, object }] of come.slice(0, SAID_MAX)) {
      this.#journal.warn('a problem', { pool, kind, message, ...(object && { object }) });
    }
    if (come.length > SAID_MAX) {
      this.#journal.warn('more problems', { pool, count: come.length - SAID_MAX });
    }
    const gone = [...before.problems].filter(([key]) => !now.problems.has(key));
    for (const [, { kind, object }] of gone.slice(0, SAID_MAX)) {
      this.#journal.info('a problem is over', { pool, kind, ...(object && { object }) });
    }
    if (now.state === before.state && now.fault === before.fault) return;
    if (now.state === 'faulted') {
      this.#journal.error('a pool is faulted', { pool, fault: now.fault });
    } else if (now.state === 'degraded') {
      this.#journal.warn('a pool is degraded', { pool, problems: now.problems.size });
    } else {
      this.#journal.info('a pool is well', { pool });
    }
  }
}
