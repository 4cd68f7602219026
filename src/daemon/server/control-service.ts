import { MpoolError } from '../../base/errors.ts';
import { accessOf, type PeerCredentials } from '../peer.ts';
import { PROTOCOL_VERSION, type Welcome } from '../protocol.ts';
import { controlSocketPath, socketMode } from '../rundir.ts';
import { CHANNEL_LIMITS, type ChannelLimits, type ServerChannel } from '../server-channel.ts';
import { FRAME_BYTES_MAX } from '../wire.ts';
import { Arrivals } from './arrivals.ts';
import { CONFIG_DEFAULTS, groupNumber } from './config.ts';
import { ControlSession } from './control-session.ts';
import type { Daemon } from './daemon.ts';
import type { Deadline } from './deadline.ts';
import type { ControlAccess, ControlHandler } from './handler.ts';
import { limitReached, LOOKING_CHANNEL } from './limits.ts';
import { isManager } from './permission.ts';
import type { UserAccount } from './user-accounts.ts';

export interface ControlAccessRule {
  /** As of a file: who may manage (w) and look (r). Its owner is the daemon's user. */
  ctlMode: number;
  ctlGroup: string | undefined;
}

/** Clients that manage: the socket `ctl`. */
export class ControlService {
  readonly #daemon: Daemon;
  readonly #handlers: ReadonlyMap<string, ControlHandler>;
  readonly #arrivals: Arrivals;
  readonly #path: string;
  readonly #sessions = new Set<ControlSession>();
  /** Of those, neither root's nor of the daemon's own user. */
  #boundedCount = 0;
  #rule = { uid: process.geteuid!(), gid: process.getegid!(), mode: CONFIG_DEFAULTS.ctlMode };
  /** The socket's file is ours to change and remove: not when who started the daemon made it. */
  #ownsSocket = false;
  /** Told when a client came or went. */
  onSessions: () => void = () => {};

  constructor(daemon: Daemon, handlers: ReadonlyMap<string, ControlHandler>) {
    const { limits, users, journal, rundir } = daemon.context;
    this.#daemon = daemon;
    this.#handlers = handlers;
    this.#path = controlSocketPath(rundir.path);
    this.#arrivals = new Arrivals({
      connectionsMax: limits.controlSessions,
      limits,
      users,
      receive: (channel, peer) => this.#admit(channel, peer),
      onRefused: (error) => journal.ofClient('info', 'a client of ctl was refused', { error }),
    });
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** @param passedFd of a socket that listens already: socket activation */
  async listen(rule: ControlAccessRule, passedFd: number | undefined): Promise<void> {
    this.#rule = await ruleOf(rule);
    const { server } = this.#arrivals;
    if (passedFd === undefined) {
      const { rundir } = this.#daemon.context;
      await rundir.listen(server, this.#path, this.#socketOwnership);
      this.#ownsSocket = true;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd: passedFd }, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
  }

  /** From now on; who is connected stays. */
  async setRule(rule: ControlAccessRule): Promise<void> {
    this.#rule = await ruleOf(rule);
    if (!this.#ownsSocket) return;
    await this.#daemon.context.rundir.setOwnership(this.#path, this.#socketOwnership);
  }

  /** Takes nobody any more. */
  async stopListening(): Promise<void> {
    this.#arrivals.close();
    if (this.#ownsSocket) await this.#daemon.context.rundir.remove(this.#path);
  }

  /** Ends all connections: what they asked is answered, as far as `grace` lets it. */
  async close(why: MpoolError, grace: Deadline): Promise<void> {
    await this.stopListening();
    const sessions = [...this.#sessions];
    for (const { channel } of sessions) channel.pause();
    await grace.meets(Promise.all(sessions.map(({ channel }) => channel.drained())));
    for (const { channel } of sessions) channel.close({ code: why.code, message: why.message });
    await Promise.all(sessions.map(({ channel }) => channel.ended));
  }

  #admit(channel: ServerChannel, peer: PeerCredentials): void {
    const access = this.#accessOf(peer);
    if (access === undefined) throw new MpoolError('ERR_MPOOL_ACCESS', `user ${peer.uid}, ctl`);
    const account = this.#daemon.context.users.of(peer);
    this.#refuseMore(access, account);
    account.add('controlClients', 1);
    if (account.bounded) this.#boundedCount += 1;
    const session = new ControlSession({
      daemon: this.#daemon,
      channel,
      peer,
      access,
      handlers: this.#handlers,
    });
    this.#sessions.add(session);
    const channelLimits = { ...CHANNEL_LIMITS, ...(access === 'look' && LOOKING_CHANNEL) };
    channel.admit(this.#welcome(channelLimits), session.handle, channelLimits);
    this.onSessions();
    void channel.ended.then(() => {
      this.#sessions.delete(session);
      session.scrubs.stopAll();
      account.give('controlClients', 1);
      if (account.bounded) this.#boundedCount -= 1;
      this.onSessions();
    });
  }

  /** Anyone may look: that keeps nobody from managing. @throws ERR_MPOOL_LIMIT */
  #refuseMore(access: ControlAccess, account: UserAccount): void {
    const { controlSessions, controlSessionsKept } = this.#daemon.context.limits;
    const most = account.bounded ? controlSessions - controlSessionsKept : controlSessions;
    const count = account.bounded ? this.#boundedCount : this.#sessions.size;
    if (count >= most) throw limitReached(`${most} clients of ctl`);
    if (access === 'look') account.refuseMore('controlClients', 1);
  }

  #accessOf(peer: PeerCredentials): ControlAccess | undefined {
    if (isManager(peer)) return 'manage';
    const access = accessOf(peer, this.#rule);
    return access === undefined ? undefined : access === 'write' ? 'manage' : 'look';
  }

  #welcome({ requestsInFlight, inlineBytes }: ChannelLimits): Welcome {
    const { version, startedMs } = this.#daemon.context;
    return {
      protocol: PROTOCOL_VERSION,
      daemon: { version, pid: process.pid, startedMs },
      limits: { requestsInFlight, frameBytes: FRAME_BYTES_MAX, inlineBytes },
    };
  }

  get #socketOwnership() {
    return { ...this.#rule, mode: socketMode(this.#rule.mode) };
  }
}

async function ruleOf({ ctlMode, ctlGroup }: ControlAccessRule) {
  const gid = ctlGroup === undefined ? process.getegid!() : await groupNumber(ctlGroup);
  return { uid: process.geteuid!(), gid, mode: ctlMode };
}
