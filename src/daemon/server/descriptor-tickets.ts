import type { Clock } from '../../base/clock.ts';
import { MpoolError } from '../../base/errors.ts';
import type { Prng } from '../../base/prng.ts';
import type { PeerCredentials } from '../peer.ts';
import type { Session } from './session.ts';

/** A client that asks for them again and again without fetching has only its last ones. */
const TICKETS_PER_SESSION = 4;

interface Ticket {
  session: Session;
  untilMs: number;
}

/** Promises of descriptors: good once, for a while, for the process to which they were made. */
export class DescriptorTickets {
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly #goodMs: number;
  readonly #tickets = new Map<string, Ticket>();

  constructor(clock: Clock, prng: Prng, goodMs: number) {
    this.#clock = clock;
    this.#prng = prng;
    this.#goodMs = goodMs;
  }

  issue(session: Session): string {
    this.#dropOld(session);
    const words = Array.from({ length: 4 }, () => this.#prng.u32().toString(16).padStart(8, '0'));
    const token = words.join('');
    this.#tickets.set(token, { session, untilMs: this.#clock.monotonicMs() + this.#goodMs });
    return token;
  }

  /** @throws ERR_MPOOL_ACCESS for a token that is not good, or not this process's */
  take(token: string, peer: PeerCredentials): Session {
    const ticket = this.#tickets.get(token);
    if (ticket !== undefined) {
      const { session, untilMs } = ticket;
      const isSame = session.peer.pid === peer.pid && session.peer.uid === peer.uid;
      const isGood = this.#clock.monotonicMs() <= untilMs && session.channel.open;
      if (isSame) this.#tickets.delete(token);
      if (isSame && isGood) return session;
    }
    throw new MpoolError('ERR_MPOOL_ACCESS', 'the descriptor token is not good (any more)');
  }

  forget(session: Session): void {
    for (const [token, ticket] of this.#tickets) {
      if (ticket.session === session) this.#tickets.delete(token);
    }
  }

  #dropOld(session: Session): void {
    const own: string[] = [];
    const now = this.#clock.monotonicMs();
    for (const [token, ticket] of this.#tickets) {
      if (ticket.untilMs < now) this.#tickets.delete(token);
      else if (ticket.session === session) own.push(token);
    }
    const tooMany = own.length + 1 - TICKETS_PER_SESSION;
    for (const token of own.slice(0, Math.max(0, tooMany))) this.#tickets.delete(token);
  }
}
