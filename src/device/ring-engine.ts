/**
 * Drives a ring of native/ring.h: writes submission entries and reads completions in place.
 *
 *   submission entry, 64 bytes          completion, 16 bytes
 *   offset size field                   offset size field
 *        0    1 op                           0    4 userData, low half: the slot
 *        4    4 fd                           4    4 userData, high half: 0
 *        8    8 file offset                  8    4 result, i32
 *       16    8 address                     12    4 flags
 *       24    4 length
 *       28    4 flags of the operation
 *       32    8 userData: the slot
 *
 * Invariants
 *  1. A slot is free, or holds exactly one request between its entry and its completion.
 *  2. There are as many slots as completions fit, so the completion ring never overflows; further
 *     requests wait in order in the backlog.
 *  3. Entries filled but not entered are entered before this tick ends, or tried again soon.
 *  4. A completion is marked read before its callback runs, so a callback that throws loses nothing.
 *  5. Once the kernel refuses to be entered, the ring is lost: what it had not taken, and all that comes,
 *     goes by the thread pool; what it had taken is read out of the ring, which stays mapped. So no request
 *     is carried out twice, and each completes.
 */
import { setImmediate } from 'node:timers';
import { constants } from 'node:os';
import { assert } from '../base/assert.ts';
import { errnoName } from '../base/errors.ts';
import { binding, RING_AIO, RING_IO_URING, RING_LAYOUT_LENGTH } from '../native/binding.ts';
import type { EngineName, IoEngine, IoRequest } from './io-engine.ts';
import { threadEngine } from './thread-engine.ts';

const SQ_ENTRIES = 256;
const CQ_ENTRIES = 512;
const ENTRY_WORDS = 16;
const COMPLETION_WORDS = 4;
const TWO_32 = 2 ** 32;
/** IOSQE_ASYNC in the flags of an entry, the byte after the operation: a worker of the kernel starts it. */
const ASYNC = (1 << 4) << 8;
/** Pending entries are entered at once when they exceed this share of those in flight. */
const PENDING_SHARE = 16;
const RETRY_MS = 1;
/** So often the kernel may have no room for the first request: then it never will. A second or more. */
const RETRIES_MAX = 1000;
/** How often completions of a lost ring are looked for: the system may have taken its descriptor, too. */
const LOST_LOOK_MS = 10;
/** Answers of the kernel that mean: later. */
const LATER = new Set([constants.errno.EAGAIN, constants.errno.EBUSY, constants.errno.ENOMEM]);

export class RingEngine implements IoEngine {
  readonly #name: 'io_uring' | 'aio';
  #lost: string | undefined;
  readonly #ring: number;
  /** Region 0 as words; heads and tails are at these indexes of it. */
  readonly #words: Int32Array;
  readonly #sqHeadAt: number;
  readonly #sqTailAt: number;
  readonly #cqHeadAt: number;
  readonly #cqTailAt: number;
  readonly #completionsAt: number;
  readonly #sqMask: number;
  readonly #cqMask: number;
  readonly #entries: Int32Array;
  readonly #slots: (IoRequest | undefined)[];
  readonly #freeSlots: Int32Array;
  #freeSlotCount: number;
  #sqTail = 0;
  #cqHead = 0;
  /** Entries filled and not yet entered. */
  #pending = 0;
  #tickScheduled = false;
  #retryScheduled = false;
  #retryCount = 0;
  #reading = false;
  #backlog: IoRequest[] = [];
  #backlogHead = 0;

  /** @returns the engine, or the negative errno of the system call that refused it */
  static open(name: 'io_uring' | 'aio'): RingEngine | number {
    const layout = new Uint32Array(RING_LAYOUT_LENGTH);
    const kind = name === 'aio' ? RING_AIO : RING_IO_URING;
    // The ring calls back only after entries were entered, so the engine is there by then.
    const ring = binding.ringOpen(kind, SQ_ENTRIES, CQ_ENTRIES, layout, () => engine.#read());
    if (ring < 0) return ring;
    const memory = [binding.ringMemory(ring, 0), binding.ringMemory(ring, 1)] as const;
    const [rings, entries] = memory;
    if (typeof rings === 'number' || typeof entries === 'number') {
      binding.ringClose(ring);
      return -constants.errno.ENOMEM;
    }
    const engine = new RingEngine(name, ring, layout, rings, entries);
    return engine;
  }

  private constructor(
    name: 'io_uring' | 'aio',
    ring: number,
    layout: Uint32Array,
    rings: ArrayBuffer,
    entries: ArrayBuffer,
  ) {
    this.#name = name;
    this.#ring = ring;
    const [sqEntries = 0, cqEntries = 0, ...offsets] = layout;
    const [sqHead = 0, sqTail = 0, cqHead = 0, cqTail = 0, completions = 0] = offsets;
    this.#words = new Int32Array(rings);
    this.#sqHeadAt = sqHead / 4;
    this.#sqTailAt = sqTail / 4;
    this.#cqHeadAt = cqHead / 4;
    this.#cqTailAt = cqTail / 4;
    this.#completionsAt = completions / 4;
    this.#sqMask = sqEntries - 1;
    this.#cqMask = cqEntries - 1;
    this.#entries = new Int32Array(entries);
    this.#slots = Array.from({ length: cqEntries });
    this.#freeSlots = Int32Array.from({ length: cqEntries }, (_, i) => cqEntries - 1 - i);
    this.#freeSlotCount = cqEntries;
  }

  /** What carries requests now. */
  get name(): EngineName {
    return this.#lost === undefined ? this.#name : threadEngine.name;
  }

  get lost(): string | undefined {
    return this.#lost;
  }

  submit(request: IoRequest): void {
    if (this.#lost !== undefined) return threadEngine.submit(request);
    if (!this.#hasRoom() || this.#backlogHead < this.#backlog.length) {
      this.#backlog.push(request);
      return;
    }
    this.#fill(request);
    const inFlight = this.#slots.length - this.#freeSlotCount - this.#pending;
    // A batch saves system calls, but the device must not wait for it: with a share of a quarter
    // queue depth 32 lost a tenth to fio, with a sixteenth nothing.
    if (this.#pending * PENDING_SHARE > inFlight) this.#enter();
    else this.#enterAtTickEnd();
  }

  #hasRoom(): boolean {
    return this.#freeSlotCount > 0 && this.#pending <= this.#sqMask;
  }

  #fill(request: IoRequest): void {
    const slot = this.#freeSlots[--this.#freeSlotCount]!;
    this.#slots[slot] = request;
    const at = (this.#sqTail & this.#sqMask) * ENTRY_WORDS;
    const entries = this.#entries;
    entries[at] = request.mayBlock ? request.op | ASYNC : request.op;
    entries[at + 1] = request.fd;
    entries[at + 2] = request.offsetBytes;
    entries[at + 3] = request.offsetBytes / TWO_32;
    entries[at + 4] = request.address;
    entries[at + 5] = request.address / TWO_32;
    entries[at + 6] = request.lengthBytes;
    entries[at + 7] = request.flags;
    entries[at + 8] = slot;
    this.#sqTail = (this.#sqTail + 1) | 0;
    this.#pending++;
  }

  #enterAtTickEnd(): void {
    if (this.#tickScheduled || this.#reading) return;
    this.#tickScheduled = true;
    process.nextTick(() => {
      this.#tickScheduled = false;
      this.#enter();
    });
  }

  #enter(): void {
    while (this.#pending > 0) {
      Atomics.store(this.#words, this.#sqTailAt, this.#sqTail);
      const taken = binding.ringEnter(this.#ring, this.#pending);
      if (taken < 0 && !LATER.has(-taken)) return this.#lose(taken);
      if (taken <= 0) return this.#enterLater(taken);
      this.#pending -= taken;
      this.#retryCount = 0;
    }
  }

  /** The kernel is out of something for now. */
  #enterLater(taken: number): void {
    if (this.#retryScheduled) return;
    const inFlight = this.#slots.length - this.#freeSlotCount - this.#pending;
    this.#retryCount = inFlight > 0 ? 0 : this.#retryCount + 1;
    if (this.#retryCount > RETRIES_MAX) return this.#lose(taken);
    this.#retryScheduled = true;
    setTimeout(() => {
      this.#retryScheduled = false;
      this.#enter();
      this.#drainBacklog();
    }, RETRY_MS);
  }

  /** The kernel refuses to be entered at all: what it has not taken goes another way. */
  #lose(result: number): void {
    const head = Atomics.load(this.#words, this.#sqHeadAt);
    const left: IoRequest[] = [];
    for (let entry = head; entry !== this.#sqTail; entry = (entry + 1) | 0) {
      left.push(this.#take(this.#entries[(entry & this.#sqMask) * ENTRY_WORDS + 8]!));
    }
    this.#sqTail = head;
    this.#pending = 0;
    Atomics.store(this.#words, this.#sqTailAt, head);
    left.push(...this.#backlog.slice(this.#backlogHead));
    this.#backlog = [];
    this.#backlogHead = 0;
    const { name } = threadEngine;
    this.#lost = `the system took ${this.#name} away (${errnoName(result)}): I/O goes by ${name}`;
    for (const request of left) threadEngine.submit(request);
    this.#readOut();
  }

  #readOut(): void {
    if (this.#freeSlotCount === this.#slots.length) return;
    setTimeout(() => {
      // Entering nothing also brings what is finished into the ring.
      binding.ringEnter(this.#ring, 0);
      this.#read();
      this.#readOut();
    }, LOST_LOOK_MS);
  }

  #take(slot: number): IoRequest {
    const request = this.#slots[slot];
    assert(request !== undefined, 'a completion belongs to a request');
    this.#slots[slot] = undefined;
    this.#freeSlots[this.#freeSlotCount++] = slot;
    return request;
  }

  #read(): void {
    const words = this.#words;
    this.#reading = true;
    try {
      // Only what is there now: a fast device must not keep the loop for itself.
      const tail = Atomics.load(words, this.#cqTailAt);
      while (this.#cqHead !== tail) {
        const at = this.#completionsAt + (this.#cqHead & this.#cqMask) * COMPLETION_WORDS;
        const slot = words[at]!;
        const result = words[at + 2]!;
        this.#cqHead = (this.#cqHead + 1) | 0;
        Atomics.store(words, this.#cqHeadAt, this.#cqHead);
        this.#take(slot).complete(result);
      }
    } finally {
      this.#reading = false;
      this.#drainBacklog();
      this.#enter();
      if (this.#cqHead !== Atomics.load(words, this.#cqTailAt)) setImmediate(() => this.#readOn());
    }
  }

  /** What the ring did not call for: entering nothing lets it see whether the loop is still needed. */
  #readOn(): void {
    this.#read();
    binding.ringEnter(this.#ring, 0);
  }

  #drainBacklog(): void {
    while (this.#backlogHead < this.#backlog.length) {
      if (!this.#hasRoom()) {
        if (this.#freeSlotCount === 0 || this.#retryScheduled) break;
        this.#enter();
        if (!this.#hasRoom()) break;
      }
      this.#fill(this.#backlog[this.#backlogHead++]!);
    }
    if (this.#backlogHead > 0 && this.#backlogHead * 2 >= this.#backlog.length) {
      this.#backlog = this.#backlog.slice(this.#backlogHead);
      this.#backlogHead = 0;
    }
    if (this.#pending > 0 && !this.#reading) this.#enter();
  }
}
