/**
 * What happened to a medium, in the order in which it happened, with what its users told in between.
 *
 * A record: kind u8, flags u8, 2 bytes nothing, operation u32, offset f64, length f64, payload length u32, 4 bytes
 * nothing; then the payload. Little endian. Each operation has a record when it begins, with the data, and a
 * record `done` before it is answered; an operation that was refused has neither.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

const HEADER_BYTES = 32;

const KINDS = ['write', 'discard', 'flush', 'resize', 'done', 'event', 'flushFailed'] as const;
export type Kind = (typeof KINDS)[number];

export interface LogRecord {
  kind: Kind;
  /** Number of the operation; of an event, of who told it. */
  operation: number;
  offsetBytes: number;
  lengthBytes: number;
  /** A write that is on media when it is done, whatever else is not. */
  durable: boolean;
  /** Data of a write, text of an event. */
  payload: Uint8Array;
}

const NOTHING = new Uint8Array(0);

export class WriteLogWriter {
  readonly #fd: number;
  #sizeBytes = 0;

  constructor(path: string) {
    this.#fd = openSync(path, 'wx');
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  append(kind: Kind, operation: number, more: Partial<LogRecord> = {}): void {
    const { offsetBytes = 0, lengthBytes = 0, durable = false, payload = NOTHING } = more;
    const header = Buffer.alloc(HEADER_BYTES);
    header[0] = KINDS.indexOf(kind);
    header[1] = durable ? 1 : 0;
    header.writeUInt32LE(operation, 4);
    header.writeDoubleLE(offsetBytes, 8);
    header.writeDoubleLE(lengthBytes, 16);
    header.writeUInt32LE(payload.length, 24);
    for (const bytes of [header, payload]) {
      for (let from = 0; from < bytes.length;) {
        from += writeSync(this.#fd, bytes, from, bytes.length - from);
      }
      this.#sizeBytes += bytes.length;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** All records, of which each is of use until the next is asked for. */
export function* readWriteLog(path: string): Generator<LogRecord> {
  const fd = openSync(path, 'r');
  try {
    let at = 0;
    const read = (lengthBytes: number): Buffer => {
      const bytes = Buffer.alloc(lengthBytes);
      const length = lengthBytes === 0 ? 0 : readSync(fd, bytes, 0, lengthBytes, at);
      at += length;
      return bytes.subarray(0, length);
    };
    for (;;) {
      const header = read(HEADER_BYTES);
      if (header.length < HEADER_BYTES) return;
      const payloadBytes = header.readUInt32LE(24);
      const payload = read(payloadBytes);
      if (payload.length < payloadBytes) return;
      yield {
        kind: KINDS[header[0]!]!,
        operation: header.readUInt32LE(4),
        offsetBytes: header.readDoubleLE(8),
        lengthBytes: header.readDoubleLE(16),
        durable: header[1] === 1,
        payload,
      };
    }
  } finally {
    closeSync(fd);
  }
}
