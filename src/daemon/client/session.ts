import type { Clock } from '../../base/clock.ts';
import { MpoolError } from '../../base/errors.ts';
import type { EngineChoice } from '../../device/host.ts';
import type { PoolParameters, PoolStats } from '../../pool/api.ts';
import { SLOW_DEVICE_MS_DEFAULT } from '../../pool/device-health.ts';
import type { Mcache } from '../../pool/environment.ts';
import { Health } from '../../pool/health.ts';
import { connectionLost } from '../channel.ts';
import type { ChannelEnd } from '../channel.ts';
import type { Answer, ClientChannel, NoticeHandler } from '../client-channel.ts';
import type { Payload } from '../frame-writer.ts';
import type { NoticeName, Operation, Requests } from '../operations.ts';
import { PROTOCOL_VERSION } from '../protocol.ts';
import type { Hello, Notices, Welcome } from '../protocol.ts';
import { Attachment } from './attachment.ts';
import { Connection } from './connection.ts';
import { DeletedIds } from './deleted-ids.ts';
import { commitsTogether, deletionsTogether } from './mblock-changes.ts';
import { applyReaperChanges } from './reaper-reports.ts';

export interface SessionOptions {
  clock: Clock;
  mcache: Mcache;
  /** Of the pool's socket. */
  path: string;
  /** What this program calls itself. */
  client: string;
  readOnly: boolean;
  exclusive: boolean;
  engine: EngineChoice | undefined;
  checksumCacheBytes: number | undefined;
  slowDeviceMs: number | undefined;
  signal: AbortSignal | undefined;
}

/** Anything that must be gone before the pool can close. */
export interface Held {
  /** For the message of BUSY. */
  readonly what: string;
  /** Lets go of it: closes a log, aborts an uncommitted object. */
  release(): Promise<void>;
  /** The connection is gone. @returns true when this is gone with it */
  lost(attachment: Attachment): boolean;
  /** Hands what it buffers to the daemon, and waits until that is ordered. */
  settle?(): Promise<void>;
}

/**
 * One open pool of a daemon: what its handles share, over as many connections as it takes.
 *
 * Invariants
 * 1. What a connection gave is used with that connection only: handles keep the attachment that they are good
 *    for, and compare it.
 * 2. It is always the same pool: one of the same name and another UUID is refused.
 */
export class Session {
  readonly options: SessionOptions;
  readonly deleted = new DeletedIds();
  /** What this process finds wrong, which reads and maps by itself. */
  readonly health: Health;
  /** Open logs and uncommitted objects, in the order in which they came. */
  readonly held = new Set<Held>();
  /** Of writes that nobody waits for: see BlockWriter. */
  aheadBytes = 0;
  readonly commits = commitsTogether(this);
  readonly deletions = deletionsTogether(this);
  readonly #connection: Connection<Attachment>;
  /** Of the first welcome; then the parameters and statistics last told. */
  #pool!: NonNullable<Welcome['pool']>;
  #stats!: PoolStats;
  #closed = false;
  #inFlight = 0;
  #onIdle: (() => void)[] = [];

  /** @throws ERR_MPOOL_ACCESS, ERR_MPOOL_BUSY, ERR_MPOOL_LIMIT, ERR_MPOOL_NOT_FOUND … */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    try {
      await session.#connection.connect(options.signal);
      await session.refreshStats();
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  private constructor(options: SessionOptions) {
    this.options = options;
    this.health = new Health(options.clock);
    this.#connection = new Connection({
      path: options.path,
      clock: options.clock,
      hello: () => ({
        ...this.#hello(),
        access: options.readOnly ? 'read' : 'write',
        ...(options.exclusive && { exclusive: true }),
      }),
      attach: (channel, onNotice) => this.#attach(channel, onNotice),
      onLost: (attachment, end) => this.#lost(attachment, end),
    });
  }

  get name(): string {
    return this.#pool.name;
  }
  get uuid(): string {
    return this.#pool.uuid;
  }
  get readOnly(): boolean {
    return this.options.readOnly;
  }
  /** As last told. */
  get parameters(): PoolParameters {
    return this.#pool.parameters;
  }
  get stats(): PoolStats {
    return this.#stats;
  }

  /** What the present connection gave; undefined while there is none. */
  get attachment(): Attachment | undefined {
    return this.#closed ? undefined : this.#connection.live?.attached;
  }

  /** The same, connected again where it was lost. */
  async attached(): Promise<Attachment> {
    return (await this.#connection.ready()).attached;
  }

  /** Asks on the connection there is, or the next. */
  request<Op extends Operation>(
    operation: Op,
    body: Requests[Op][0],
    payload?: Payload,
  ): Promise<Answer<Requests[Op][1]>> {
    const { attachment } = this;
    if (attachment !== undefined) return this.requestOn(attachment, operation, body, payload);
    return this.attached().then((found) => this.requestOn(found, operation, body, payload));
  }

  /** Asks on the connection that something is good for, or not at all. */
  requestOn<Op extends Operation>(
    attachment: Attachment,
    operation: Op,
    body: Requests[Op][0],
    payload?: Payload,
  ): Promise<Answer<Requests[Op][1]>> {
    attachment.leases.flush();
    return this.during(attachment.channel.request(operation, body, payload));
  }

  /** Closing the pool waits for it. */
  during<T>(work: Promise<T>): Promise<T> {
    this.#inFlight += 1;
    work.then(this.#settled, this.#settled);
    return work;
  }

  readonly #settled = (): void => {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) for (const resume of this.#onIdle.splice(0)) resume();
  };

  async refreshStats(): Promise<void> {
    this.#stats = (await this.request('stats', {})).body;
  }

  setParameters(parameters: PoolParameters): void {
    this.#pool = { ...this.#pool, parameters };
  }

  /** @throws ERR_MPOOL_CLOSED */
  assertOpen(): void {
    if (this.#closed) throw this.closedError();
  }

  /** @throws ERR_MPOOL_CLOSED, ERR_MPOOL_READ_ONLY */
  assertWritable(): void {
    this.assertOpen();
    if (this.readOnly) throw new MpoolError('ERR_MPOOL_READ_ONLY', `pool ${this.name}`);
  }

  closedError(): MpoolError {
    return new MpoolError('ERR_MPOOL_CLOSED', `pool ${this.name}`);
  }

  /** Lets go of all that is held, waits for what is under way, ends the connection. */
  async close(): Promise<void> {
    const errors: unknown[] = [];
    const releasing = [...this.held].map((held) =>
      held.release().catch((error: unknown) => void errors.push(error)),
    );
    await Promise.all(releasing);
    this.#closed = true;
    while (this.#inFlight > 0) await new Promise<void>((resume) => this.#onIdle.push(resume));
    await this.#connection.live?.attached.close();
    await this.#connection.close(new MpoolError('ERR_MPOOL_CLOSED', 'the pool'));
    if (errors.length > 0) throw errors[0];
  }

  #hello(): Hello {
    return { protocol: PROTOCOL_VERSION, client: this.options.client, pid: process.pid };
  }

  async #attach(
    channel: ClientChannel,
    onNotice: (handler: NoticeHandler) => void,
  ): Promise<Attachment> {
    const { pool } = channel.welcome;
    if (pool === undefined) throw connectionLost('the daemon serves no pool there');
    this.#refuseOther(pool);
    this.#pool = pool;
    const { path, clock, mcache, engine, checksumCacheBytes } = this.options;
    const attachment = await Attachment.make(channel, {
      path,
      hello: (token) => ({ ...this.#hello(), descriptorsFor: token }),
      clock,
      mcache,
      engine,
      checksumCacheBytes,
      deleted: this.deleted,
      pool: this,
    });
    attachment.watch(this.health, this.options.slowDeviceMs ?? SLOW_DEVICE_MS_DEFAULT);
    applyReaperChanges(mcache.reaper, pool.reaper);
    onNotice((name, body) => this.#notice(attachment, name, body));
    return attachment;
  }

  /** Descriptors of another pool must not be used with what is known of this one. */
  #refuseOther(pool: NonNullable<Welcome['pool']>): void {
    const known: typeof pool | undefined = this.#pool;
    if (known === undefined || known.uuid === pool.uuid) return;
    throw new MpoolError(
      'ERR_MPOOL_DEVICE_CHANGED',
      `pool ${pool.name} is another than it was: ${pool.uuid}, not ${known.uuid}`,
    );
  }

  #notice<Name extends NoticeName>(attachment: Attachment, name: Name, body: Notices[Name]): void {
    const handlers: { [N in NoticeName]: (told: Notices[N]) => void } = {
      revoked: ({ ids }) => attachment.leases.revokeTold(ids),
      parameters: (parameters) => this.setParameters(parameters),
      devices: (told) => attachment.replaceDevices(told.devices, told.descriptorToken),
      reaper: (changes) => applyReaperChanges(this.options.mcache.reaper, changes),
      // The end of the channel tells it.
      closing: () => {},
    };
    handlers[name](body);
  }

  #lost(attachment: Attachment, { error }: ChannelEnd): void {
    for (const held of this.held) if (held.lost(attachment)) this.held.delete(held);
    // What cannot be closed any more is not missed: the next connection brings its own.
    attachment.close(error).catch(() => {});
  }
}
