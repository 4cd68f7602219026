import type { Prng } from '../base/prng.ts';
import type { LogMark, Loss } from '../format/log-mark.ts';
import { Catalog } from './catalog.ts';
import type { LogPlace } from './log-scan.ts';
import type { Media } from './media.ts';
import { PoolRecords } from './pool-records.ts';
import { Witnesses } from './witnesses.ts';

/**
 * What a repair tells MDC 1 of objects: ends of logs that are accepted as they are, and losses that are
 * over. Opened at the first of them.
 */
export class AcceptedEnds {
  readonly #media: Media;
  readonly #prng: Prng;
  readonly #zero: readonly [LogPlace, LogPlace];
  readonly #placesOf: (records: PoolRecords) => readonly [LogPlace, LogPlace];
  #open: { records: PoolRecords; catalog: Catalog } | undefined;

  /** @param zero the logs of MDC 0 @param placesOf those of MDC 1, as MDC 0 says */
  constructor(
    media: Media,
    prng: Prng,
    zero: readonly [LogPlace, LogPlace],
    placesOf: (records: PoolRecords) => readonly [LogPlace, LogPlace],
  ) {
    this.#media = media;
    this.#prng = prng;
    this.#zero = zero;
    this.#placesOf = placesOf;
  }

  /** Durable when it resolves. */
  async tell(marks: readonly LogMark[], over: readonly Loss[]): Promise<void> {
    const { catalog } = (this.#open ??= await this.#begin());
    await catalog.recordMarks(marks);
    await catalog.recordLosses(over.map((loss) => ({ ...loss, fromBytes: 0, toBytes: 0 })));
  }

  async close(): Promise<void> {
    await this.#open?.catalog.close();
    await this.#open?.records.log.close();
    this.#open = undefined;
  }

  async #begin(): Promise<{ records: PoolRecords; catalog: Catalog }> {
    const { gate } = this.#media;
    const witnesses = new Witnesses();
    const records = await PoolRecords.open(this.#zero, gate, this.#prng, false, witnesses.mdc0);
    const places = this.#placesOf(records);
    const media = this.#media;
    const catalog = await Catalog.open(places, media, this.#prng, false, records, witnesses);
    return { records, catalog };
  }
}
