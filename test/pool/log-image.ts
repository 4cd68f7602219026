// Builds logs as docs/format.md §3 says, apart from the store's writer, frame by frame.
import { crc32c } from '../../src/base/crc32c.ts';
import { viewOf } from '../../src/base/bytes.ts';
import { writeAsync } from '../../src/device/device.ts';
import {
  ChunkKind,
  chunkWord,
  encodeFrameHeader,
  NO_WITNESS,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  frameBytesOf,
  frameSeed,
  type FrameFields,
} from '../../src/format/log-frame.ts';
import {
  encodeLogHeader,
  logIdentity,
  LogState,
  type LogHeader,
} from '../../src/format/log-header.ts';
import { halvesOfId, makeObjectId, type IdHalves } from '../../src/format/object-id.ts';
import type { LogPlace } from '../../src/pool/log-scan.ts';
import { SimHost } from '../../src/testing/index.ts';
import { POOL_UUID } from '../format/samples.ts';

export const LOG_ID = halvesOfId(makeObjectId(77, 2, 3));
const FIRST_PAGE = 64;

export interface LogImageOptions {
  pageCount: number;
  sectorBytes?: 512 | 4096;
  generation?: number;
  salt?: number;
  seed?: number;
  objectId?: IdHalves;
}

/** A log in memory, then on a simulated disk; keeps the writer's state. */
export class LogImage {
  readonly bytes: Uint8Array;
  readonly sectorBytes: 512 | 4096;
  readonly identity: Uint8Array;
  readonly seed: number;
  header: LogHeader;
  /** Where each frame begins. */
  readonly frames: number[] = [];
  offsetBytes = 4096;
  sequence = 0;
  previousCrc = 0;
  durableBytes = 4096;
  recordCount = 0;

  constructor(options: LogImageOptions) {
    this.bytes = new Uint8Array(options.pageCount * 4096);
    this.sectorBytes = options.sectorBytes ?? 512;
    const objectId = options.objectId ?? LOG_ID;
    this.identity = logIdentity(POOL_UUID, objectId);
    this.seed = options.seed ?? 1;
    this.header = {
      state: LogState.current,
      sectorBytes: this.sectorBytes,
      generation: options.generation ?? 3,
      salt: options.salt ?? 0x5a17,
      objectId,
      committedBytes: 4096,
    };
  }

  /** A frame of any payload, well formed or not. @returns where it begins */
  frame(payload: Uint8Array, changes: Partial<FrameFields> = {}): number {
    const start = this.offsetBytes;
    const frameBytes = frameBytesOf(payload.length, this.sectorBytes);
    const frame = this.bytes.subarray(start, start + frameBytes).fill(0);
    frame.set(payload, FRAME_HEADER_BYTES);
    this.sequence += 1;
    this.previousCrc = this.seal(frame, start, {
      generation: this.header.generation,
      sequence: this.sequence,
      payloadBytes: payload.length,
      payloadCrc: 0,
      previousCrc: this.previousCrc,
      flags: 0,
      durableBytes: this.durableBytes,
      recordsBefore: this.recordCount,
      witness: NO_WITNESS,
      ...changes,
    });
    this.frames.push(start);
    this.offsetBytes = start + frameBytes;
    return start;
  }

  seal(frame: Uint8Array, start: number, fields: FrameFields): number {
    const payloadCrc = crc32c(frame.subarray(FRAME_HEADER_BYTES));
    const seed = frameSeed(this.identity, this.header.salt);
    return encodeFrameHeader(frame, { ...fields, payloadCrc }, seed, start);
  }

  /** One frame of these whole records, acknowledged when the next frame is made. */
  records(...records: Uint8Array[]): number {
    const start = this.frame(
      Buffer.concat(records.map((record) => chunk(ChunkKind.whole, record))),
    );
    this.recordCount += records.length;
    return start;
  }

  /** One record in as many frames as it takes. */
  pieces(record: Uint8Array, pieceBytes = FRAME_PAYLOAD_BYTES_MAX - 4): void {
    for (let from = 0; from < record.length; from += pieceBytes) {
      const to = Math.min(record.length, from + pieceBytes);
      const kind =
        from === 0 && to === record.length
          ? ChunkKind.whole
          : to === record.length
            ? ChunkKind.last
            : from === 0
              ? ChunkKind.first
              : ChunkKind.middle;
      this.frame(chunk(kind, record.subarray(from, to)));
    }
    this.recordCount += 1;
  }

  /** All so far is durable, and the next frame will say so. */
  flushed(): void {
    this.durableBytes = this.offsetBytes;
  }

  /** The log as it lies on media. */
  finish(): Uint8Array {
    this.bytes.set(encodeLogHeader(this.header, this.identity).subarray(0, 512), 0);
    return this.bytes;
  }

  /** Puts the log on a disk of a new host. */
  async place(): Promise<{ host: SimHost; place: LogPlace; header: LogHeader }> {
    this.finish();
    const host = new SimHost({ seed: this.seed, keepTrace: false });
    const sizeBytes = FIRST_PAGE * 4096 + this.bytes.length;
    host.addDisk('/dev/sim', { sizeBytes, sectorBytes: this.sectorBytes });
    const device = await host.openDevice('/dev/sim', { access: 'write' });
    const buffer = device.allocate(this.bytes.length);
    buffer.set(this.bytes);
    await writeAsync(device, FIRST_PAGE * 4096, buffer, 'volatile');
    device.release(buffer);
    const place: LogPlace = {
      device,
      extent: { pageAddress: FIRST_PAGE, pageCount: this.bytes.length / 4096 },
      identity: this.identity,
      objectId: this.header.objectId,
      sectorBytes: this.sectorBytes,
    };
    return { host, place, header: this.header };
  }
}

export function chunk(kind: number, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + content.length);
  viewOf(bytes).setUint32(0, chunkWord(kind, content.length), true);
  bytes.set(content, 4);
  return bytes;
}
