import { isMpoolError, MpoolError } from '../base/errors.ts';
import type { Loss } from '../format/log-mark.ts';
import { printIdHalves, uniquifierOfHalves } from '../format/object-id.ts';
import type { LostObject } from './api.ts';
import {
  type FoundEnd,
  lossAgainst,
  type LogLoss,
  lossMessage,
  LostWritesError,
  nameOfLog,
} from './log-evidence.ts';
import type { LogPair } from './log-pair.ts';
import type { LogPlace } from './log-scan.ts';
import type { Store } from './store.ts';

const LOST_TOLD_MAX = 1000;

/** A loss of an object, before it is known durably. */
export interface NewLoss {
  id: { low: number; high: number };
  fromBytes: number;
  toBytes: number;
  /** A sentence. */
  message: string;
}

/** What devices of an active pool lost although they had acknowledged it, as far as anyone noticed. */
export class LostWrites {
  readonly #store: Store;
  /** The pool's own MDCs as they were found: what logs may say of them that were not open since. */
  readonly #found: { pair: LogPair; end: FoundEnd }[];
  readonly #judged = new Set<number>();
  /** Objects of which health says something. */
  readonly #noted = new Set<number>();

  constructor(store: Store) {
    this.#store = store;
    const pairs = [store.catalog.log.pair, store.poolRecords.log.pair];
    this.#found = pairs.flatMap((pair) =>
      pair.found === undefined ? [] : [{ pair, end: pair.found }],
    );
    for (const { idLow, idHigh, fromBytes, toBytes } of store.catalog.losses.values()) {
      const object = printIdHalves(idLow, idHigh);
      const message = `object ${object}: bytes ${fromBytes} to ${toBytes}, which were acknowledged, are lost`;
      store.health.note('lost-writes', message, object);
      this.#noted.add(uniquifierOfHalves(idLow, idHigh));
    }
  }

  /** At most LOST_TOLD_MAX of them. */
  get lost(): LostObject[] {
    const losses = [...this.#store.catalog.losses.values()].slice(0, LOST_TOLD_MAX);
    return losses.map(({ idLow, idHigh, fromBytes, toBytes, sinceMs }) => {
      return { object: printIdHalves(idLow, idHigh), fromBytes, toBytes, sinceMs };
    });
  }
  get count(): number {
    return this.#store.catalog.losses.size;
  }

  /** The object is gone, and what was lost of it; or it is whole. */
  forget(idLow: number, idHigh: number): void {
    if (this.#noted.size === 0 || !this.#noted.delete(uniquifierOfHalves(idLow, idHigh))) return;
    this.#store.health.clear('lost-writes', printIdHalves(idLow, idHigh));
  }

  /** What MDC 1 or MDC 0 is short of, as the other one says. */
  between(): { place: LogPlace; message: string } | undefined {
    const [one, zero] = this.#found;
    if (one === undefined || zero === undefined) return undefined;
    return this.#short(one, zero) ?? this.#short(zero, one);
  }

  /** What MDC 1 is short of, as a log of users says that was written before the pool was opened. */
  shortOf(
    witness: FoundEnd['witness'],
    by: LogPlace,
  ): { place: LogPlace; message: string } | undefined {
    const [one] = this.#found;
    const loss = one && lossAgainst(one.end, witness);
    return (
      loss && {
        place: one.pair.active.place,
        message: this.#told(one.pair, loss, nameOfLog(by), by),
      }
    );
  }

  /**
   * Opens a log, and judges what it says of others, the first time.
   * @throws ERR_MPOOL_CORRUPT when the log itself lost something: it is told of, and remembered
   */
  async opening<T extends OpenedLog>(open: () => Promise<T>): Promise<T> {
    let opened: T;
    try {
      // Once more: a read that gave another sector, or an old one, is no loss.
      opened = await open().catch((error: unknown) => {
        if (error instanceof LostWritesError) return open();
        throw error;
      });
    } catch (error) {
      if (error instanceof LostWritesError) await this.#lostLog(error);
      throw error;
    }
    if (opened.found !== undefined) this.#judge(opened.places, opened.found);
    await this.#foundWhole(opened.places);
    return opened;
  }

  /** A failed pool writes nothing: least of all to metadata that lost something, over the place of that. */
  get #mayRemember(): boolean {
    return !this.#store.readOnly && this.#store.failure === null;
  }

  /** A log that opens has what it had lost: its device is the right one again. */
  async #foundWhole(places: readonly LogPlace[]): Promise<void> {
    const { catalog } = this.#store;
    if (catalog.losses.size === 0 || !this.#mayRemember) return;
    for (const { objectId } of places) {
      const loss = catalog.losses.get(uniquifierOfHalves(objectId.low, objectId.high));
      if (loss === undefined) continue;
      try {
        await catalog.recordLosses([{ ...loss, fromBytes: 0, toBytes: 0 }]);
      } catch (error) {
        // It is whole all the same, and can be read.
        if (!isMpoolError(error)) throw error;
        return;
      }
      this.forget(objectId.low, objectId.high);
    }
  }

  #judge(places: readonly LogPlace[], found: FoundEnd): void {
    // Either log of an MDC may be the one that counts the next time.
    const { low, high } = places[0]!.objectId;
    const uniquifier = uniquifierOfHalves(low, high);
    if (uniquifier >= this.#store.catalog.firstUniquifier || this.#judged.has(uniquifier)) return;
    this.#judged.add(uniquifier);
    const short = this.shortOf(found.witness, places[0]!);
    if (short !== undefined) this.lostMetadata(short.message);
  }

  /** The pool goes on as far as it can: what there is can be read, and nothing is changed any more. */
  lostMetadata(message: string): void {
    const store = this.#store;
    store.health.note('lost-writes', message);
    if (!store.readOnly) store.fail(new MpoolError('ERR_MPOOL_CORRUPT', message));
  }

  /** Tells of losses, and remembers them as long as the objects are there. */
  async tell(losses: readonly NewLoss[]): Promise<void> {
    const { health, catalog, environment } = this.#store;
    const sinceMs = Math.max(0, Math.floor(environment.clock.wallMs()));
    const fresh: Loss[] = [];
    for (const { id, fromBytes, toBytes, message } of losses) {
      const uniquifier = uniquifierOfHalves(id.low, id.high);
      this.#noted.add(uniquifier);
      const known = catalog.losses.get(uniquifier);
      health.note('lost-writes', message, printIdHalves(id.low, id.high));
      if (known?.fromBytes === fromBytes && known.toBytes === toBytes) continue;
      const since = known?.sinceMs ?? sinceMs;
      fresh.push({ idLow: id.low, idHigh: id.high, sinceMs: since, fromBytes, toBytes });
    }
    if (fresh.length === 0) return;
    if (this.#mayRemember) {
      try {
        return await catalog.recordLosses(fresh);
      } catch (error) {
        // They are told of all the same, and found again.
        if (!isMpoolError(error)) throw error;
      }
    }
    for (const loss of fresh) {
      catalog.losses.set(uniquifierOfHalves(loss.idLow, loss.idHigh), loss);
    }
  }

  async #lostLog({ place, loss, message }: LostWritesError): Promise<void> {
    const { fromBytes, toBytes } = loss;
    await this.tell([{ id: place.objectId, fromBytes, toBytes, message }]);
  }

  #short(
    of: { pair: LogPair; end: FoundEnd },
    by: { pair: LogPair; end: FoundEnd },
  ): { place: LogPlace; message: string } | undefined {
    const loss = lossAgainst(of.end, by.end.witness);
    if (loss === undefined) return undefined;
    const { place } = by.pair.active;
    return {
      place: of.pair.active.place,
      message: this.#told(of.pair, loss, nameOfLog(place), place),
    };
  }

  #told(pair: LogPair, loss: LogLoss, name: string, by: LogPlace): string {
    const { place } = pair.active;
    return (
      `${lossMessage(place, loss)}; ${name} on ${by.device.path} bears witness of it. ` +
      "'mpool repair' says what can be had, and 'mpool repair -f' accepts the loss"
    );
  }
}

/** A log, or a pair of logs, as opening() is told of it. */
export interface OpenedLog {
  places: readonly LogPlace[];
  found: FoundEnd | undefined;
}
