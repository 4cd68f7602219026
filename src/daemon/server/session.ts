import { InvariantError } from '../../base/assert.ts';
import { invalidArgument, MpoolError } from '../../base/errors.ts';
import type { ReaperStats } from '../../pool/api.ts';
import type { PeerCredentials } from '../peer.ts';
import type { ClientInfo } from '../protocol.ts';
import type { Incoming, Reply, ServerChannel } from '../server-channel.ts';
import { SharedMemory } from '../shared-slots.ts';
import type { PoolAccess, PoolHandler } from './handler.ts';
import { isExpected } from './journal.ts';
import { SessionLeases } from './leases.ts';
import type { PoolService } from './pool-service.ts';
import { carryOut } from './carry-out.ts';
import { SessionLogs } from './session-logs.ts';
import { SessionObjects } from './session-objects.ts';
import { LentSlots } from './slot-bytes.ts';
import type { UserAccount } from './user-accounts.ts';

export interface SessionParts {
  service: PoolService;
  channel: ServerChannel;
  peer: PeerCredentials;
  account: UserAccount;
  access: PoolAccess;
  handlers: ReadonlyMap<string, PoolHandler>;
}

/**
 * One client of one pool, from its welcome to the end of its connection, and a little beyond.
 *
 *   admitted ──connection ends──► releasing ──► lingering ──► gone
 *                 requests under way end;   its process lives: it may
 *                 uncommitted objects, logs  still be reading leased
 *                 and the slots go            objects for a moment
 *
 * Invariants
 * 1. Everything that a request makes for the client hangs on the session, and is released once, after the
 *    last request under way: nothing is held for a client that is gone.
 * 2. Nothing that the client sends reaches beyond its own objects, logs and leases, but through
 *    the pool's own
 *    checks.
 */
export class Session {
  readonly id: number;
  readonly service: PoolService;
  readonly channel: ServerChannel;
  readonly peer: PeerCredentials;
  readonly account: UserAccount;
  readonly access: PoolAccess;
  readonly exclusive: boolean;
  readonly objects: SessionObjects;
  readonly logs: SessionLogs;
  readonly leases: SessionLeases;
  readonly connectedMs: number;
  writtenBytes = 0;
  reaperStats: ReaperStats | undefined;
  readonly #handlers: ReadonlyMap<string, PoolHandler>;
  #slots: LentSlots | undefined;

  constructor({ service, channel, peer, account, access, handlers }: SessionParts) {
    const { shared, context } = service;
    const { limits } = context;
    this.id = context.nextSessionId();
    this.service = service;
    this.channel = channel;
    this.peer = peer;
    this.account = account;
    this.access = access;
    this.exclusive = channel.hello.exclusive === true;
    this.connectedMs = context.environment.clock.wallMs();
    this.#handlers = handlers;
    this.objects = new SessionObjects(shared, limits.uncommittedObjects, account);
    this.logs = new SessionLogs(service.compactions, limits, account);
    this.leases = new SessionLeases(service.leases, shared.store, limits, account, (ids) => {
      channel.notify('revoked', { ids });
    });
  }

  get readOnly(): boolean {
    return this.access === 'read';
  }

  /** What it calls itself, as far as that can be shown. */
  get client(): string {
    return this.channel.hello.client.replace(/[^\x20-\x7e]/g, '?');
  }

  /** For messages. */
  get name(): string {
    return `session ${this.id} (${this.client}, pid ${this.peer.pid})`;
  }

  get info(): ClientInfo {
    const { requestsInFlight, requestCount } = this.channel;
    return {
      pool: this.service.name,
      session: this.id,
      pid: this.peer.pid,
      uid: this.peer.uid,
      gid: this.peer.gid,
      client: this.client,
      access: this.access,
      exclusive: this.exclusive,
      connectedMs: this.connectedMs,
      requestsInFlight,
      requestCount,
      leaseCount: this.leases.count,
      mappedCount: this.leases.mappedCount,
      uncommittedCount: this.objects.count,
      openLogCount: this.logs.count,
      writtenBytes: this.writtenBytes,
    };
  }

  countWritten(bytes: number): void {
    this.writtenBytes += bytes;
    this.service.writtenBytes += bytes;
  }

  /** The memory that this client fills, made when it fetches the descriptor of it. @throws ERR_MPOOL_LIMIT */
  sharedMemory(): SharedMemory {
    if (this.#slots !== undefined) return this.#slots.memory;
    const { slotBytes, slotCount } = this.service.context.limits;
    const bytes = slotBytes * slotCount;
    this.account.refuseMore('sharedBytes', bytes);
    this.#slots = new LentSlots(new SharedMemory({ slotBytes, slotCount }));
    this.account.add('sharedBytes', bytes);
    return this.#slots.memory;
  }

  /** @throws RangeError before the client fetched the descriptor */
  slots(): LentSlots {
    if (this.#slots !== undefined) return this.#slots;
    throw invalidArgument('this session has no shared memory: fetch its descriptor first');
  }

  /** What ServerChannel calls for each request, in order. */
  readonly handle = (request: Incoming): Reply | Promise<Reply> =>
    carryOut(
      this.service.context,
      request,
      () => this.#run(request),
      (error) => this.#broken(error),
    );

  #run(request: Incoming): Reply | Promise<Reply> {
    const { operation } = request;
    const handler = this.#handlers.get(operation);
    if (handler === undefined) {
      throw invalidArgument(`'${operation}' is no request to a pool`);
    }
    if (handler.access === 'write' && this.access === 'read') {
      throw new MpoolError('ERR_MPOOL_READ_ONLY', `pool ${this.service.name}`);
    }
    return handler.run(this, request);
  }

  /** A bug showed itself in a request: what else this session would do is not to be relied on. */
  #broken(error: unknown): void {
    this.service.context.journal.error('a request failed for a reason within the daemon', {
      session: this.name,
      error,
    });
    if (error instanceof InvariantError) {
      const { store } = this.service;
      store.fail(new MpoolError('ERR_MPOOL_FAILED', error.message, { cause: error }));
    }
    // The answer leaves first.
    setImmediate(() => {
      this.dismiss(new MpoolError('ERR_MPOOL_CLOSED', 'a bug of the daemon: see its log'));
    });
  }

  /** Ends the connection from this side. */
  dismiss(why: MpoolError): void {
    this.channel.close({ code: why.code, message: why.message });
  }

  /**
   * Gives back, once the connection ended, what only requests use: all but the leases.
   * Never rejects: what cannot be released in order is told.
   */
  async release(): Promise<void> {
    await this.channel.drained();
    this.service.listings.forget(this);
    for (const attempt of [() => this.objects.close(), () => this.logs.closeAll()]) {
      try {
        await attempt();
      } catch (error) {
        const level = isExpected(error) ? 'warn' : 'error';
        this.service.context.journal.ofClient(level, 'a session could not be released in order', {
          session: this.name,
          error,
        });
      }
    }
    if (this.#slots === undefined) return;
    const { memory } = this.#slots;
    memory.close();
    this.account.give('sharedBytes', memory.slotBytes * memory.slotCount);
  }
}
