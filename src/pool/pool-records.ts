import { MpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import {
  decodeMdcRecord,
  decodePoolRecord,
  encodeMdcRecord,
  encodePoolRecord,
  type MdcRecord,
  MDC_RECORD_BYTES,
  newerRecord,
  POOL_RECORD_BYTES,
  type PoolProperties,
  RECORD_MDC,
  RECORD_POOL,
  recordType,
} from '../format/records.ts';
import type { LogWitness } from '../format/log-frame.ts';
import type { FlushGate } from './flush-gate.ts';
import { LogPair } from './log-pair.ts';
import type { LogPlace } from './log-scan.ts';
import { MetadataLog } from './metadata-log.ts';

/** MDC 0: the properties of the pool, and where its other MDCs are. */
export class PoolRecords {
  readonly log: MetadataLog;
  #properties: PoolProperties;
  readonly #mdcs: Map<number, MdcRecord>;

  private constructor(
    pair: LogPair,
    properties: PoolProperties,
    mdcs: Map<number, MdcRecord>,
    witness: LogWitness | undefined,
  ) {
    this.#properties = properties;
    this.#mdcs = mdcs;
    const owner = {
      snapshot: () => this.#records(),
      liveBytes: () => POOL_RECORD_BYTES + this.#mdcs.size * MDC_RECORD_BYTES,
    };
    this.log = new MetadataLog(pair, owner, { witness });
  }

  /** Durable when it resolves, but for the flush of the log headers that the caller still owes. */
  static async create(
    places: readonly [LogPlace, LogPlace],
    gate: FlushGate,
    prng: Prng,
    properties: PoolProperties,
    mdc: MdcRecord,
    witness: LogWitness | undefined,
  ): Promise<PoolRecords> {
    const pair = await LogPair.create(places, gate, prng);
    const records = new PoolRecords(pair, properties, new Map([[mdc.slot, mdc]]), witness);
    for (const record of records.#records()) void pair.active.append(record);
    await pair.active.sync();
    return records;
  }

  /**
   * @param witness what other logs say of this MDC
   * @throws ERR_MPOOL_CORRUPT; ERR_MPOOL_VERSION for records of a newer version
   */
  static async open(
    places: readonly [LogPlace, LogPlace],
    gate: FlushGate,
    prng: Prng,
    readOnly: boolean,
    witness: LogWitness | undefined,
  ): Promise<PoolRecords> {
    let properties: PoolProperties | undefined;
    const mdcs = new Map<number, MdcRecord>();
    const pair = await LogPair.open(places, gate, prng, readOnly, (bytes, start, end) => {
      const type = recordType(bytes, start, end);
      if (type === RECORD_POOL) properties = orCorrupt(decodePoolRecord(bytes, start, end));
      else if (type === RECORD_MDC) {
        const mdc = orCorrupt(decodeMdcRecord(bytes, start, end));
        mdcs.set(mdc.slot, mdc);
      } else {
        refuseNewer('MDC 0', newerRecord(bytes, start, end));
        orCorrupt(`a record of type ${bytes[start]}`);
      }
    });
    const known = properties ?? orCorrupt<PoolProperties>('the properties of the pool are missing');
    return new PoolRecords(pair, known, mdcs, witness);
  }

  get properties(): PoolProperties {
    return this.#properties;
  }
  get mdcs(): MdcRecord[] {
    return [...this.#mdcs.values()];
  }

  /** Durable when it resolves. */
  async setProperties(properties: PoolProperties): Promise<void> {
    await this.log.append(encodePoolRecord(properties), 'frees', () => {
      this.#properties = properties;
    });
  }

  /** Makes an MDC known, or its new place: durable when it resolves. */
  async setMdc(mdc: MdcRecord): Promise<void> {
    await this.log.append(encodeMdcRecord(mdc), 'frees', () => this.#mdcs.set(mdc.slot, mdc));
  }

  *#records(): Iterable<Uint8Array> {
    yield encodePoolRecord(this.#properties);
    for (const mdc of this.#mdcs.values()) yield encodeMdcRecord(mdc);
  }
}

/** @throws ERR_MPOOL_VERSION when there is something that a newer version wrote */
export function refuseNewer(where: string, newer: string | undefined): void {
  if (newer === undefined) return;
  throw new MpoolError('ERR_MPOOL_VERSION', `${where} holds ${newer} of mpool: use that`);
}

function orCorrupt<T>(decoded: T | string): T {
  if (typeof decoded === 'string') throw new MpoolError('ERR_MPOOL_CORRUPT', `MDC 0: ${decoded}`);
  return decoded;
}
