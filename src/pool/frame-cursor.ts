import { PAGE_BYTES } from '../base/units.ts';
import type { Device } from '../device/device.ts';
import type { Extent } from '../format/extent.ts';
import {
  decodeFrameHeader,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  frameBytesOf,
  frameSeed,
  hasFrameMagic,
  payloadIsRight,
  TORN_WINDOW_BYTES,
  type FrameHeader,
  type FramePlace,
  type FrameProblem,
  laterWitness,
  type LogWitness,
  NO_WITNESS,
} from '../format/log-frame.ts';
import { LOG_HEADER_BYTES, type LogHeader } from '../format/log-header.ts';
import type { IdHalves } from '../format/object-id.ts';
import { ReadAhead } from './read-ahead.ts';

/** Where a log is, and which log it is. */
export interface LogPlace {
  device: Device;
  extent: Extent;
  /** 24 bytes: pool UUID ‖ object id, of logIdentity(). */
  identity: Uint8Array;
  objectId: IdHalves;
  /** 512 or 4096, as the device's descriptor says. */
  sectorBytes: number;
  /**
   * What frames that are written there bear witness of, as it stands; NO_WITNESS for who only reads, and
   * undefined in a pool whose logs bear none.
   */
  witness?: Readonly<LogWitness> | undefined;
}

/** A verified frame; `bytes` are lent until the next call of the cursor. */
export interface Frame {
  bytes: Uint8Array;
  view: DataView;
  payloadStart: number;
  payloadEnd: number;
  /** End of the frame's last sector, in `bytes`. */
  end: number;
  /** Of the frame in the extent. */
  offsetBytes: number;
  header: FrameHeader;
}

/** A frame boundary: the state in which the frame before left the chain. */
export interface FramePosition {
  offsetBytes: number;
  /** Of the last frame; 0 before the first. */
  sequence: number;
  /** CRC field of the last frame; 0 before the first. */
  crc: number;
}

/** Where a log's frames begin. */
export const FIRST_POSITION: FramePosition = { offsetBytes: LOG_HEADER_BYTES, sequence: 0, crc: 0 };

/**
 * Why there was no next frame: the extent (or `endBytes`) ends there; or the bytes there are no
 * frame header, a damaged or impossible one; or a whole header whose sequence does not rise, that
 * does not follow from the last frame, or whose payload is not what it was.
 */
export type FrameStop = 'end' | FrameProblem | 'sequence' | 'chain' | 'payload';

/**
 * What lies behind the end: headers of frames that were never acknowledged, or evidence of damage.
 */
export interface Leftovers {
  /** Of headers with a sequence above the last frame's. */
  count: number;
  /** The largest durableBytes among them, 0 when there is none. */
  durableBytes: number;
  /** The largest sequence of any. */
  sequenceMax: number;
  /** The most that any of them says of another log. */
  witness: LogWitness;
}

/** Verified frames of one generation of a log, in order from any frame boundary. */
export class FrameCursor {
  readonly #place: FramePlace;
  readonly #reader: ReadAhead;
  readonly #endBytes: number;
  #position: FramePosition;
  #stop: FrameStop | undefined;

  /**
   * @param options.from a boundary known from an earlier pass; the first frame by default
   * @param options.endBytes of an open log: do not look beyond
   */
  constructor(
    place: LogPlace,
    header: LogHeader,
    options: { from?: FramePosition | undefined; endBytes?: number | undefined } = {},
  ) {
    const extentBytes = place.extent.pageCount * PAGE_BYTES;
    this.#position = options.from ?? FIRST_POSITION;
    this.#endBytes = Math.min(options.endBytes ?? extentBytes, extentBytes);
    this.#place = {
      seed: frameSeed(place.identity, header.salt),
      offsetBytes: 0,
      extentBytes: this.#endBytes,
      generation: header.generation,
      sectorBytes: place.sectorBytes,
      witnesses: place.witness !== undefined,
    };
    this.#reader = new ReadAhead(place.device, {
      baseBytes: place.extent.pageAddress * PAGE_BYTES,
      fromBytes: this.#position.offsetBytes,
      endBytes: this.#endBytes,
      contiguousBytesMax: FRAME_BYTES_MAX,
    });
  }

  /** After the last frame that next() gave: where its next one would be. */
  get position(): FramePosition {
    return this.#position;
  }

  /** Why next() answered undefined. */
  get stop(): FrameStop | undefined {
    return this.#stop;
  }

  /**
   * The next frame, or undefined where there is none.
   * @throws ERR_MPOOL_IO when the device cannot read: that is not the end of the log
   */
  async next(): Promise<Frame | undefined> {
    const { offsetBytes } = this.#position;
    const header = await this.#headerAt(offsetBytes);
    if (typeof header === 'string') return this.#end(header);
    if (header.sequence <= this.#position.sequence) return this.#end('sequence');
    if (header.previousCrc !== this.#position.crc) return this.#end('chain');
    const { sectorBytes } = this.#place;
    const frameBytes = frameBytesOf(header.payloadBytes, sectorBytes);
    const index = await this.#at(offsetBytes, frameBytes);
    if (index < 0) return this.#end('end');
    const { bytes, view } = this.#reader;
    if (!payloadIsRight(bytes, index, header, sectorBytes)) return this.#end('payload');
    this.#position = {
      offsetBytes: offsetBytes + frameBytes,
      sequence: header.sequence,
      crc: header.crc,
    };
    const payloadStart = index + FRAME_HEADER_BYTES;
    return {
      bytes,
      view,
      payloadStart,
      payloadEnd: payloadStart + header.payloadBytes,
      end: index + frameBytes,
      offsetBytes,
      header,
    };
  }

  /** Looks through the torn window behind the end. Call it when next() answered undefined. */
  async leftovers(): Promise<Leftovers> {
    const { offsetBytes, sequence } = this.#position;
    const found: Leftovers = {
      count: 0,
      durableBytes: 0,
      sequenceMax: sequence,
      witness: NO_WITNESS,
    };
    const windowEnd = Math.min(offsetBytes + TORN_WINDOW_BYTES, this.#endBytes);
    const { sectorBytes } = this.#place;
    for (let at = offsetBytes; at + sectorBytes <= windowEnd; at += sectorBytes) {
      let index = this.#reader.indexOf(at, sectorBytes);
      // oxlint-disable-next-line no-await-in-loop -- the window is read in order
      if (index < 0) index = await this.#at(at, sectorBytes);
      if (index < 0) break;
      if (!hasFrameMagic(this.#reader.view, index)) continue;
      const header = this.#decode(index, at);
      if (typeof header === 'string') continue;
      found.witness = laterWitness(found.witness, header.witness);
      found.sequenceMax = Math.max(found.sequenceMax, header.sequence);
      if (header.sequence <= sequence) continue;
      found.count += 1;
      found.durableBytes = Math.max(found.durableBytes, header.durableBytes);
    }
    return found;
  }

  /** Waits for reads under way and gives the memory back. Idempotent. */
  close(): Promise<void> {
    return this.#reader.close();
  }

  #end(stop: FrameStop): undefined {
    this.#stop = stop;
    return undefined;
  }

  async #headerAt(offsetBytes: number): Promise<FrameHeader | FrameStop> {
    const { sectorBytes } = this.#place;
    if (offsetBytes + sectorBytes > this.#endBytes) return 'end';
    const index = await this.#at(offsetBytes, sectorBytes);
    return index < 0 ? 'end' : this.#decode(index, offsetBytes);
  }

  #decode(index: number, offsetBytes: number): FrameHeader | FrameProblem {
    this.#place.offsetBytes = offsetBytes;
    return decodeFrameHeader(this.#reader.bytes, this.#reader.view, index, this.#place);
  }

  async #at(offsetBytes: number, lengthBytes: number): Promise<number> {
    const index = this.#reader.indexOf(offsetBytes, lengthBytes);
    if (index >= 0) return index;
    const there = await this.#reader.advance(offsetBytes, lengthBytes);
    return there ? this.#reader.indexOf(offsetBytes, lengthBytes) : -1;
  }
}
