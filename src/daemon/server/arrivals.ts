import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { credentialsOf, type PeerCredentials } from '../peer.ts';
import { ServerChannel } from '../server-channel.ts';
import type { DaemonLimits } from './limits.ts';
import { limitReached } from './limits.ts';
import { isManager } from './permission.ts';
import type { UserAccounts } from './user-accounts.ts';

export interface ArrivalsOptions {
  /** Connections at once that were received. */
  connectionsMax: number;
  limits: Pick<DaemonLimits, 'arrivals' | 'arrivalsKept'>;
  users: UserAccounts;
  /** Takes one in, or throws what is answered. */
  receive: (channel: ServerChannel, peer: PeerCredentials) => void | Promise<void>;
  onRefused: (error: unknown) => void;
}

/**
 * Takes connections of one socket, until they said who they are and were received or refused.
 *
 * Invariant: a connection counts as arriving, of its user, until it was received or its socket is closed:
 * so nobody keeps others out by connections that say nothing, or by such as are refused.
 */
export class Arrivals {
  /** To be listened with. */
  readonly server: Server;
  readonly #options: ArrivalsOptions;
  readonly #arriving = new Set<Socket>();
  #closed = false;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
    this.server = createServer((socket) => void this.#accept(socket));
    const { arrivals, arrivalsKept } = options.limits;
    this.server.maxConnections = options.connectionsMax + arrivals + arrivalsKept;
  }

  /** Takes no more of them. What was received stays. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.server.close();
    for (const socket of this.#arriving) socket.destroy();
  }

  async #accept(socket: Socket): Promise<void> {
    // Until there is a channel, which sees to it.
    const onError = (): void => {};
    socket.on('error', onError);
    let peer: PeerCredentials;
    try {
      peer = credentialsOf(socket);
      this.#refuseMore(peer);
    } catch (error) {
      if (!this.#closed) this.#options.onRefused(error);
      socket.destroy();
      return;
    }
    const account = this.#options.users.of(peer);
    account.add('arrivals', 1);
    this.#arriving.add(socket);
    try {
      const accepting = ServerChannel.accept(socket);
      socket.off('error', onError);
      await this.#receive(await accepting, peer, socket);
    } catch (error) {
      this.#options.onRefused(error);
      if (!socket.closed) await once(socket, 'close').catch(() => {});
    } finally {
      this.#arriving.delete(socket);
      account.give('arrivals', 1);
    }
  }

  /** @throws ERR_MPOOL_LIMIT */
  #refuseMore(peer: PeerCredentials): void {
    const { limits, users } = this.#options;
    const most = limits.arrivals + (isManager(peer) ? limits.arrivalsKept : 0);
    if (this.#closed || this.#arriving.size >= most) {
      throw limitReached(`${most} connections that say nothing`);
    }
    users.of(peer).refuseMore('arrivals', 1);
  }

  async #receive(channel: ServerChannel, peer: PeerCredentials, socket: Socket): Promise<void> {
    try {
      await this.#options.receive(channel, peer);
    } catch (error) {
      channel.refuse(error);
      throw error;
    }
    // It was served at once, and is being closed.
    if (!channel.open && !socket.closed) await channel.ended;
  }
}
