import { invalidArgument, MpoolError } from '../../base/errors.ts';
import type { PoolParameters } from '../../pool/api.ts';
import type { Ownership, PeerCredentials } from '../peer.ts';
import type { Incoming, Reply, ServerChannel } from '../server-channel.ts';
import { carryOut } from './carry-out.ts';
import type { ControlAccess, ControlHandler } from './handler.ts';
import type { Daemon } from './daemon.ts';
import { poolAccessOf, refuseOwnershipChange } from './permission.ts';
import { Scrubs } from './scrubs.ts';

/** One client of the control socket. Beyond its requests it holds nothing but the scrubs it asked for. */
export class ControlSession {
  readonly daemon: Daemon;
  readonly channel: ServerChannel;
  readonly peer: PeerCredentials;
  readonly access: ControlAccess;
  readonly scrubs: Scrubs;
  readonly #handlers: ReadonlyMap<string, ControlHandler>;

  constructor(parts: {
    daemon: Daemon;
    channel: ServerChannel;
    peer: PeerCredentials;
    access: ControlAccess;
    handlers: ReadonlyMap<string, ControlHandler>;
  }) {
    this.daemon = parts.daemon;
    this.channel = parts.channel;
    this.peer = parts.peer;
    this.access = parts.access;
    this.scrubs = new Scrubs(parts.daemon.context.clock);
    this.#handlers = parts.handlers;
  }

  /** For messages. */
  get name(): string {
    return `${this.channel.hello.client}, pid ${this.peer.pid}`;
  }

  /** What ServerChannel calls for each request, in order. */
  readonly handle = (request: Incoming): Reply | Promise<Reply> =>
    carryOut(
      this.daemon.context,
      request,
      () => this.#run(request),
      (error) => {
        const facts = { client: this.name, operation: request.operation, error };
        this.daemon.context.journal.error('a request failed for a reason within the daemon', facts);
      },
    );

  /** @throws ERR_MPOOL_PERMISSION */
  assertManaging(): void {
    if (this.isManaging) return;
    throw new MpoolError('ERR_MPOOL_PERMISSION', `user ${this.peer.uid} may only look`);
  }

  get isManaging(): boolean {
    return this.access === 'manage';
  }

  /** What is served to whom: the caller sees pools that he may open, and clients of his own. */
  maySeePool(parameters: Ownership): boolean {
    return this.isManaging || poolAccessOf(this.peer, parameters) !== undefined;
  }
  maySeeClient(client: Pick<PeerCredentials, 'uid'>): boolean {
    return this.isManaging || client.uid === this.peer.uid;
  }

  /** The owner of a pool changes it too, as a file's owner does. @throws ERR_MPOOL_PERMISSION */
  assertMayChange(current: Ownership, changes: Partial<PoolParameters>): void {
    if (this.isManaging) return;
    if (this.peer.uid !== current.uid) this.assertManaging();
    refuseOwnershipChange(this.peer, current, changes);
  }

  #run(request: Incoming): Reply | Promise<Reply> {
    const { operation } = request;
    const handler = this.#handlers.get(operation);
    if (handler === undefined) throw invalidArgument(`'${operation}' is no request to ctl`);
    if (handler.access === 'manage') this.assertManaging();
    return handler.run(this, request);
  }
}
