/**
 * What each user has of the daemon, with all his clients of all pools together: so that one of them can
 * neither fill its memory nor keep others out. Root and the daemon's own user are counted and not bounded:
 * they need no daemon for that.
 */
import type { PeerCredentials } from '../peer.ts';
import { type DaemonLimits, limitReached } from './limits.ts';
import { isManager } from './permission.ts';

/** What is counted, the limit that bounds it, and what a refusal calls it. */
const HOLDINGS = {
  arrivals: ['arrivalsPerUser', 'connections that say nothing'],
  clients: ['sessionsPerUser', 'clients'],
  controlClients: ['controlSessionsPerUser', 'clients of ctl'],
  sharedBytes: ['sharedBytesPerUser', 'bytes of shared memory'],
  openLogs: ['openLogsPerUser', 'open logs'],
  logReaders: ['readersPerUser', 'log readers'],
  recordBytes: ['recordBytesPerUser', 'bytes of log records that are read in part'],
  uncommittedObjects: ['uncommittedPerUser', 'uncommitted objects'],
  leases: ['leasesPerUser', 'objects leased'],
} as const satisfies Record<string, readonly [keyof DaemonLimits, string]>;

type Holding = keyof typeof HOLDINGS;

/** One user. */
export class UserAccount {
  readonly uid: number;
  readonly bounded: boolean;
  readonly #limits: DaemonLimits;
  readonly #onEmpty: () => void;
  readonly #held: Record<Holding, number>;
  #total = 0;
  #reads = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(uid: number, bounded: boolean, limits: DaemonLimits, onEmpty: () => void) {
    this.uid = uid;
    this.bounded = bounded;
    this.#limits = limits;
    this.#onEmpty = onEmpty;
    const zeros = Object.keys(HOLDINGS).map((holding): [string, number] => [holding, 0]);
    this.#held = Object.fromEntries(zeros) as Record<Holding, number>;
  }

  held(holding: Holding): number {
    return this.#held[holding];
  }

  isFull(holding: Holding): boolean {
    return this.bounded && this.#held[holding] >= this.#limits[HOLDINGS[holding][0]];
  }

  /** @throws ERR_MPOOL_LIMIT naming it when `count` more would be too many */
  refuseMore(holding: Holding, count: number): void {
    if (!this.bounded) return;
    const [key, words] = HOLDINGS[holding];
    const most = this.#limits[key];
    if (this.#held[holding] + count > most) {
      throw limitReached(`${most} ${words} of user ${this.uid}`);
    }
  }

  /** @throws ERR_MPOOL_LIMIT, nothing is taken then */
  take(holding: Holding, count: number): void {
    this.refuseMore(holding, count);
    this.add(holding, count);
  }

  /** Where a refusal would come too late. */
  add(holding: Holding, count: number): void {
    this.#held[holding] += count;
    this.#total += count;
    if (this.#total === 0) this.#onEmpty();
  }

  /** Less of it than was taken or added. */
  give(holding: Holding, count: number): void {
    this.add(holding, -count);
  }

  /** Reads records of a log, so many of them at once that their memory is bounded: others wait. */
  async reading<T>(read: () => Promise<T>): Promise<T> {
    if (!this.bounded) return read();
    while (this.#reads >= this.#limits.recordReadsPerUser) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#reads += 1;
    try {
      return await read();
    } finally {
      this.#reads -= 1;
      this.#waiting.shift()?.();
    }
  }
}

export class UserAccounts {
  readonly #limits: DaemonLimits;
  readonly #accounts = new Map<number, UserAccount>();

  /** @param limits looked at again each time */
  constructor(limits: DaemonLimits) {
    this.#limits = limits;
  }

  /** To be added to at once: an account with nothing in it is forgotten. */
  of(peer: Pick<PeerCredentials, 'uid' | 'gid' | 'groups'>): UserAccount {
    const { uid } = peer;
    const known = this.#accounts.get(uid);
    if (known !== undefined) return known;
    const account: UserAccount = new UserAccount(uid, !isManager(peer), this.#limits, () => {
      if (this.#accounts.get(uid) === account) this.#accounts.delete(uid);
    });
    this.#accounts.set(uid, account);
    return account;
  }

  /** Users who have something. */
  get count(): number {
    return this.#accounts.size;
  }
}
