import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { type MlogId, printObjectId } from '../../format/object-id.ts';
import { connectionLost } from '../channel.ts';
import type { Attachment } from './attachment.ts';
import type { Held, Session } from './session.ts';

/** Logs that are allocated and not committed: one for an mlog, two for an MDC. */
export class ClientAllocation implements Held {
  readonly #session: Session;
  readonly #attachment: Attachment;
  readonly #id: MlogId;
  readonly #requests: { commit: () => Promise<unknown>; abort: () => Promise<unknown> };
  #state: 'open' | 'committing' | 'committed' | 'aborted' | 'lost' = 'open';
  #committing: Promise<void> | null = null;
  #aborting: Promise<void> | null = null;

  constructor(
    session: Session,
    attachment: Attachment,
    id: MlogId,
    requests: { commit: () => Promise<unknown>; abort: () => Promise<unknown> },
  ) {
    this.#session = session;
    this.#attachment = attachment;
    this.#id = id;
    this.#requests = requests;
    session.held.add(this);
  }

  get what(): string {
    return `${this.#name} is not committed`;
  }

  /** Again, or while it is under way: the same commit. */
  async commit(): Promise<void> {
    if (this.#state === 'committed') return;
    this.#session.assertWritable();
    if (this.#state === 'aborted' || this.#state === 'lost') throw this.#refusal();
    this.#committing ??= this.#commit().finally(() => (this.#committing = null));
    await this.#committing;
  }

  async #commit(): Promise<void> {
    this.#state = 'committing';
    try {
      await this.#requests.commit();
      this.#state = 'committed';
      this.#session.held.delete(this);
    } catch (error) {
      // Whether it took place the daemon tells: mlogs.properties().
      this.#state = isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST') ? 'lost' : 'open';
      if (this.#state === 'lost') this.#session.held.delete(this);
      throw error;
    }
  }

  async abort(): Promise<void> {
    if (this.#state === 'lost') return;
    if (this.#state !== 'aborted') {
      if (this.#state !== 'open') throw this.#refusal();
      this.#state = 'aborted';
      this.#aborting = this.#abort();
    }
    await this.#aborting;
  }

  async #abort(): Promise<void> {
    try {
      await this.#requests.abort();
    } catch (error) {
      // Then the daemon gives it back by itself.
      if (!isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST')) throw error;
    } finally {
      this.#session.held.delete(this);
    }
  }

  async release(): Promise<void> {
    await this.#committing?.catch(() => {});
    if (this.#state === 'open' || this.#state === 'aborted') await this.abort();
  }

  lost(attachment: Attachment): boolean {
    if (this.#attachment !== attachment) return false;
    if (this.#state === 'open') this.#state = 'lost';
    return this.#state !== 'committing';
  }

  #refusal(): MpoolError {
    if (this.#state === 'lost') {
      return connectionLost(`${this.#name} was not committed, and is gone with the connection`);
    }
    const code = this.#state === 'aborted' ? 'ERR_MPOOL_NOT_FOUND' : 'ERR_MPOOL_COMMITTED';
    return new MpoolError(code, this.#name);
  }

  get #name(): string {
    return `mlog ${printObjectId(this.#id)}`;
  }
}
