import { invalidArgument, MpoolError } from '../../base/errors.ts';
import { printObjectId } from '../../format/object-id.ts';
import type { Mdc, MdcId, Mlog } from '../../pool/api.ts';
import type { LogState } from '../protocol.ts';
import { limitReached } from './limits.ts';
import { LogReading } from './log-reading.ts';
import type { UserAccount } from './user-accounts.ts';

/** MDCs of a pool that a session compacts, by log A, whoever else has them open. */
export type Compactions = Map<bigint, SessionLogs>;

export interface LogLimits {
  openLogs: number;
  readersPerSession: number;
}

/**
 * The logs that one session has open, by numbers of its own: mlogs and MDCs.
 *
 * Invariant: while a session compacts an MDC nobody else appends to it: what others append would be lost with
 * the compaction when the session ends before it.
 */
export class SessionLogs {
  readonly #compactions: Compactions;
  readonly #limits: LogLimits;
  readonly account: UserAccount;
  readonly #logs = new Map<number, SessionLog>();
  #lastNumber = 0;
  /** Being opened. */
  #coming = 0;
  readerCount = 0;

  constructor(compactions: Compactions, limits: LogLimits, account: UserAccount) {
    this.#compactions = compactions;
    this.#limits = limits;
    this.account = account;
  }

  get count(): number {
    return this.#logs.size + this.#coming;
  }

  /** @throws what `open` does; ERR_MPOOL_LIMIT */
  async open(
    open: () => Promise<{ mlog: Mlog } | { mdc: Mdc }>,
  ): Promise<{ number: number; log: SessionLog }> {
    if (this.count >= this.#limits.openLogs) {
      throw limitReached(`${this.#limits.openLogs} open logs of one client`);
    }
    this.account.take('openLogs', 1);
    this.#coming += 1;
    try {
      const opened = await open();
      const log = new SessionLog(opened, this, this.#compactions);
      this.#lastNumber += 1;
      this.#logs.set(this.#lastNumber, log);
      return { number: this.#lastNumber, log };
    } catch (error) {
      this.account.give('openLogs', 1);
      throw error;
    } finally {
      this.#coming -= 1;
    }
  }

  /** @throws ERR_MPOOL_CLOSED */
  get(number: number): SessionLog {
    const log = this.#logs.get(number);
    if (log !== undefined) return log;
    throw new MpoolError('ERR_MPOOL_CLOSED', `log ${number} of this connection`);
  }

  async close(number: number): Promise<void> {
    const log = this.#logs.get(number);
    this.#logs.delete(number);
    if (log !== undefined) await this.#close(log);
  }

  /** All of them; their buffers are made durable, compactions of MDCs are cancelled. */
  async closeAll(): Promise<void> {
    const logs = [...this.#logs.values()];
    this.#logs.clear();
    const settled = await Promise.allSettled(logs.map((log) => this.#close(log)));
    const failed = settled.find((each) => each.status === 'rejected');
    if (failed !== undefined) throw failed.reason as Error;
  }

  async #close(log: SessionLog): Promise<void> {
    try {
      await log.close();
    } finally {
      this.account.give('openLogs', 1);
    }
  }

  hasMdcOpen(logA: bigint): boolean {
    return [...this.#logs.values()].some((log) => log.mdcId?.logA === logA);
  }

  /** One more of them is going to be. */
  countReader(): void {
    const { readersPerSession } = this.#limits;
    if (this.readerCount >= readersPerSession) {
      throw limitReached(`${readersPerSession} log readers of one client`);
    }
    this.account.take('logReaders', 1);
    this.readerCount += 1;
  }

  forgetReader(): void {
    this.readerCount -= 1;
    this.account.give('logReaders', 1);
  }
}

export class SessionLog {
  readonly #owner: SessionLogs;
  readonly #compactions: Compactions;
  readonly #mlog: Mlog | undefined;
  readonly #mdc: Mdc | undefined;
  readonly #readings = new Map<number, LogReading>();

  constructor(opened: { mlog?: Mlog; mdc?: Mdc }, owner: SessionLogs, compactions: Compactions) {
    this.#mlog = opened.mlog;
    this.#mdc = opened.mdc;
    this.#owner = owner;
    this.#compactions = compactions;
  }

  get state(): LogState {
    const log = this.#log;
    const { usedBytes, capacityBytes, recordCount } =
      this.#mdc === undefined ? this.#mlog! : this.#mdc.usage;
    return {
      generation: printObjectId(log.generation),
      capacityBytes,
      usedBytes,
      recordCount,
    };
  }

  get mdcId(): MdcId | undefined {
    return this.#mdc?.id;
  }

  /** One record; as Mlog.append(). */
  append(record: Uint8Array, options: { sync: boolean }): Promise<void> {
    return this.#log.append(record, options);
  }

  /** @throws ERR_MPOOL_BUSY while another session compacts it */
  assertOwnCompaction(): void {
    const compactor = this.#mdc && this.#compactions.get(this.#mdc.id.logA);
    if (compactor === undefined || compactor === this.#owner) return;
    throw new MpoolError('ERR_MPOOL_BUSY', `${this.#name} is being compacted by another client`);
  }

  sync(): Promise<void> {
    return this.#log.sync();
  }

  async erase(minGeneration: bigint | undefined): Promise<void> {
    if (this.#mlog === undefined) throw invalidArgument(`${this.#name} cannot be erased`);
    await this.#mlog.erase(minGeneration);
  }

  async startCompaction(): Promise<void> {
    this.assertOwnCompaction();
    if (this.#mdc === undefined) return this.#mlog!.startCompaction();
    // Refused at once when there is one already; else it counts from here on.
    const starting = this.#mdc.startCompaction();
    if (!this.#compactions.has(this.#mdc.id.logA)) {
      this.#compactions.set(this.#mdc.id.logA, this.#owner);
      starting.catch(() => this.#compactions.delete(this.#mdc!.id.logA));
    }
    await starting;
  }

  async endCompaction(): Promise<void> {
    this.assertOwnCompaction();
    if (this.#mdc === undefined) return this.#mlog!.endCompaction();
    await this.#mdc.endCompaction();
    this.#compactions.delete(this.#mdc.id.logA);
  }

  async cancelCompaction(): Promise<void> {
    this.assertOwnCompaction();
    if (this.#mdc === undefined) {
      throw invalidArgument(`${this.#name}: only the compaction of an MDC can be cancelled`);
    }
    await this.#mdc.cancelCompaction();
    this.#compactions.delete(this.#mdc.id.logA);
  }

  /** The reader of that number, made when there is none. */
  reading(number: number): LogReading {
    const known = this.#readings.get(number);
    if (known !== undefined) return known;
    const log = this.#log;
    const reader = log.reader();
    this.#owner.countReader();
    const { account } = this.#owner;
    const reading = new LogReading({ reader, generation: () => log.generation, account });
    this.#readings.set(number, reading);
    return reading;
  }

  async closeReader(number: number): Promise<void> {
    const reading = this.#readings.get(number);
    if (reading === undefined) return;
    this.#readings.delete(number);
    this.#owner.forgetReader();
    await reading.close();
  }

  async close(): Promise<void> {
    for (const number of this.#readings.keys()) await this.closeReader(number);
    if (this.#mdc !== undefined) await this.#abandonCompaction(this.#mdc);
    await this.#log.close();
  }

  /** What the session began and cannot end any more: others have the MDC open, and want to append. */
  async #abandonCompaction(mdc: Mdc): Promise<void> {
    const { logA } = mdc.id;
    if (this.#compactions.get(logA) !== this.#owner || this.#owner.hasMdcOpen(logA)) return;
    await mdc.cancelCompaction();
    this.#compactions.delete(logA);
  }

  get #log(): Mlog | Mdc {
    return (this.#mdc ?? this.#mlog)!;
  }

  get #name(): string {
    const { id } = this.#log;
    return typeof id === 'bigint' ? `mlog ${printObjectId(id)}` : `MDC ${printObjectId(id.logA)}`;
  }
}
