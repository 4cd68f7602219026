import { formatUuid } from '../../base/bytes.ts';
import type { MpoolError } from '../../base/errors.ts';
import { Serial } from '../../base/serial.ts';
import type { MblockId } from '../../format/object-id.ts';
import type { MediaClassOptions, PoolParameters } from '../../pool/api.ts';
import { sharePool, type SharedPool, StorePool } from '../../pool/pool.ts';
import type { Store } from '../../pool/store.ts';
import { poolSocketPath } from '../rundir.ts';
import { Arrivals } from './arrivals.ts';
import type { Deadline } from './deadline.ts';
import type { PoolHandler } from './handler.ts';
import type { PoolLeases } from './leases.ts';
import { Listings } from './listings.ts';
import { socketOwnership } from './permission.ts';
import { PoolSessions } from './pool-sessions.ts';
import { RecoveredLogs } from './recovered-logs.ts';
import type { ServerContext } from './server-context.ts';
import type { Session } from './session.ts';
import type { Compactions } from './session-logs.ts';

/** For a file of the run directory to be removed, where time is over already. */
const SOCKET_MS = 500;

/**
 * One active pool: its store, its socket, and its clients.
 *
 *   listen() ──► serving ──deactivate(), stop()──► stopping ──► stopped
 *
 * Invariants
 * 1. What is open is refused to whoever wants to deactivate, rename or destroy the pool.
 * 2. The store is shut down after the last session is released.
 */
export class PoolService {
  readonly context: ServerContext;
  readonly shared: SharedPool;
  readonly leases: PoolLeases;
  readonly compactions: Compactions = new Map();
  readonly listings = new Listings();
  readonly recoveredLogs: RecoveredLogs;
  /** For what the service does itself; never closed, since the service outlives no store. */
  readonly pool: StorePool;
  readonly #sessions: PoolSessions;
  readonly #changes = new Serial();
  readonly #arrivals: Arrivals;
  readonly #socketPath: string;
  #listening = false;
  /** By clients, since the pool is active. */
  writtenBytes = 0;
  /** Told when a session came or went. */
  onSessions: () => void = () => {};

  /** @param leases the maps of the store, as its environment made them */
  constructor(
    context: ServerContext,
    store: Store,
    leases: PoolLeases,
    handlers: ReadonlyMap<string, PoolHandler>,
  ) {
    this.context = context;
    this.shared = sharePool(store);
    this.leases = leases;
    this.recoveredLogs = new RecoveredLogs(context.environment.prng);
    this.pool = new StorePool(this.shared, () => Promise.resolve());
    this.#sessions = new PoolSessions(this, handlers);
    this.#socketPath = poolSocketPath(context.rundir.path, this.name);
    this.#arrivals = new Arrivals({
      connectionsMax: context.limits.sessionsPerPool,
      limits: context.limits,
      users: context.users,
      receive: (channel, peer) => this.#sessions.receive(channel, peer),
      onRefused: (error) => {
        context.journal.ofClient('info', 'a client was refused', { pool: this.name, error });
      },
    });
  }

  get store(): Store {
    return this.shared.store;
  }
  get name(): string {
    return this.store.superblock.name;
  }
  get uuid(): string {
    return formatUuid(this.store.superblock.poolUuid);
  }
  get capacityPath(): string {
    return this.store.capacity.device.path;
  }
  get parameters(): PoolParameters {
    return this.store.parameters;
  }
  /** In the order in which they came. */
  get sessions(): Session[] {
    return this.#sessions.all;
  }

  /** Lets clients come. @throws as Rundir.listen(); the store is still the caller's then */
  async listen(): Promise<void> {
    const ownership = socketOwnership(this.parameters);
    await this.context.rundir.listen(this.#arrivals.server, this.#socketPath, ownership);
    this.#listening = true;
  }

  /** Durable, and in force when it resolves: sessions that may no longer do what they do are ended. */
  async setParameters(changes: Partial<PoolParameters>): Promise<void> {
    await this.#changes.run(async () => {
      await this.pool.setParameters(changes);
      try {
        const ownership = socketOwnership(this.parameters);
        if (this.#listening) await this.context.rundir.setOwnership(this.#socketPath, ownership);
      } finally {
        this.#sessions.parametersChanged();
      }
    });
  }

  async addMediaClass(
    mediaClass: 'staging',
    options: MediaClassOptions & { force?: boolean | undefined },
  ): Promise<void> {
    await this.pool.addMediaClass(mediaClass, options);
    this.#sessions.devicesChanged();
  }

  async grow(): Promise<number> {
    const gainedBytes = await this.pool.grow();
    if (gainedBytes > 0) this.#sessions.devicesChanged();
    return gainedBytes;
  }

  /** All are checked before any is deleted. @param by whose leases need no notice */
  async deleteMblocks(by: Session, ids: readonly MblockId[], refuseMapped: boolean): Promise<void> {
    const { store } = this;
    store.assertWritable();
    const objects = [...new Set(ids)].map((id) => ({ id, index: store.indexOf(id) }));
    this.leases.beginDeletion(store, objects);
    try {
      const indices = objects.map(({ index }) => index);
      await store.deleteObjects(indices, refuseMapped);
    } finally {
      // After a failure some may be deleted all the same.
      this.leases.revoke(store, objects, by.leases);
    }
  }

  /** @throws ERR_MPOOL_BUSY while clients have it open */
  async deactivate(): Promise<void> {
    await this.#sessions.endedReleased();
    this.#sessions.refuseOpen();
    this.#sessions.close();
    await this.#sessions.lingered();
    await this.#shutdown();
  }

  /**
   * Ends all sessions, and the pool: requests under way are answered, as far as `grace` lets them. A pool of
   * which a request goes on is not shut down under it: what is on media is whole at any time.
   * @returns what was not finished until `end`
   */
  async stop(why: MpoolError, grace: Deadline, end: Deadline): Promise<string | undefined> {
    this.#sessions.close();
    this.#arrivals.close();
    const [first, ...others] = await this.#sessions.dismissAll(why, grace, end);
    if (first === undefined) {
      return (await end.meets(this.#shutdown())) ? undefined : `pool ${this.name}: its devices`;
    }
    await end.later(SOCKET_MS).meets(this.#removeSocket());
    const { requestsInFlight } = first.channel;
    const more = others.length === 0 ? '' : ` and ${others.length} more`;
    return `pool ${this.name}: ${requestsInFlight} requests of ${first.name}${more}`;
  }

  async #shutdown(): Promise<void> {
    this.#arrivals.close();
    await this.#removeSocket();
    await this.store.shutdown(true);
  }

  async #removeSocket(): Promise<void> {
    await this.#changes.run(async () => {
      this.#listening = false;
      await this.context.rundir.remove(this.#socketPath);
    });
  }
}
