import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { RECORD_BYTES_MAX } from '../../format/log-frame.ts';
import { connectionLost } from '../channel.ts';
import type { Answer } from '../client-channel.ts';
import type { Operation, Requests } from '../operations.ts';
import type { LogState, RecoveredLog } from '../protocol.ts';
import { idFromWire } from '../wire-values.ts';
import { AppendBatch, BATCH_BYTES_MAX } from './append-batch.ts';
import type { Attachment } from './attachment.ts';
import { Gatherer } from './gatherer.ts';
import type { Held, Session } from './session.ts';

/** An open log as the daemon knows it on one connection. */
export interface Remote {
  readonly attachment: Attachment;
  readonly number: number;
}

export interface RemoteLogParts {
  /** 'mlog 0x1201', 'MDC 0x1201' */
  name: string;
  open: (attachment: Attachment) => Promise<OpenedLog>;
  /** Called when something is about to be sent there; what it throws is the answer. */
  guard?: ((operation: LogOperation, remote: Remote) => void) | undefined;
  /** It is closed. */
  forget: () => void;
}

type OpenedLog = { log: number; recovered: RecoveredLog } & LogState;
/** What is asked of an open log. */
export type LogOperation = Extract<Operation, `log.${string}`>;
type Rest<Op extends LogOperation> = Omit<Requests[Op][0], 'log'>;

/**
 * One open log of the daemon, an mlog's or an MDC's, however many handles share it.
 *
 * Invariants
 * 1. What is asked of the log is sent in the order in which it was called: what must wait (for a
 *    connection, for
 *    slots) makes all that comes later wait.
 * 2. An append resolves when the daemon has ordered it, so no later error can concern it but the loss of what
 *    was not synced, which a crash of the daemon is.
 * 3. After such a loss nothing is appended any more: it would stand behind a gap.
 */
export class RemoteLog implements Held {
  readonly name: string;
  handleCount = 0;
  generation = 0n;
  capacityBytes = 0;
  usedBytes = 0;
  recordCount = 0;
  readonly #session: Session;
  readonly #parts: RemoteLogParts;
  #remote: Remote | null = null;
  /** Of the pool, in which it was opened last. */
  #activation = '';
  #opening: Promise<Remote> | null = null;
  #batch: AppendBatch | null = null;
  /** While something waits before it can be sent. */
  #sending: Promise<void> | null = null;
  #lastAppend: Promise<unknown> = Promise.resolve();
  /** Appends called so far; then up to which of them all were ordered, and synced. */
  #appendCount = 0;
  #orderedCount = 0;
  #syncedCount = 0;
  /** The log when the last append was ordered that is not known to be synced. */
  #unsynced: LogState | null = null;
  #failure: MpoolError | null = null;
  #closing: Promise<void> | null = null;

  static async open(session: Session, parts: RemoteLogParts): Promise<RemoteLog> {
    const log = new RemoteLog(session, parts);
    await log.#ready();
    session.held.add(log);
    return log;
  }

  private constructor(session: Session, parts: RemoteLogParts) {
    this.#session = session;
    this.#parts = parts;
    this.name = parts.name;
  }

  get what(): string {
    return `${this.name} is open`;
  }
  get closing(): boolean {
    return this.#closing !== null;
  }
  /** Changes when the log was opened again. */
  get remote(): Remote | null {
    return this.#remote;
  }

  /**
   * Orders a record behind all before it; copied.
   * @throws ERR_MPOOL_FAILED, ERR_MPOOL_LOG_FULL, ERR_MPOOL_TOO_LARGE: at once, or by the promise
   */
  append(record: Uint8Array, sync: boolean): Promise<void> {
    if (this.#failure !== null) throw this.#failed();
    this.#checkLength(record.length);
    this.#appendCount += 1;
    if (record.length > BATCH_BYTES_MAX) return this.#appendLarge(Uint8Array.from(record), sync);
    if (this.#batch?.hasRoom(record.length) === false) this.#flush();
    if (this.#batch === null) {
      this.#batch = new AppendBatch();
      process.nextTick(() => this.#flush());
    }
    return this.#batch.add(record, sync);
  }

  sync(): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failed());
    this.#flush();
    const count = this.#appendCount;
    return this.ask('log.sync', {}).then(({ body }) => this.#tookSynced(body, count));
  }

  /** Sends what is buffered, and waits until all that was appended is ordered. */
  async settle(): Promise<void> {
    this.#flush();
    await this.#lastAppend.catch(() => {});
  }

  /** Asks something of the log, after all that was called before. */
  ask<Op extends LogOperation>(operation: Op, rest: Rest<Op>): Promise<Answer<Requests[Op][1]>> {
    this.#flush();
    return this.#inOrder((remote) => this.#send(remote, operation, rest));
  }

  /**
   * Reads on with a reader of the daemon.
   * @returns undefined when the connection ended meanwhile, which does a reader no harm
   */
  async read(
    reader: number,
    maxBytes: number,
  ): Promise<(Answer<Requests['log.read'][1]> & { remote: Remote }) | undefined> {
    this.#flush();
    let asked: Remote | undefined;
    try {
      const answer = await this.#inOrder((remote) => {
        asked = remote;
        return this.#send(remote, 'log.read', { reader, maxBytes });
      });
      return { ...answer, remote: asked! };
    } catch (error) {
      if (asked === undefined || asked.attachment.channel.open) throw error;
      if (isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST')) return undefined;
      throw error;
    }
  }

  /** Something changed the log: its numbers are these. */
  took(state: LogState): void {
    this.generation = idFromWire(state.generation, 'generation');
    this.capacityBytes = state.capacityBytes;
    this.usedBytes = state.usedBytes;
    this.recordCount = state.recordCount;
  }

  /** Closes it, what is buffered made durable. Idempotent. */
  release(): Promise<void> {
    this.#closing ??= this.#close().finally(() => {
      this.#session.held.delete(this);
      this.#parts.forget();
    });
    return this.#closing;
  }

  /** It is opened again when it is used again. */
  lost(): boolean {
    return false;
  }

  async #close(): Promise<void> {
    this.#flush();
    try {
      // Not opened again only to be closed: a daemon closes, and syncs, what a lost connection had open.
      if (this.#good() !== null || this.#sending !== null) await this.ask('log.close', {});
      else if (this.#orderedCount > this.#syncedCount) throw connectionLost(this.name);
    } catch (error) {
      const isLost = isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST');
      if (!isLost || this.#orderedCount > this.#syncedCount) throw error;
    }
  }

  #checkLength(lengthBytes: number): void {
    if (lengthBytes <= BATCH_BYTES_MAX) return;
    if (lengthBytes > RECORD_BYTES_MAX) {
      throw new MpoolError('ERR_MPOOL_TOO_LARGE', `a record of ${lengthBytes} bytes`);
    }
    if (lengthBytes > this.capacityBytes) {
      const left = this.capacityBytes - this.usedBytes;
      throw new MpoolError(
        'ERR_MPOOL_LOG_FULL',
        `a record of ${lengthBytes} bytes, ${left} bytes left`,
      );
    }
  }

  /** Sends what was appended in this turn. */
  #flush(): void {
    const batch = this.#batch;
    if (batch === null) return;
    this.#batch = null;
    const count = this.#appendCount;
    const sync = batch.allSync;
    const body = { lengths: batch.lengths, ...(sync && { sync }) };
    const appended = this.#inOrder((remote) => this.#send(remote, 'log.append', body, batch.bytes));
    // Those that are not to wait for a flush are answered before it.
    const synced =
      batch.anySync && !sync
        ? this.#inOrder((remote) => this.#send(remote, 'log.sync', {}))
        : undefined;
    synced?.then(
      (answer) => this.#tookSynced(answer.body, count),
      () => {},
    );
    this.#lastAppend = appended.then(
      (answer) => {
        if (sync) this.#tookSynced(answer.body, count);
        else this.#tookOrdered(answer.body, count);
        batch.ordered(answer.body.refused ?? [], synced);
      },
      (error: Error) => batch.failed(error),
    );
  }

  #tookOrdered(state: LogState, appendCount: number): void {
    this.took(state);
    this.#orderedCount = Math.max(this.#orderedCount, appendCount);
    if (this.#orderedCount > this.#syncedCount) this.#unsynced = state;
  }

  /** All that was appended up to then is durable. */
  #tookSynced(state: LogState, appendCount: number): void {
    this.took(state);
    this.#syncedCount = Math.max(this.#syncedCount, appendCount);
    if (this.#orderedCount <= this.#syncedCount) this.#unsynced = null;
  }

  async #appendLarge(record: Uint8Array, sync: boolean): Promise<void> {
    this.#flush();
    const count = this.#appendCount;
    const appended = this.#afterOthers(async (remote) => {
      const slots = remote.attachment.slots!;
      const { slotBytes, slotCount } = slots;
      if (record.length > slotBytes * slotCount) {
        throw new MpoolError(
          'ERR_MPOOL_TOO_LARGE',
          `a record of ${record.length} bytes, and the daemon takes ${slotBytes * slotCount}`,
        );
      }
      const taken = await slots.take(Math.ceil(record.length / slotBytes));
      const source = new Gatherer([record]);
      const ranges = taken.map((slot, i) => {
        const lengthBytes = Math.min(slotBytes, record.length - i * slotBytes);
        source.copyTo(slots.bytes(slot), lengthBytes);
        return { slot, lengthBytes };
      });
      const body = { lengths: [record.length], slots: ranges, ...(sync && { sync }) };
      const answer = this.#send(remote, 'log.append', body);
      return { answer: answer.finally(() => slots.release(taken)) };
    });
    this.#lastAppend = appended;
    const { body: state } = await appended;
    if (sync) this.#tookSynced(state, count);
    else this.#tookOrdered(state, count);
  }

  #send<Op extends LogOperation>(
    remote: Remote,
    operation: Op,
    rest: Rest<Op>,
    payload?: Uint8Array,
  ): Promise<Answer<Requests[Op][1]>> {
    try {
      // It may have been found when the log was opened for this very request.
      const addsTo = operation === 'log.append' || operation === 'log.sync';
      if (addsTo && this.#failure !== null) throw this.#failed();
      this.#parts.guard?.(operation, remote);
    } catch (error) {
      return Promise.reject(error);
    }
    const { attachment, number } = remote;
    const body = { log: number, ...rest } as unknown as Requests[Op][0];
    return this.#session.requestOn(attachment, operation, body, payload);
  }

  /** Sends at once, unless something that came before still waits. */
  #inOrder<T>(send: (remote: Remote) => Promise<T>): Promise<T> {
    if (this.#sending === null) {
      const remote = this.#good();
      if (remote !== null) return send(remote);
    }
    return this.#afterOthers((remote) => Promise.resolve({ answer: send(remote) }));
  }

  /** @param send resolves once it is on its way, with what brings the answer */
  #afterOthers<T>(send: (remote: Remote) => Promise<{ answer: Promise<T> }>): Promise<T> {
    const before = this.#sending;
    const begun = (async () => {
      await before;
      return send(this.#good() ?? (await this.#ready()));
    })();
    const sent = begun
      .then(
        () => {},
        () => {},
      )
      .finally(() => {
        if (this.#sending === sent) this.#sending = null;
      });
    this.#sending = sent;
    return begun.then(({ answer }) => answer);
  }

  #good(): Remote | null {
    const remote = this.#remote;
    return remote !== null && remote.attachment === this.#session.attachment ? remote : null;
  }

  /** Opens it, also again on another connection. */
  #ready(): Promise<Remote> {
    this.#opening ??= this.#open().finally(() => (this.#opening = null));
    return this.#opening;
  }

  async #open(): Promise<Remote> {
    for (;;) {
      const attachment = await this.#session.attached();
      try {
        const state = await this.#session.during(this.#parts.open(attachment));
        this.#compare(state);
        this.took(state);
        this.#activation = state.recovered.activation;
        return (this.#remote = { attachment, number: state.log });
      } catch (error) {
        // Lost again before it was open: nothing was asked of the log.
        if (attachment.channel.open || !isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST'))
          throw error;
      }
    }
  }

  /**
   * What was appended and not synced may have gone with the daemon: never silently. What others appended
   * since must not be taken for it.
   */
  #compare(state: OpenedLog): void {
    const own = this.#unsynced;
    if (own === null) return;
    const { recovered } = state;
    const then = recovered.activation === this.#activation ? state : recovered;
    if (then.generation !== own.generation) return;
    const goneCount = own.recordCount - then.recordCount;
    if (goneCount <= 0) return;
    this.#failure = connectionLost(
      `${this.name}: ${goneCount} records that were not synced are gone`,
    );
  }

  #failed(): MpoolError {
    return new MpoolError('ERR_MPOOL_FAILED', this.name, { cause: this.#failure });
  }
}
