import { createServer, type Server, type Socket } from 'node:net';
import { credentialsOf, type PeerCredentials } from '../peer.ts';
import { ServerChannel } from '../server-channel.ts';
import { limitReached } from './limits.ts';

export interface ArrivalsOptions {
  /** Connections at once, those that were received included. */
  connectionsMax: number;
  /** Takes one in, or throws what is answered. */
  receive: (channel: ServerChannel, peer: PeerCredentials) => void | Promise<void>;
  onRefused: (error: unknown) => void;
}

/** Connections that have not said what they want: more are not waited for. */
const ARRIVING_MAX = 1024;
/** Of one user: so that he keeps nobody else from coming. */
const ARRIVING_PER_USER = 128;

/** Takes connections of one socket, until they said who they are and were received or refused. */
export class Arrivals {
  /** To be listened with. */
  readonly server: Server;
  readonly #options: ArrivalsOptions;
  readonly #arriving = new Map<Socket, number | undefined>();
  #closed = false;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
    this.server = createServer((socket) => void this.#accept(socket));
    this.server.maxConnections = options.connectionsMax + ARRIVING_MAX;
  }

  /** Takes no more of them. What was received stays. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.server.close();
    for (const socket of this.#arriving.keys()) socket.destroy();
  }

  async #accept(socket: Socket): Promise<void> {
    if (this.#closed || this.#arriving.size >= ARRIVING_MAX) {
      socket.destroy();
      return;
    }
    this.#arriving.set(socket, undefined);
    try {
      const peer = credentialsOf(socket);
      this.#refuseMore(peer.uid);
      this.#arriving.set(socket, peer.uid);
      const channel = await ServerChannel.accept(socket);
      await this.#receive(channel, peer);
    } catch (error) {
      this.#options.onRefused(error);
      // Where there is a channel it sees to the socket.
      if (socket.listenerCount('error') === 0) socket.on('error', () => {}).destroy();
    } finally {
      this.#arriving.delete(socket);
    }
  }

  #refuseMore(uid: number): void {
    let count = 0;
    for (const other of this.#arriving.values()) if (other === uid) count += 1;
    if (count < ARRIVING_PER_USER) return;
    throw limitReached(`${ARRIVING_PER_USER} connections of user ${uid} that say nothing`);
  }

  async #receive(channel: ServerChannel, peer: PeerCredentials): Promise<void> {
    try {
      await this.#options.receive(channel, peer);
    } catch (error) {
      channel.refuse(error);
      throw error;
    }
  }
}
