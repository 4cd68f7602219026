import { MpoolError } from '../base/errors.ts';
import { GroupSizes } from './group-sizes.ts';
import type { LogWitness } from '../format/log-frame.ts';
import type { Log } from './log.ts';
import type { LogRider } from './log-marks.ts';
import { LogPair } from './log-pair.ts';
import { SharedLock } from './shared-lock.ts';

/** What a MetadataLog must know of the state that its records make up. */
export interface MetadataOwner {
  /** Records from which the whole state can be built again; nothing changes it meanwhile. */
  snapshot(): Iterable<Uint8Array>;
  /** About what snapshot() takes of a log. */
  liveBytes(): number;
  /**
   * A pair at larger places for that many live bytes, or undefined when there is no space for it. The owner
   * makes the new places known durably, and gives the old ones back.
   */
  move?(
    pair: LogPair,
    liveBytes: number,
    fill: (target: Log) => Promise<void>,
  ): Promise<LogPair | undefined>;
}

/** Deletions must work in a full pool: what lives may take this part of a log, the rest is theirs. */
const LIVE_PART_MAX = 0.6;
/** When to compact before someone has to wait for it: the original's thresholds (§1.7). */
const COMPACT_USED_PART = 0.7;
const COMPACT_GARBAGE_PART = 0.2;

/**
 * One of the pool's own MDCs: state changes become durable records, groups of them in one flush; the
 * log is compacted, or moved to a larger place, when it must be.
 *
 * Invariants
 * 1. apply() runs after its record is durable, and before a compaction can begin: a snapshot holds
 *    just what is durable.
 * 2. What a creating record needs is admitted only while all that lives fits LIVE_PART_MAX of a log.
 */
export class MetadataLog {
  readonly #owner: MetadataOwner;
  readonly #lock = new SharedLock();
  #pair: LogPair;
  #pendingBytes = 0;
  #compacting = false;
  onFailure: (error: MpoolError) => void = () => {};
  compactionCount = 0;
  /** Of changes that became durable together. */
  readonly groups = new GroupSizes();
  #retiredFrames = 0;
  readonly #witness: LogWitness | undefined;
  readonly #rider: LogRider | null;

  /** @param more.witness what other logs say of this one: kept at what is durable of it */
  constructor(
    pair: LogPair,
    owner: MetadataOwner,
    more: { witness?: LogWitness | undefined; rider?: LogRider | null } = {},
  ) {
    this.#owner = owner;
    this.#pair = pair;
    this.#witness = more.witness;
    this.#rider = more.rider ?? null;
    this.#watch(pair);
  }

  get pair(): LogPair {
    return this.#pair;
  }
  get frameCount(): number {
    return this.#retiredFrames + this.#pair.active.frameCount;
  }

  /**
   * Makes a change durable, then applies it.
   * @param kind 'adds' to what lives, by its length or by so many bytes; or 'frees': then it may use the part
   *   kept for deletions
   * @throws ERR_MPOOL_NO_SPACE when metadata has no room and can have no more; nothing changed
   */
  async append(
    record: Uint8Array,
    kind: 'adds' | 'frees' | { adds: number },
    apply: () => void,
  ): Promise<void> {
    const bytes = typeof kind === 'object' ? kind.adds : kind === 'adds' ? record.length : 0;
    for (;;) {
      const entering = this.#lock.enterShared();
      if (entering !== undefined) await entering;
      const log = this.#pair.active;
      if (this.#admits(bytes) && log.fits(record.length)) {
        this.#pendingBytes += bytes;
        try {
          const room = log.append(record);
          if (room !== undefined) await room;
          await log.sync();
          this.#applied(apply);
          return;
        } finally {
          this.#pendingBytes -= bytes;
          this.#lock.leaveShared();
          this.#compactInBackground();
        }
      }
      this.#lock.leaveShared();
      await this.#lock.exclusive(() => this.#makeRoom(record.length, bytes));
    }
  }

  /** Compacts now. */
  compact(): Promise<void> {
    return this.#lock.exclusive(() => this.#compact());
  }

  /** Waits for changes under way, and marks the log as closed in good order. */
  close(): Promise<void> {
    return this.#lock.exclusive(() => this.#pair.active.close());
  }

  #admits(bytes: number): boolean {
    if (bytes === 0) return true;
    const live = this.#owner.liveBytes() + this.#pendingBytes + bytes;
    return live <= this.#pair.active.capacityBytes * LIVE_PART_MAX;
  }

  /** A durable change that memory cannot follow is a bug: nothing more may be built on what memory says. */
  #applied(apply: () => void): void {
    try {
      apply();
    } catch (error) {
      this.onFailure(new MpoolError('ERR_MPOOL_CORRUPT', 'a change of metadata', { cause: error }));
      throw error;
    }
  }

  async #makeRoom(recordBytes: number, addedBytes: number): Promise<void> {
    const fits = (): boolean => this.#admits(addedBytes) && this.#pair.active.fits(recordBytes);
    if (fits()) return;
    const live = this.#owner.liveBytes() + addedBytes;
    const roomy = live + recordBytes <= this.#pair.active.capacityBytes * LIVE_PART_MAX;
    if (!roomy && (await this.#move(live + recordBytes))) return;
    if (this.#admits(addedBytes)) await this.#compact();
    if (!fits()) throw new MpoolError('ERR_MPOOL_NO_SPACE', 'the metadata of the pool');
  }

  async #compact(): Promise<void> {
    const old = this.#pair.active;
    const target = this.#pair.begin();
    try {
      await this.#fill(target);
      await this.#pair.commit(target);
    } catch (error) {
      await target.drop();
      throw error;
    }
    this.#retiredFrames += old.frameCount;
    this.compactionCount += 1;
  }

  async #move(liveBytes: number): Promise<boolean> {
    if (this.#owner.move === undefined) return false;
    const wanted = Math.ceil(liveBytes / LIVE_PART_MAX);
    const moved = await this.#owner.move(this.#pair, wanted, (target) => this.#fill(target));
    if (moved === undefined) return false;
    this.#retiredFrames += this.#pair.active.frameCount;
    this.#pair = moved;
    this.#watch(moved);
    this.compactionCount += 1;
    return true;
  }

  /** Waits whenever enough is under way, so that a large snapshot neither fills memory nor hogs the loop. */
  async #fill(target: Log): Promise<void> {
    for (const record of this.#owner.snapshot()) {
      const room = target.append(record);
      if (room !== undefined) await room;
    }
  }

  #compactInBackground(): void {
    const { active } = this.#pair;
    const used = active.usedBytes;
    if (this.#compacting || active.failure !== null) return;
    if (used < active.capacityBytes * COMPACT_USED_PART) return;
    if (this.#owner.liveBytes() > used * (1 - COMPACT_GARBAGE_PART)) return;
    this.#compacting = true;
    void this.#lock
      .exclusive(() => this.#compact())
      // The old content stands, and whoever finds no room will compact again and be told.
      .catch(() => {})
      .finally(() => (this.#compacting = false));
  }

  #watch(pair: LogPair): void {
    pair.onFailure = (error) => this.onFailure(error);
    pair.countGroups(this.groups);
    pair.carry(this.#rider);
    pair.onDurable = (active) => this.#durable(active);
    this.#durable(pair.active);
  }

  #durable(active: Log): void {
    if (this.#witness === undefined) return;
    const { generation, durableBytes } = active.mark;
    this.#witness.generation = generation;
    this.#witness.endBytes = durableBytes;
  }
}
