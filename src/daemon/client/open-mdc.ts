import { isMpoolError } from '../../base/errors.ts';
import type { MdcId } from '../../pool/api.ts';
import { connectionLost } from '../channel.ts';
import type { LogOperation, Remote, RemoteLog } from './remote-log.ts';

/**
 * Where an MDC is being compacted, as far as this client does it.
 *
 * Invariant: what is appended to a compaction goes to no other content. The daemon cancels the
 * compactions of a
 * connection that ends, so appends are refused from then on, until it is cancelled here too.
 */
export class Compaction {
  readonly #name: string;
  #remote: Remote | null = null;
  #endSent = false;

  constructor(name: string) {
    this.#name = name;
  }

  /** @throws ERR_MPOOL_CONNECTION_LOST for what belongs to a compaction that is gone */
  readonly guard = (operation: LogOperation, remote: Remote): void => {
    if (operation === 'log.startCompaction') this.#remote ??= remote;
    const belongs = ['log.append', 'log.sync', 'log.endCompaction', 'log.startCompaction'];
    if (this.#remote === null || this.#remote === remote || !belongs.includes(operation)) {
      if (operation === 'log.endCompaction') this.#endSent = true;
      return;
    }
    throw connectionLost(`the compaction of ${this.#name} ended with its connection: cancel it`);
  };

  /** One was begun, and not ended or cancelled since. */
  get begun(): boolean {
    return this.#remote !== null;
  }

  /** A start was refused. */
  refused(error: unknown): void {
    // It may have begun; or it had before, which is why it was refused.
    const mayRun = isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST') || error instanceof RangeError;
    if (!mayRun) this.#remote = null;
  }

  /** An end was refused. */
  endRefused(error: unknown): void {
    // What was appended since then is of one content or the other: the next connection shows which.
    if (isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST') && this.#endSent) this.over();
    this.#endSent = false;
  }

  over(): void {
    this.#remote = null;
    this.#endSent = false;
  }
}

/** One open MDC, however many handles share it. */
export class OpenMdc {
  readonly id: MdcId;
  readonly log: RemoteLog;
  readonly #compaction: Compaction;

  constructor(id: MdcId, log: RemoteLog, compaction: Compaction) {
    this.id = id;
    this.log = log;
    this.#compaction = compaction;
  }

  async start(): Promise<void> {
    try {
      this.log.took((await this.log.ask('log.startCompaction', {})).body);
    } catch (error) {
      this.#compaction.refused(error);
      throw error;
    }
  }

  async end(): Promise<void> {
    try {
      const { body } = await this.log.ask('log.endCompaction', {});
      this.#compaction.over();
      this.log.took(body);
    } catch (error) {
      this.#compaction.endRefused(error);
      throw error;
    }
  }

  async cancel(): Promise<void> {
    const { body } = await this.log.ask('log.cancelCompaction', {});
    this.#compaction.over();
    this.log.took(body);
  }

  /** As start(), by who will not cancel it when he cannot know whether it began. */
  async startWhole(): Promise<void> {
    const { begun } = this.#compaction;
    try {
      await this.start();
    } catch (error) {
      // Another's, that its connection took along, is the other's to cancel.
      if (!begun && isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST')) await this.abandon();
      throw error;
    }
  }

  /** After a failure, by who alone appended to it: nobody will end it or cancel it again. */
  async abandon(): Promise<void> {
    try {
      await this.cancel();
    } catch (error) {
      if (!isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST')) throw error;
      // With the connection the daemon cancelled it.
      this.#compaction.over();
    }
  }
}
