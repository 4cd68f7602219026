import { abandonable, type WaitOptions } from '../../base/abandon.ts';
import { MpoolError } from '../../base/errors.ts';
import { Serial } from '../../base/serial.ts';
import type { MlogReader, NextOptions } from '../../pool/api.ts';
import { checkOptions, integerIn } from '../../pool/parameters.ts';
import { idFromWire } from '../wire-values.ts';
import type { Remote, RemoteLog } from './remote-log.ts';

const FETCH_BYTES = 256 * 1024;
/** Of a record that is longer than an answer can be. */
const PART_BYTES = 1024 * 1024;
/** So that no two readers of a connection have the same. */
let lastNumber = 0;

/**
 * Reads the records of an open log one by one; the daemon sends them in batches.
 *
 * Invariant: a record is either given whole, or not consumed: `#records` holds it until it is taken.
 */
export class RemoteReader implements MlogReader {
  readonly #log: () => RemoteLog;
  readonly #turn = new Serial();
  /** What came and was not given yet, the next one last. */
  #records: Uint8Array[] = [];
  /** Given, of this generation. */
  #givenCount = 0;
  #generation: bigint | null = null;
  /** Where the daemon has a reader of that number for this one. */
  readonly #there: RemotePlace;
  #rewound = false;

  /** @param log asked each time: it throws once the handle is closed */
  constructor(log: () => RemoteLog) {
    this.#log = log;
    lastNumber += 1;
    this.#there = { number: lastNumber, log: undefined, remote: undefined };
    FORGOTTEN.register(this, this.#there);
  }

  next(options: NextOptions = {}): Promise<Uint8Array | undefined> {
    return abandonable('next', options?.signal, () => this.#next(options));
  }

  #next(options: NextOptions): Promise<Uint8Array | undefined> {
    return this.#turn.run(async () => {
      checkOptions(options);
      const { maxBytes } = options;
      integerIn('maxBytes', maxBytes, 0, Number.MAX_SAFE_INTEGER);
      const record = await this.#peek();
      if (record === undefined) return undefined;
      // Nobody waits for it any more: it is the next one's.
      if (options.signal?.aborted === true) return undefined;
      if (maxBytes !== undefined && record.length > maxBytes) {
        throw new MpoolError(
          'ERR_MPOOL_TOO_LARGE',
          `the next record has ${record.length} bytes, the buffer ${maxBytes}`,
        );
      }
      this.#take();
      return record;
    });
  }

  skip(lengthBytes: number): Promise<void> {
    return this.#turn.run(async () => {
      integerIn('lengthBytes', lengthBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
      const record = await this.#peek();
      const found = record?.length ?? 0;
      if (found > lengthBytes) {
        throw new MpoolError(
          'ERR_MPOOL_TOO_LARGE',
          `the next record has ${found} bytes, not ${lengthBytes}`,
        );
      }
      if (record !== undefined) this.#take();
      if (record === undefined || found < lengthBytes) {
        const what = record === undefined ? 'there is no next record' : `it has ${found} bytes`;
        throw new MpoolError('ERR_MPOOL_SKIP_MISMATCH', `${lengthBytes} bytes to skip, ${what}`);
      }
    });
  }

  rewind(): void {
    this.#rewound = true;
  }

  close(): Promise<void> {
    return this.#turn.run(() => this.#restart());
  }

  /** All records from here on; closes the reader at the end. */
  async *all(options: WaitOptions = {}): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const record = await this.next(options);
        if (record === undefined) return;
        yield record;
      }
    } finally {
      const closing = this.close();
      if (options.signal?.aborted === true) closing.catch(() => {});
      else await closing;
    }
  }

  #take(): void {
    this.#records.pop();
    this.#givenCount += 1;
  }

  /** The next use begins at the first record. */
  async #restart(): Promise<void> {
    this.#forgetRecords();
    await closeThere(this.#there);
  }

  #forgetRecords(): void {
    this.#records = [];
    this.#givenCount = 0;
  }

  async #peek(): Promise<Uint8Array | undefined> {
    const log = this.#log();
    if (this.#rewound) {
      this.#rewound = false;
      await this.#restart();
    }
    if (this.#generation !== log.generation) {
      // Erased or compacted: the daemon's reader begins again by itself.
      this.#generation = log.generation;
      this.#forgetRecords();
    }
    if (this.#records.length === 0) await this.#fetch(log);
    return this.#records.at(-1);
  }

  /** The next records, none at the end. */
  async #fetch(log: RemoteLog): Promise<void> {
    let passCount = 0;
    do {
      const batch = await this.#ask(log);
      // Asked again on the next connection.
      if (batch === undefined) continue;
      if (batch.remote !== this.#there.remote) {
        // The daemon knew nothing of this reader, and began with the first record.
        this.#there.remote = batch.remote;
        this.#there.log = log;
        passCount = this.#givenCount;
      }
      if (batch.generation !== this.#generation) {
        this.#generation = batch.generation;
        if (batch.generation > log.generation) log.generation = batch.generation;
        this.#forgetRecords();
        passCount = 0;
      }
      if (batch.records.length === 0) return;
      const passed = Math.min(passCount, batch.records.length);
      passCount -= passed;
      this.#records = batch.records.slice(passed).toReversed();
    } while (this.#records.length === 0);
  }

  /** Undefined when the connection ended meanwhile. */
  async #ask(log: RemoteLog): Promise<Batch | undefined> {
    const { number } = this.#there;
    const first = await log.read(number, FETCH_BYTES);
    if (first === undefined) return undefined;
    const { body, payload, remote } = first;
    const generation = idFromWire(body.generation, 'generation');
    const records: Uint8Array[] = [];
    let at = 0;
    for (const lengthBytes of body.lengths) {
      // A copy: whoever keeps one record must not keep all that came with it.
      records.push(Uint8Array.prototype.slice.call(payload, at, at + lengthBytes));
      at += lengthBytes;
    }
    const parts: Uint8Array[] = [];
    for (let { restBytes = 0 } = body; restBytes > 0;) {
      const more = await log.read(number, PART_BYTES);
      if (more === undefined || more.remote !== remote) return undefined;
      parts.push(more.payload);
      restBytes = more.body.restBytes ?? 0;
    }
    if (parts.length > 0) records.push(Buffer.concat([records.pop()!, ...parts]));
    return { records, generation, remote };
  }
}

interface Batch {
  records: Uint8Array[];
  generation: bigint;
  remote: Remote;
}

/** Outlives the reader, so that what it has in the daemon can be given back. */
interface RemotePlace {
  readonly number: number;
  log: RemoteLog | undefined;
  remote: Remote | undefined;
}

const FORGOTTEN = new FinalizationRegistry<RemotePlace>((there) => void closeThere(there));

async function closeThere(there: RemotePlace): Promise<void> {
  const { log, remote, number } = there;
  there.remote = undefined;
  if (log === undefined || log.closing || remote === undefined || log.remote !== remote) return;
  // One that cannot be closed goes with its log.
  await log.ask('log.closeReader', { reader: number }).catch(() => {});
}
