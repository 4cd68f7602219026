import { MpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { MIB, PAGE_BYTES } from '../base/units.ts';
import {
  LogState,
  type LogHeader,
  type LogHeaderDecoded,
  nextLogGeneration,
} from '../format/log-header.ts';
import type { FlushGate } from './flush-gate.ts';
import type { GroupSizes } from './group-sizes.ts';
import { Log } from './log.ts';
import {
  expectedOf,
  type FoundEnd,
  foundEnd,
  lossOfFrames,
  lossOfHeader,
  type MarkOf,
  markOfPair,
  refuseLost,
} from './log-evidence.ts';
import type { LogRider } from './log-marks.ts';
import {
  confirmLogEnd,
  freshLogEnd,
  resumedLogEnd,
  secureLogTail,
  writeLogHeader,
} from './log-place.ts';
import {
  type LogEnd,
  type LogPlace,
  readLogHeader,
  type RecordVisitor,
  scanLog,
} from './log-scan.ts';

/** Longer records of the pool's own MDCs are neither written nor believed: memory is bounded. */
export const METADATA_RECORD_BYTES_MAX = 16 * MIB;

/**
 * Two logs of which one counts: the machinery of MDCs, the pool's own and users' (docs/format.md §4).
 *
 *   active X, generation g ──begin()──► target Y, g + 1, not yet counting
 *        ▲                                   │ commit(): Y durable; Y's header says current  ◄ decides
 *        └──────────────── Y is active ◄─────┘           X's header says superseded
 *
 * Invariants
 * 1. Just one log is current, but for the moment between the two header writes of commit(), when
 *    both hold the same content.
 * 2. Nothing is appended to a log that became current before the other says superseded: so if the
 *    new header is ever damaged, the old log is refused rather than read as if it were the newest.
 * 3. Until commit()'s one write, dropping the target leaves everything as it was.
 * 4. When a deciding write fails, only media knows which log counts: then both fail, so that nothing
 *    is acknowledged that a later reader would not look at.
 */
export class LogPair {
  readonly places: readonly [LogPlace, LogPlace];
  readonly #gate: FlushGate;
  readonly #prng: Prng;
  #activeIndex: 0 | 1;
  #active: Log;
  #failure: MpoolError | null = null;
  #groups: GroupSizes;
  onFailure: (error: MpoolError) => void = () => {};
  /** Told when more of the active log was acknowledged, or another log became it. */
  onDurable: (active: Log) => void = () => {};
  /** How it was when it was opened; undefined of one that was made here. */
  found: FoundEnd | undefined;
  #rider: LogRider | null = null;

  private constructor(
    places: readonly [LogPlace, LogPlace],
    gate: FlushGate,
    prng: Prng,
    activeIndex: 0 | 1,
    active: Log,
  ) {
    this.places = places;
    this.#gate = gate;
    this.#prng = prng;
    this.#activeIndex = activeIndex;
    this.#active = active;
    this.#groups = gate.syncGroups;
    this.#watch(active);
  }

  /** Writes both headers of a new pair; durable with the next flush of the device. */
  static async create(
    places: readonly [LogPlace, LogPlace],
    gate: FlushGate,
    prng: Prng,
  ): Promise<LogPair> {
    const current = newHeader(places[0], 1, LogState.current, prng);
    await writeLogHeader(places[0], current, 'volatile', { whole: true });
    const other = newHeader(places[1], 1, LogState.superseded, prng);
    await writeLogHeader(places[1], other, 'volatile', { whole: true });
    return new LogPair(places, gate, prng, 0, new Log(places[0], gate, current, freshLogEnd()));
  }

  /**
   * Finds the active log and reads it through.
   * @param visit each record; the bytes are only lent
   * @param readOnly nothing is written, not even to finish what a crash interrupted
   * @param markOf what is known to have been acknowledged of each log
   * @throws ERR_MPOOL_CORRUPT when no log is current, or acknowledged records are damaged or lost
   */
  static async open(
    places: readonly [LogPlace, LogPlace],
    gate: FlushGate,
    prng: Prng,
    readOnly: boolean,
    visit?: RecordVisitor,
    markOf: MarkOf = () => undefined,
  ): Promise<LogPair> {
    const [a, b] = await Promise.all(places.map((place) => readLogHeader(place)));
    for (const found of [a!, b!]) refuseNewerHeader(places[0], found);
    const current = (index: 0 | 1): LogHeader | undefined => {
      const found = index === 0 ? a! : b!;
      return found.ok && found.header.state === LogState.current ? found.header : undefined;
    };
    const [ca, cb] = [current(0), current(1)];
    const activeIndex =
      cb !== undefined && (ca === undefined || cb.generation > ca.generation) ? 1 : 0;
    const header = activeIndex === 0 ? ca : cb;
    if (header === undefined) {
      const why = [a!, b!].map((found) => (found.ok ? 'superseded' : found.problem)).join(', ');
      throw new MpoolError('ERR_MPOOL_CORRUPT', `no log of an MDC is current (${why})`, {
        path: places[0].device.path,
      });
    }
    const place = places[activeIndex];
    const recordBytesMax = visit === undefined ? undefined : METADATA_RECORD_BYTES_MAX;
    const mark = markOfPair(places, activeIndex, markOf);
    refuseLost(place, lossOfHeader(mark, header));
    const expected = expectedOf(mark, header);
    const end = await scanLog(place, header, visit, { recordBytesMax, expected });
    refuseDamage(place, end);
    refuseLost(place, lossOfFrames(mark, header, end));
    await confirmLogEnd(place, header, end);
    if (!readOnly) await secureLogTail(place, header, end, gate);
    if (!readOnly && ca !== undefined && cb !== undefined) {
      const loser = activeIndex === 0 ? 1 : 0;
      const superseded = { ...(loser === 0 ? ca : cb), state: LogState.superseded };
      await writeLogHeader(places[loser], superseded, 'durable');
    }
    const log = new Log(place, gate, header, resumedLogEnd(end, prng));
    const pair = new LogPair(places, gate, prng, activeIndex, log);
    pair.found = foundEnd(header, end);
    return pair;
  }

  get active(): Log {
    return this.#active;
  }

  /** A log of the next generation at the other place, which counts for nothing until commit(). */
  begin(): Log {
    if (this.#failure !== null) throw this.#failed();
    return this.#target(this.places[this.#otherIndex]);
  }

  /** As begin(), for a pair of other places that this one moves to. */
  static beginAt(from: LogPair, place: LogPlace): Log {
    if (from.#failure !== null) throw from.#failed();
    return from.#target(place);
  }

  #target(place: LogPlace): Log {
    const generation = nextLogGeneration(this.#active.generation);
    const header = newHeader(place, generation, LogState.current, this.#prng);
    const log = new Log(place, this.#gate, header, freshLogEnd());
    log.groups = null;
    return log;
  }

  /** Makes the target the content of the pair. A failure before the deciding write changes nothing. */
  async commit(target: Log): Promise<void> {
    if (this.#failure !== null) throw this.#failed();
    target.freeze('the compaction is being ended');
    try {
      // The old log too: a reader that finds it current must find all of it.
      await this.#active.settle();
      await target.sync();
      if (this.#failure !== null) throw this.#failed();
      await this.#decide(target);
    } finally {
      target.thaw();
    }
    this.#activeIndex = this.#otherIndex;
    this.#active = target;
    this.#watch(target);
    this.onDurable(target);
  }

  /** The writes after which, if one fails, media alone knows what counts. */
  async #decide(target: Log): Promise<void> {
    const header = { ...target.header, committedBytes: target.tailBytes };
    const old = { ...this.#active.header, state: LogState.superseded };
    try {
      await writeLogHeader(target.place, header, 'durable', { whole: true });
      target.adopt(header);
      await writeLogHeader(this.#active.place, old, 'durable');
    } catch (error) {
      target.fail(error as MpoolError);
      this.fail(error as MpoolError);
      throw this.#failed();
    }
  }

  /**
   * Makes a pair at other places that holds the target's content; durable when it resolves, but it
   * counts only once whoever names the places names the new ones.
   */
  async moved(target: Log, otherPlace: LogPlace): Promise<LogPair> {
    await target.sync();
    const header = { ...target.header, committedBytes: target.tailBytes };
    await writeLogHeader(target.place, header, 'volatile', { whole: true });
    target.adopt(header);
    const other = newHeader(otherPlace, this.#active.generation, LogState.superseded, this.#prng);
    await writeLogHeader(otherPlace, other, 'volatile', { whole: true });
    await this.#gate.flush();
    return new LogPair([target.place, otherPlace], this.#gate, this.#prng, 0, target);
  }

  get #otherIndex(): 0 | 1 {
    return this.#activeIndex === 0 ? 1 : 0;
  }

  #watch(log: Log): void {
    log.onFailure = (error) => this.fail(error);
    log.onDurable = () => this.onDurable(log);
    log.rider = this.#rider;
    log.groups = this.#groups;
  }

  /** What goes along in frames of whichever log is active. */
  carry(rider: LogRider | null): void {
    this.#rider = rider;
    this.#active.rider = rider;
  }

  /** Syncs of its logs are counted there, instead of among those of users' logs. */
  countGroups(groups: GroupSizes): void {
    this.#groups = groups;
    this.#active.groups = groups;
  }

  /** Nothing can be appended any more: it is unknown whether this pair still counts. */
  fail(error: MpoolError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#active.fail(error);
    this.onFailure(error);
  }

  #failed(): MpoolError {
    return new MpoolError('ERR_MPOOL_FAILED', 'the MDC', { cause: this.#failure });
  }
}

/** @throws ERR_MPOOL_CORRUPT when acknowledged frames are damaged */
export function refuseDamage(place: LogPlace, end: LogEnd): void {
  if (end.verdict !== 'damaged') return;
  const at = place.extent.pageAddress * PAGE_BYTES + (end.damagedAtBytes ?? end.endBytes);
  throw new MpoolError(
    'ERR_MPOOL_CORRUPT',
    `acknowledged records of a log are damaged at byte ${at} of ${place.device.path}`,
    { path: place.device.path },
  );
}

/**
 * @throws ERR_MPOOL_VERSION for a header that is whole and of a newer version: its log may be the one that
 *   counts
 */
export function refuseNewerHeader(place: LogPlace, found: LogHeaderDecoded): void {
  if (found.ok || found.problem !== 'version') return;
  const { path } = place.device;
  const why = `a log has a header of ${found.detail}, of a newer version of mpool: use that`;
  throw new MpoolError('ERR_MPOOL_VERSION', `${path}: ${why}`, { path });
}

function newHeader(
  place: LogPlace,
  generation: number,
  state: LogHeader['state'],
  prng: Prng,
): LogHeader {
  return {
    state,
    sectorBytes: place.sectorBytes,
    generation,
    salt: prng.u32(),
    objectId: place.objectId,
    committedBytes: PAGE_BYTES,
  };
}

/** Header of a plain log that begins. */
export function firstHeader(place: LogPlace, prng: Prng): LogHeader {
  return newHeader(place, 1, LogState.current, prng);
}
