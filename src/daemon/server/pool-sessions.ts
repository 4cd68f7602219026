import { MpoolError } from '../../base/errors.ts';
import { peerAlive, type PeerCredentials } from '../peer.ts';
import { PROTOCOL_VERSION, type Welcome } from '../protocol.ts';
import { CHANNEL_LIMITS, type ChannelLimits, type ServerChannel } from '../server-channel.ts';
import { FRAME_BYTES_MAX } from '../wire.ts';
import type { Deadline } from './deadline.ts';
import { DescriptorTickets } from './descriptor-tickets.ts';
import type { PoolAccess, PoolHandler } from './handler.ts';
import { CROWDED_CHANNEL, limitReached, UNCROWDED_CLIENTS } from './limits.ts';
import { closeAll, devicesForClients, openForClient } from './passed-devices.ts';
import { poolAccessOf } from './permission.ts';
import type { PoolService } from './pool-service.ts';
import type { ServerContext } from './server-context.ts';
import { Session } from './session.ts';
import type { UserAccount } from './user-accounts.ts';

/** How often a peer that may be going to end is looked at. */
const LINGER_STEP_MS = 50;

/**
 * The clients of one pool: who is admitted, what all are told, and how each is seen out.
 *
 * Invariants
 * 1. While a session is exclusive there is no other.
 * 2. A session counts from its admission until what it held, but for its leases, is released.
 */
export class PoolSessions {
  readonly #service: PoolService;
  readonly #context: ServerContext;
  readonly #handlers: ReadonlyMap<string, PoolHandler>;
  readonly #tickets: DescriptorTickets;
  /** With what resolves when it is released. */
  readonly #sessions = new Map<Session, Promise<void>>();
  readonly #lingering = new Set<Promise<void>>();
  #closed = false;

  constructor(service: PoolService, handlers: ReadonlyMap<string, PoolHandler>) {
    const { clock, environment, limits } = service.context;
    this.#service = service;
    this.#context = service.context;
    this.#handlers = handlers;
    this.#tickets = new DescriptorTickets(clock, environment.prng, limits.ticketMs);
  }

  /** In the order in which they came. */
  get all(): Session[] {
    return [...this.#sessions.keys()];
  }

  /** Takes a client in, or passes descriptors to one that is. @throws what is answered */
  async receive(channel: ServerChannel, peer: PeerCredentials): Promise<void> {
    const { descriptorsFor } = channel.hello;
    if (descriptorsFor === undefined) await this.#admit(channel, peer);
    else await this.#passDescriptors(channel, this.#tickets.take(descriptorsFor, peer));
  }

  /** @throws ERR_MPOOL_BUSY while clients have the pool open */
  refuseOpen(): void {
    const [first] = this.all;
    if (first === undefined) return;
    const others = this.#sessions.size - 1;
    const who = others === 0 ? first.name : `${first.name} and ${others} more`;
    throw new MpoolError('ERR_MPOOL_BUSY', `pool ${this.#service.name} is open: ${who}`);
  }

  /** Nobody is admitted from here on. */
  close(): void {
    this.#closed = true;
  }

  /**
   * Ends all: requests under way are answered, as far as that takes no longer than `grace`.
   * @param end until then it is waited for what sessions held to be released
   * @returns sessions of which that is not so: their requests go on
   */
  async dismissAll(why: MpoolError, grace: Deadline, end: Deadline): Promise<Session[]> {
    const sessions = this.all;
    for (const { channel } of sessions) channel.pause();
    await grace.meets(Promise.all(sessions.map(({ channel }) => channel.drained())));
    for (const session of sessions) session.dismiss(why);
    const released = async (): Promise<void> => {
      await Promise.all(sessions.map(({ channel }) => channel.ended));
      await this.endedReleased();
    };
    await end.meets(released());
    return this.all;
  }

  /** Resolves when no session is left whose connection ended. */
  async endedReleased(): Promise<void> {
    for (;;) {
      const ended = [...this.#sessions].filter(([{ channel }]) => !channel.open);
      if (ended.length === 0) return;
      await Promise.all(ended.map(([, released]) => released));
    }
  }

  /** Resolves when no leases are left of sessions that ended before. */
  async lingered(): Promise<void> {
    await Promise.all(this.#lingering);
  }

  /** Tells all who may stay; the others go when whoever changed them has his answer. */
  parametersChanged(): void {
    const { parameters } = this.#service;
    for (const session of this.all) {
      if (this.#mayStay(session)) session.channel.notify('parameters', parameters);
    }
    setImmediate(() => this.#dismissDenied());
  }

  devicesChanged(): void {
    const devices = devicesForClients(this.#service.store);
    for (const session of this.all) {
      const descriptorToken = this.#tickets.issue(session);
      session.channel.notify('devices', { devices, descriptorToken });
    }
  }

  async #admit(channel: ServerChannel, peer: PeerCredentials): Promise<void> {
    const { hello } = channel;
    const isExclusive = hello.exclusive === true;
    const { limits, users } = this.#context;
    const isFull =
      this.#sessions.size >= limits.sessionsPerPool || users.of(peer).isFull('clients');
    // What just ended may have been in the way: it is not, once it is released.
    if (isExclusive || isFull || this.all.some((session) => session.exclusive)) {
      await this.endedReleased();
    }
    const access = this.#permitted(peer, hello.access ?? 'write');
    this.#refuseUnlike(isExclusive);
    const account = users.of(peer);
    this.#refuseMore(account);
    account.add('clients', 1);
    const session = new Session({
      service: this.#service,
      channel,
      peer,
      account,
      access,
      handlers: this.#handlers,
    });
    this.#sessions.set(session, this.#seeOut(session));
    const isCrowded = account.bounded && account.held('clients') > UNCROWDED_CLIENTS;
    const channelLimits = { ...CHANNEL_LIMITS, ...(isCrowded && CROWDED_CHANNEL) };
    channel.admit(this.#welcome(session, channelLimits), session.handle, channelLimits);
    this.#context.journal.ofClient('debug', 'a client came', {
      pool: this.#service.name,
      session: session.name,
      uid: peer.uid,
      access,
    });
    this.#service.onSessions();
  }

  /** @throws ERR_MPOOL_ACCESS, ERR_MPOOL_READ_ONLY, ERR_MPOOL_CLOSED */
  #permitted(peer: PeerCredentials, wanted: PoolAccess): PoolAccess {
    const { name, parameters, store } = this.#service;
    if (this.#closed) throw new MpoolError('ERR_MPOOL_CLOSED', `pool ${name}`);
    const access = poolAccessOf(peer, parameters);
    if (access === undefined || (wanted === 'write' && access === 'read')) {
      throw new MpoolError('ERR_MPOOL_ACCESS', `user ${peer.uid}, ${wanted} pool ${name}`);
    }
    if (wanted === 'write' && store.readOnly) {
      throw new MpoolError('ERR_MPOOL_READ_ONLY', `pool ${name} is active read-only`);
    }
    return wanted;
  }

  /** @throws ERR_MPOOL_BUSY */
  #refuseUnlike(exclusive: boolean): void {
    const { name } = this.#service;
    for (const session of this.all) {
      if (!exclusive && !session.exclusive) continue;
      const how = session.exclusive ? ' exclusively' : '';
      throw new MpoolError('ERR_MPOOL_BUSY', `pool ${name} is open${how}: ${session.name}`);
    }
  }

  /** @throws ERR_MPOOL_LIMIT */
  #refuseMore(account: UserAccount): void {
    const { sessionsPerPool } = this.#context.limits;
    if (this.#sessions.size >= sessionsPerPool) {
      throw limitReached(`${sessionsPerPool} clients of pool ${this.#service.name}`);
    }
    account.refuseMore('clients', 1);
  }

  #welcome(session: Session, { requestsInFlight, inlineBytes }: ChannelLimits): Welcome {
    const { version, startedMs, limits, reaper } = this.#context;
    const { name, uuid, parameters, store } = this.#service;
    return {
      protocol: PROTOCOL_VERSION,
      daemon: { version, pid: process.pid, startedMs },
      pool: {
        name,
        uuid,
        readOnly: session.readOnly,
        parameters,
        descriptorToken: this.#tickets.issue(session),
        devices: devicesForClients(store),
        slotBytes: limits.slotBytes,
        slotCount: limits.slotCount,
        reaper,
      },
      limits: { requestsInFlight, frameBytes: FRAME_BYTES_MAX, inlineBytes },
    };
  }

  async #passDescriptors(channel: ServerChannel, session: Session): Promise<void> {
    // Opened for this alone: the session's own may be closed, and its number be another file's, at any time.
    const shared = session.readOnly ? [] : [session.sharedMemory().openAgain()];
    const fds: number[] = [];
    try {
      fds.push(...(await openForClient(this.#service.store)));
      await channel.sendDescriptors([...fds, ...shared]);
    } finally {
      await closeAll([...fds, ...shared]);
    }
  }

  #mayStay({ peer, access }: Session): boolean {
    const permitted = poolAccessOf(peer, this.#service.parameters);
    return permitted === 'write' || permitted === access;
  }

  #dismissDenied(): void {
    for (const session of this.all) {
      if (this.#mayStay(session)) continue;
      const { peer, access } = session;
      const detail = `user ${peer.uid} may no longer ${access} pool ${this.#service.name}`;
      session.dismiss(new MpoolError('ERR_MPOOL_ACCESS', detail));
    }
  }

  /** Waits for its end and releases all but its leases, which may stay for a moment. Never rejects. */
  async #seeOut(session: Session): Promise<void> {
    const { reason, error } = await session.channel.ended;
    this.#tickets.forget(session);
    try {
      await session.release();
    } catch (failure) {
      const facts = { session: session.name, error: failure };
      this.#context.journal.error('a session could not be released', facts);
    }
    this.#sessions.delete(session);
    session.account.give('clients', 1);
    const wasCutOff = reason === 'malformed' || reason === 'backlog';
    this.#context.journal.ofClient(wasCutOff ? 'warn' : 'debug', 'a client went', {
      pool: this.#service.name,
      session: session.name,
      reason,
      ...(wasCutOff && { error }),
    });
    this.#service.onSessions();
    const lingering = this.#linger(session).then(() => void this.#lingering.delete(lingering));
    this.#lingering.add(lingering);
  }

  /** While its process lives it may be reading what it leased: it is given time to notice. */
  async #linger(session: Session): Promise<void> {
    const { clock, limits, journal } = this.#context;
    const untilMs = clock.monotonicMs() + limits.lingerMs;
    const mayRead = (): boolean =>
      session.leases.count > 0 &&
      !this.#service.store.closed &&
      clock.monotonicMs() < untilMs &&
      peerAlive(session.peer);
    while (mayRead()) {
      await new Promise<void>((resolve) => clock.after(LINGER_STEP_MS, resolve, true));
    }
    try {
      await session.leases.close();
    } catch (error) {
      journal.error('leases could not be released', { pool: this.#service.name, error });
    }
  }
}
