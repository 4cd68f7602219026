import type { Clock } from '../../base/clock.ts';
import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { connectionLost } from '../channel.ts';
import type { ChannelEnd } from '../channel.ts';
import { ClientChannel } from '../client-channel.ts';
import type { Answer, NoticeHandler } from '../client-channel.ts';
import type { Payload } from '../frame-writer.ts';
import type { Operation, Requests } from '../operations.ts';
import type { Hello } from '../protocol.ts';

export interface ConnectionOptions<Attached> {
  path: string;
  clock: Clock;
  /** Asked anew for each connection. */
  hello: () => Hello;
  /**
   * What belongs to one connection is made here, before anything is asked on it.
   * @param onNotice what the daemon says from now on goes there
   */
  attach: (
    channel: ClientChannel,
    onNotice: (handler: NoticeHandler) => void,
  ) => Attached | Promise<Attached>;
  /** The connection ended; what was under way on it is rejected. */
  onLost?: ((attached: Attached, end: ChannelEnd) => void) | undefined;
}

/** What a connection is good for while it lasts. */
export interface Live<Attached> {
  readonly channel: ClientChannel;
  readonly attached: Attached;
}

/** A request waits so long for a daemon that is gone. */
const RECONNECT_MS = 30_000;
const BACKOFF_MIN_MS = 10;
/** A channel ends within less. */
const CLOSE_MS = 5000;
const BACKOFF_MAX_MS = 1000;

/**
 * A connection to the daemon that comes back by itself, when something is asked.
 *
 *   connect() ──► live ──(the daemon ends, or it is cut)──► lost ──(something is asked)──► live
 *                  └──────────────── close() ────────────────┴─────────────────────────► closed
 *
 * Invariants
 * 1. There is at most one attempt to connect at a time, however many wait for it.
 * 2. What was asked on a connection that ends is rejected, never asked again: its outcome is unknown. What
 *    was not asked yet waits for the next connection.
 * 3. Nothing here keeps the process alive unless something is asked.
 */
export class Connection<Attached> {
  readonly #options: ConnectionOptions<Attached>;
  #live: Live<Attached> | undefined;
  #attempt: Promise<Live<Attached>> | undefined;
  #failures = 0;
  #closed: MpoolError | undefined;

  /** It is not connected before connect(), or ready(). */
  constructor(options: ConnectionOptions<Attached>) {
    this.#options = options;
  }

  /** The first attempt, which is not repeated. @throws what it fails with */
  async connect(signal?: AbortSignal): Promise<Live<Attached>> {
    return this.#connect(signal);
  }

  /** Undefined while there is no connection. */
  get live(): Live<Attached> | undefined {
    return this.#live?.channel.open === true ? this.#live : undefined;
  }

  /**
   * The connection, made again where it was lost.
   * @throws ERR_MPOOL_CONNECTION_LOST when no daemon came back in time; what a daemon refuses with; what
   *   close() was given
   */
  async ready(): Promise<Live<Attached>> {
    const { clock, path } = this.#options;
    const giveUpMs = clock.monotonicMs() + RECONNECT_MS;
    for (;;) {
      if (this.#closed !== undefined) throw this.#closed;
      const { live } = this;
      if (live !== undefined) return live;
      try {
        return await (this.#attempt ??= this.#connectLater());
      } catch (error) {
        if (this.#closed !== undefined) throw this.#closed;
        if (!mayComeBack(error)) throw error;
        if (clock.monotonicMs() >= giveUpMs) {
          throw connectionLost(`${path}: no daemon for ${RECONNECT_MS / 1000} s`, error);
        }
      }
    }
  }

  /** Asks, once there is a connection. */
  request<Op extends Operation>(
    operation: Op,
    body: Requests[Op][0],
    payload?: Payload,
  ): Promise<Answer<Requests[Op][1]>> {
    const { live } = this;
    if (live !== undefined) return live.channel.request(operation, body, payload);
    return this.ready().then(({ channel }) => channel.request(operation, body, payload));
  }

  /**
   * Ends the connection, and waits until both sides know.
   * @param why what is asked from now on is refused with
   */
  async close(why: MpoolError): Promise<void> {
    this.#closed ??= why;
    const channel = this.#live?.channel;
    if (channel === undefined) return;
    channel.close();
    // A connection on which nothing is asked does not keep the process alive.
    const alive = this.#options.clock.after(CLOSE_MS, () => {}, true);
    await channel.ended;
    alive.cancel();
  }

  /** After a pause that grows with each failure. */
  async #connectLater(): Promise<Live<Attached>> {
    const { clock } = this.#options;
    try {
      if (this.#failures > 0) {
        const pauseMs = Math.min(BACKOFF_MIN_MS * 2 ** (this.#failures - 1), BACKOFF_MAX_MS);
        await new Promise<void>((resume) => clock.after(pauseMs, resume, true));
      }
      if (this.#closed !== undefined) throw this.#closed;
      const live = await this.#connect();
      this.#failures = 0;
      return live;
    } catch (error) {
      this.#failures += 1;
      throw error;
    } finally {
      this.#attempt = undefined;
    }
  }

  async #connect(signal?: AbortSignal): Promise<Live<Attached>> {
    const { path, hello, attach } = this.#options;
    let handler: NoticeHandler | undefined;
    const missed: (() => void)[] = [];
    const channel = await ClientChannel.connect(path, hello(), {
      signal,
      onNotice: (name, body) => {
        if (handler === undefined) missed.push(() => handler?.(name, body));
        else handler(name, body);
      },
    });
    try {
      const attached = await attach(channel, (given) => {
        handler = given;
        for (const tell of missed.splice(0)) tell();
      });
      if (this.#closed !== undefined) throw this.#closed;
      const live: Live<Attached> = { channel, attached };
      this.#live = live;
      void channel.ended.then((end) => this.#lost(live, end));
      return live;
    } catch (error) {
      channel.destroy();
      throw error;
    }
  }

  #lost(live: Live<Attached>, end: ChannelEnd): void {
    if (this.#live === live) this.#live = undefined;
    this.#options.onLost?.(live.attached, end);
  }
}

/** Errors that another attempt may not meet: a daemon that is being started again, or not done with us. */
function mayComeBack(error: unknown): boolean {
  if (isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST')) return true;
  // It is stopping, and another may follow.
  if (isMpoolError(error, 'ERR_MPOOL_CLOSED')) return true;
  // Nobody listens yet; or the daemon has not noticed the end of the connection that had it exclusively.
  return isMpoolError(error, 'ERR_MPOOL_NOT_FOUND') || isMpoolError(error, 'ERR_MPOOL_BUSY');
}
