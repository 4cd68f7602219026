import { assert } from '../base/assert.ts';
import { MpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { PAGE_BYTES, roundUp } from '../base/units.ts';
import type { Durability } from '../device/device.ts';
import { crc32c } from '../base/crc32c.ts';
import {
  CHUNK_HEADER_BYTES,
  ChunkKind,
  encodeFrameHeader,
  FRAME_BYTES_MAX,
  FRAME_FLAG_CLOSED,
  FRAME_HEADER_BYTES,
  FRAMES_IN_FLIGHT_MAX,
  frameSeed,
  NO_WITNESS,
  RECORD_BYTES_MAX,
} from '../format/log-frame.ts';
import { LOG_HEADER_BYTES, type LogHeader, nextLogGeneration } from '../format/log-header.ts';
import type { LogMark } from '../format/log-mark.ts';
import type { FlushGate } from './flush-gate.ts';
import type { FramePosition } from './frame-cursor.ts';
import { type LogEnd, type LogPlace } from './log-scan.ts';
import type { LogRider } from './log-marks.ts';
import { OpenFrame, type SealedFrame } from './open-frame.ts';
import { writeLogHeader } from './log-place.ts';
import { addZeros, recordFits, writeZeroed, zerosBehind } from './log-room.ts';

/**
 * The writing side of one log (docs/format.md §3): records become chunks of frames, frames become
 * durable in groups.
 *
 *   append ──► open frame ──seal──► queued ──issue──► in flight ──► written ──flush──► durable
 *
 * Invariants
 * 1. A frame is written once, to sectors that no earlier frame of the generation used.
 * 2. At most FRAMES_IN_FLIGHT_MAX frames are in flight, so a torn tail is never longer than what a
 *    reader looks through behind the end.
 * 3. `durable` never passes a frame before which some frame is not durable: waiters are answered in
 *    the order of their records.
 * 4. After a failed write or flush nothing is ever written again and every later call says so, with
 *    the first cause.
 * 5. What append() refuses leaves no trace.
 * 6. After close() or drop() no write to the log's place is under way, not even of a failed log: the
 *    place may be used for something else.
 * 7. Zeros go with the frame before them, in one write, only where this generation has nothing; no frame
 *    is issued while such a write is in flight.
 */
export class Log {
  readonly place: LogPlace;
  readonly #gate: FlushGate;
  #header: LogHeader;
  #seed: number;
  /** Of the frame that is open or comes next. */
  #tailBytes: number;
  #sequence: number;
  #previousCrc: number;
  readonly #open: OpenFrame;
  #recordsBeforeOpen = 0;
  /** Sealed frames not yet written, in order; the first `#inFlight` of them are with the device. */
  #unwritten: SealedFrame[] = [];
  #inFlight = 0;
  /** End of what this log has written to its extent: below it a file has its blocks. */
  #touchedBytes: number;
  #zeroing = false;
  /** Frames written or on their way whose durability no flush has established. */
  #volatileFrames = 0;
  #durableBytes: number;
  /** Up to where a flush of ours acknowledged it, and the last frame below that: what is told of it. */
  #acknowledged: FramePosition;
  #recordCount: number;
  #durableRecords: number;
  #waiters: Waiter[] = [];
  #writtenWaiters: { sequence: number; resume: () => void }[] = [];
  #idleWaiters: (() => void)[] = [];
  /** What append() gave last to wait for: the same for all that wait for the same frame. */
  #room: { sequence: number; promise: Promise<void> } | null = null;
  #syncing = false;
  #closedInOrder: boolean;
  /** Why nothing can be appended just now. */
  #busy: string | null = null;
  /** The last erase: its header must not be on its way to media when the log is let go of. */
  #erasing: Promise<void> = RESOLVED;
  #failure: MpoolError | null = null;
  /** Something appended never reached the device. */
  #incomplete = false;
  /** Readers that hold memory of the device: let go of when the log closes. */
  readonly readers = new Set<{ close(): Promise<void> }>();
  /** Told of the first failure: the pool fails when one of its own logs does. */
  onFailure: (error: MpoolError) => void = () => {};
  /** Told when more was acknowledged, or all was erased. */
  onDurable: () => void = () => {};
  /** What goes along in a frame that is written anyway. */
  rider: LogRider | null = null;
  /** Frames written, for statistics. */
  frameCount = 0;
  /** Where syncs are counted that became durable together; null while nobody but the pool waits for them. */
  groups: FlushGate['syncGroups'] | null;

  /** @param end where the log was found to end; `freshLogEnd()` for one without frames */
  constructor(place: LogPlace, gate: FlushGate, header: LogHeader, end: LogEnd) {
    this.place = place;
    this.#open = new OpenFrame(place.device);
    this.#gate = gate;
    this.groups = gate.syncGroups;
    this.#header = header;
    this.#seed = frameSeed(place.identity, header.salt);
    this.#tailBytes = end.endBytes;
    this.#sequence = end.sequenceSeenMax;
    this.#previousCrc = end.lastCrc;
    this.#recordCount = end.recordCount;
    this.#durableRecords = end.recordCount;
    this.#durableBytes = end.endBytes;
    // A closing frame may have been written by a write that failed, and be in a cache only.
    this.#acknowledged = end.beforeClose ?? {
      offsetBytes: end.endBytes,
      sequence: end.lastSequence,
      crc: end.lastCrc,
    };
    this.#touchedBytes = end.endBytes;
    this.#closedInOrder = end.closed;
  }

  get header(): LogHeader {
    return this.#header;
  }
  get generation(): number {
    return this.#header.generation;
  }
  get recordCount(): number {
    return this.#recordCount;
  }
  get failure(): MpoolError | null {
    return this.#failure;
  }
  get extentBytes(): number {
    return this.place.extent.pageCount * PAGE_BYTES;
  }
  /** What frames can use. */
  get capacityBytes(): number {
    return this.extentBytes - PAGE_BYTES;
  }
  /** What frames use, the open one included as if it ended now. */
  get usedBytes(): number {
    const open =
      this.#open.usedBytes === 0 ? 0 : roundUp(this.#open.usedBytes, this.place.sectorBytes);
    return this.#tailBytes + open - PAGE_BYTES;
  }
  /** End of the sealed frames, in bytes of the extent. */
  get tailBytes(): number {
    return this.#tailBytes;
  }

  /** End of what the device has taken: readers may read up to it. */
  get writtenBytes(): number {
    return this.#unwritten[0]?.offsetBytes ?? this.#tailBytes;
  }

  /** What a device acknowledged of this generation. */
  get mark(): LogMark {
    const { offsetBytes, sequence, crc } = this.#acknowledged;
    const { low, high } = this.place.objectId;
    const { generation } = this.#header;
    return { idLow: low, idHigh: high, generation, durableBytes: offsetBytes, sequence, crc };
  }

  /** For readers at the end. @throws ERR_MPOOL_FAILED when there was more, which never reached the device */
  assertComplete(): void {
    if (this.#incomplete) throw this.#failed();
  }

  /**
   * Orders a record behind all before it; copied.
   * @returns a promise only where the caller should wait before it appends more
   * @throws ERR_MPOOL_LOG_FULL, nothing changed; ERR_MPOOL_FAILED
   */
  append(record: Uint8Array): Promise<void> | undefined {
    this.#assertWritable();
    const length = record.length;
    if (length > RECORD_BYTES_MAX) {
      throw new MpoolError('ERR_MPOOL_TOO_LARGE', `a record of ${length} bytes`);
    }
    const room = this.#roomInFrame();
    if (CHUNK_HEADER_BYTES + length <= room) {
      this.#putChunk(ChunkKind.whole, record);
    } else {
      if (!this.fits(length)) {
        throw new MpoolError(
          'ERR_MPOOL_LOG_FULL',
          `a record of ${length} bytes, ${this.capacityBytes - this.usedBytes} bytes left`,
        );
      }
      this.#putPieces(record);
    }
    this.#recordCount += 1;
    if (this.#unwritten.length <= FRAMES_IN_FLIGHT_MAX) return undefined;
    const { sequence } = this.#unwritten[this.#unwritten.length - FRAMES_IN_FLIGHT_MAX]!;
    if (this.#room?.sequence !== sequence) {
      this.#room = { sequence, promise: this.#written(sequence) };
    }
    return this.#room.promise;
  }

  /** Appends a chunk without content: compaction started or ended. */
  appendMarker(which: 'started' | 'ended'): void {
    this.#assertWritable();
    if (this.#roomInFrame() < CHUNK_HEADER_BYTES) {
      if (!this.fits(0)) throw new MpoolError('ERR_MPOOL_LOG_FULL', 'a marker');
      this.#seal('volatile');
    }
    this.#putChunk(
      which === 'started' ? ChunkKind.compactionStart : ChunkKind.compactionEnd,
      EMPTY,
    );
  }

  /** Whether a record of that length has room. */
  fits(lengthBytes: number): boolean {
    return recordFits(lengthBytes, {
      roomBytes: this.#roomInFrame(),
      usedBytes: this.#open.usedBytes,
      tailBytes: this.#tailBytes,
      extentBytes: this.extentBytes,
      sectorBytes: this.place.sectorBytes,
    });
  }

  /** Resolves once everything appended so far is durable; shares the flush with others in flight. */
  sync(): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failed());
    if (this.#durableRecords >= this.#recordCount && this.#open.usedBytes === 0 && !this.#dirty()) {
      return RESOLVED;
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (!this.#syncing) {
        this.#syncing = true;
        // At the end of the tick, so that all that is appended in it shares one frame.
        queueMicrotask(() => this.#syncRound());
      }
    });
  }

  /** Resolves once everything appended so far is on the device, durable or not: readers may read it. */
  async settle(): Promise<void> {
    if (this.#failure !== null) return;
    if (this.#open.usedBytes > 0) this.#seal('volatile');
    const last = this.#unwritten.at(-1);
    if (last !== undefined) await this.#written(last.sequence);
  }

  /** Empties the log: one durable write of a header with a higher generation. */
  erase(minGeneration: number, prng: Prng): Promise<void> {
    this.#erasing = this.#erase(minGeneration, prng);
    return this.#erasing;
  }

  async #erase(minGeneration: number, prng: Prng): Promise<void> {
    this.#assertWritable();
    this.#busy = 'the log is being erased';
    try {
      if (this.#open.usedBytes > 0) this.#seal('volatile');
      await this.sync();
      const header: LogHeader = {
        ...this.#header,
        generation: nextLogGeneration(this.#header.generation, minGeneration),
        salt: prng.u32(),
        committedBytes: PAGE_BYTES,
      };
      await writeLogHeader(this.place, header, 'durable').catch((error: MpoolError) => {
        this.fail(error);
        throw this.#failed();
      });
      this.#restart(header);
    } finally {
      this.#busy = null;
    }
  }

  /**
   * Syncs, and says on media that all was well: damage found later is then known to be damage.
   * @param options.readOnly writes nothing
   */
  async close(options: { readOnly?: boolean } = {}): Promise<void> {
    await Promise.all([...this.readers].map((reader) => reader.close()));
    if (options.readOnly === true) return;
    await this.#erasing.catch(() => {});
    try {
      if (this.#failure !== null) throw this.#failed();
      await this.#closeInOrder();
    } finally {
      await this.#idle();
    }
  }

  async #closeInOrder(): Promise<void> {
    await this.sync();
    const room = this.extentBytes - this.#tailBytes >= this.place.sectorBytes;
    if (this.#closedInOrder || !room || this.#tailBytes === PAGE_BYTES) return;
    this.#beginFrame();
    const written = this.#seal('durable', true);
    await this.#written(written);
    if (this.#failure !== null) throw this.#failed();
    this.#durableTo(this.#tailBytes, this.#sequence, this.#previousCrc);
    this.#closedInOrder = true;
  }

  #durableTo(offsetBytes: number, sequence: number, crc: number): void {
    if (offsetBytes <= this.#durableBytes) return;
    this.#durableBytes = offsetBytes;
    this.#acknowledged = { offsetBytes, sequence, crc };
    this.onDurable();
  }

  /** Gives up a log that never came to count: it can no longer be used. */
  async drop(): Promise<void> {
    this.#failure ??= new MpoolError('ERR_MPOOL_ABORTED', 'the log');
    this.#giveUpUnissued();
    await this.#idle();
  }

  /** Nothing can be appended until thaw(): its owner is about to say on media where it ends. */
  freeze(why: string): void {
    this.#busy = why;
  }

  thaw(): void {
    this.#busy = null;
  }

  /** After a failure that leaves only media knowing whether the log counts. */
  fail(cause: MpoolError): void {
    if (this.#failure !== null) return;
    this.#failure = cause;
    this.#giveUpUnissued();
    this.onFailure(cause);
  }

  /** After the owner wrote a header itself (the end of a compaction): the log goes on under it. */
  adopt(header: LogHeader): void {
    assert(header.salt === this.#header.salt, 'only the state of a header can be adopted');
    this.#header = header;
  }

  #restart(header: LogHeader): void {
    assert(
      this.#unwritten.length === 0 && this.#open.usedBytes === 0,
      'nothing is under way at an erase',
    );
    this.#header = header;
    this.#seed = frameSeed(this.place.identity, header.salt);
    this.#tailBytes = PAGE_BYTES;
    this.#durableBytes = PAGE_BYTES;
    this.#sequence = 0;
    this.#previousCrc = 0;
    this.#recordCount = 0;
    this.#durableRecords = 0;
    this.#closedInOrder = false;
    this.#room = null;
    this.#acknowledged = { offsetBytes: LOG_HEADER_BYTES, sequence: 0, crc: 0 };
    this.onDurable();
  }

  #assertWritable(): void {
    if (this.#failure !== null) throw this.#failed();
    if (this.#busy !== null) throw new MpoolError('ERR_MPOOL_BUSY', this.#busy);
  }

  #dirty(): boolean {
    return this.#volatileFrames > 0 || this.#unwritten.length > 0;
  }

  /** Bytes that the open (or next) frame can still take, chunk headers included. */
  #roomInFrame(): number {
    const used = this.#open.usedBytes === 0 ? FRAME_HEADER_BYTES : this.#open.usedBytes;
    return Math.min(FRAME_BYTES_MAX, this.extentBytes - this.#tailBytes) - used;
  }

  #beginFrame(): void {
    if (this.#open.usedBytes > 0) return;
    this.#open.begin();
    this.#recordsBeforeOpen = this.#recordCount;
  }

  #putPieces(record: Uint8Array): void {
    let from = 0;
    do {
      let room = this.#roomInFrame();
      if (room <= CHUNK_HEADER_BYTES) {
        this.#seal('volatile');
        room = this.#roomInFrame();
      }
      const to = Math.min(record.length, from + room - CHUNK_HEADER_BYTES);
      const first = from === 0;
      const last = to === record.length;
      const kind = first
        ? last
          ? ChunkKind.whole
          : ChunkKind.first
        : last
          ? ChunkKind.last
          : ChunkKind.middle;
      try {
        this.#putChunk(kind, record.subarray(from, to));
      } catch (error) {
        // Half a record is in the log already: nobody may take what follows for the rest of it.
        if (!first) this.fail(error as MpoolError);
        throw error;
      }
      from = to;
      if (!last) this.#seal('volatile');
    } while (from < record.length);
  }

  #putChunk(kind: number, bytes: Uint8Array): void {
    // The memory first, since there may be none: then nothing has begun.
    const begins = this.#open.usedBytes === 0;
    this.#open.put(kind, bytes);
    if (begins) this.#recordsBeforeOpen = this.#recordCount;
  }

  /** Ends the open frame and hands it to the device. @returns its sequence */
  #seal(durability: Durability, closed = false): number {
    assert(this.#open.usedBytes > 0, 'there is a frame to seal');
    const used = this.#open.usedBytes;
    const buffer = this.#open.take();
    const lengthBytes = roundUp(used, this.place.sectorBytes);
    const bytes = buffer.subarray(0, lengthBytes);
    bytes.fill(0, used);
    this.#sequence += 1;
    this.#previousCrc = encodeFrameHeader(
      bytes,
      {
        generation: this.#header.generation,
        sequence: this.#sequence,
        payloadBytes: used - FRAME_HEADER_BYTES,
        payloadCrc: crc32c(bytes.subarray(FRAME_HEADER_BYTES)),
        previousCrc: this.#previousCrc,
        flags: closed ? FRAME_FLAG_CLOSED : 0,
        durableBytes: this.#durableBytes,
        recordsBefore: this.#recordsBeforeOpen,
        witness: this.place.witness ?? NO_WITNESS,
      },
      this.#seed,
      this.#tailBytes,
    );
    const frame: SealedFrame = {
      buffer,
      bytes,
      offsetBytes: this.#tailBytes,
      sequence: this.#sequence,
      durability,
      written: false,
    };
    this.#tailBytes += lengthBytes;
    this.#closedInOrder = false;
    this.#volatileFrames += 1;
    this.frameCount += 1;
    this.#unwritten.push(frame);
    this.#issue();
    return frame.sequence;
  }

  #issue(): void {
    while (
      !this.#zeroing &&
      this.#inFlight < FRAMES_IN_FLIGHT_MAX &&
      this.#inFlight < this.#unwritten.length
    ) {
      const frame = this.#unwritten[this.#inFlight]!;
      this.#inFlight += 1;
      const { device, extent } = this.place;
      const isLast = this.#inFlight === this.#unwritten.length;
      const zeroBytes = isLast ? zerosBehind(this, frame, this.#touchedBytes) : 0;
      const frameBytes = frame.bytes.length;
      const zeroing = zeroBytes > 0 && addZeros(device, frame, zeroBytes);
      this.#zeroing ||= zeroing;
      const { buffer, bytes } = frame;
      this.#touchedBytes = Math.max(this.#touchedBytes, frame.offsetBytes + bytes.length);
      const offsetBytes = extent.pageAddress * PAGE_BYTES + frame.offsetBytes;
      const mayRetry = (): boolean => this.#failure === null;
      writeZeroed(device, frame, { offsetBytes, frameBytes, mayRetry }, (error) => {
        frame.written = true;
        if (zeroing) this.#zeroing = false;
        device.release(buffer);
        if (error !== null) this.fail(error);
        this.#reap();
      });
    }
  }

  /** Takes the written frames off the front, and goes on. */
  #reap(): void {
    while (this.#unwritten[0]?.written === true) {
      this.#unwritten.shift();
      this.#inFlight -= 1;
    }
    if (this.#failure === null) this.#issue();
    if (this.#inFlight === 0) for (const resume of this.#idleWaiters.splice(0)) resume();
    const reached = this.#unwritten[0]?.sequence ?? Infinity;
    if (this.#writtenWaiters.length === 0) return;
    const isReady = (waiter: { sequence: number }): boolean =>
      this.#failure !== null || waiter.sequence < reached;
    const ready = this.#writtenWaiters.filter(isReady);
    if (ready.length === 0) return;
    this.#writtenWaiters = this.#writtenWaiters.filter((waiter) => !isReady(waiter));
    for (const waiter of ready) waiter.resume();
  }

  /** Resolves when no write is under way. */
  #idle(): Promise<void> {
    if (this.#inFlight === 0) return RESOLVED;
    return new Promise((resume) => this.#idleWaiters.push(resume));
  }

  /** Frames that the device does not have yet never will be written: they end where those in flight begin. */
  #giveUpUnissued(): void {
    const { device } = this.place;
    this.#incomplete ||= this.#open.usedBytes > 0 || this.#unwritten.length > 0;
    this.#open.release();
    this.#tailBytes = this.#unwritten[0]?.offsetBytes ?? this.#tailBytes;
    for (const frame of this.#unwritten.splice(this.#inFlight)) device.release(frame.buffer);
  }

  /** Resolves when the frame of that sequence is written, or the log failed. */
  #written(sequence: number): Promise<void> {
    return new Promise((resume) => this.#afterWritten(sequence, resume));
  }

  #afterWritten(sequence: number, resume: () => void): void {
    const first = this.#unwritten[0];
    if (this.#failure !== null || first === undefined || first.sequence > sequence) resume();
    else this.#writtenWaiters.push({ sequence, resume });
  }

  /** One group: everything appended until now becomes durable together. */
  #syncRound(): void {
    if (this.#failure !== null) return this.#rejectWaiters();
    const group = this.#waiters;
    if (group.length === 0) {
      this.#syncing = false;
      return;
    }
    this.#waiters = [];
    if (this.#open.usedBytes > 0 && this.rider !== null) this.#takeRider(this.rider);
    const records = this.#recordCount;
    // Where others wait for a flush anyway, a flush of our own would only make the device do it twice.
    const alone = !this.#dirty() && (this.#open.usedBytes === 0 || !this.#gate.busy);
    if (this.#open.usedBytes > 0) this.#seal(alone ? 'durable' : 'volatile');
    const tailBytes = this.#tailBytes;
    const sequence = this.#sequence;
    const crc = this.#previousCrc;
    const frames = this.#volatileFrames;
    const finish = (error: MpoolError | null): void => {
      if (error !== null) this.fail(error);
      if (this.#failure !== null) {
        const failure = this.#failed();
        for (const waiter of group) waiter.reject(failure);
        return this.#rejectWaiters();
      }
      this.#durableTo(tailBytes, sequence, crc);
      this.#durableRecords = records;
      this.#volatileFrames -= frames;
      this.groups?.add(group.length);
      for (const waiter of group) waiter.resolve();
      this.#syncRound();
    };
    this.#afterWritten(sequence, () => {
      if (alone || this.#failure !== null) finish(this.#failure);
      else this.#gate.flushThen(finish);
    });
  }

  /** One record more in the open frame, if it has room: it never begins a frame of its own. */
  #takeRider(rider: LogRider): void {
    // What is taken is put: it must not come to need memory that there may not be.
    const roomBytes = Math.min(this.#roomInFrame(), this.#open.spareBytes);
    const record = rider.take(roomBytes - CHUNK_HEADER_BYTES);
    if (record === undefined) return;
    this.#putChunk(ChunkKind.whole, record);
    this.#recordCount += 1;
  }

  #rejectWaiters(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    this.#syncing = false;
    for (const waiter of waiters) waiter.reject(this.#failed());
  }

  #failed(): MpoolError {
    return new MpoolError('ERR_MPOOL_FAILED', 'the log', { cause: this.#failure });
  }
}

type Waiter = { resolve: () => void; reject: (error: MpoolError) => void };

/** Shared by all calls that need not wait: a promise of its own would cost more than the append. */
export const RESOLVED: Promise<void> = Promise.resolve();
const EMPTY = new Uint8Array(0);
