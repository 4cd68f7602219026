import type { Clock, Timer } from '../base/clock.ts';
import { invalidArgument, type MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Device } from '../device/device.ts';
import { dataCapacityPages } from '../format/checksum-table.ts';
import type { DeviceDescriptor } from '../format/device-descriptor.ts';
import type { Extent } from '../format/extent.ts';
import type { MediaClass } from './api.ts';
import { FlushGate } from './flush-gate.ts';
import { SpaceMap } from './space-map.ts';

/** One media class of an active pool: its device, who owns which page of it, and its flushes. */
export class Media {
  readonly mediaClass: MediaClass;
  descriptor: DeviceDescriptor;
  readonly device: Device;
  readonly space: SpaceMap;
  readonly gate: FlushGate;
  readonly #discards: Discards | null;
  #frozen = false;

  constructor(
    descriptor: DeviceDescriptor,
    device: Device,
    sparePercent: number,
    discard: { clock: Clock } | null,
  ) {
    this.mediaClass = descriptor.mediaClass;
    this.descriptor = descriptor;
    this.device = device;
    this.gate = new FlushGate(device);
    this.space = new SpaceMap({
      zoneCount: descriptor.zoneCount,
      zonePages: descriptor.zonePages,
      sizePages: Math.floor(descriptor.sizeBytes / PAGE_BYTES),
      sparePercent,
    });
    this.#discards = discard === null ? null : new Discards(device, this.space, discard.clock);
  }

  get mblockPages(): number {
    return this.descriptor.zonePages;
  }
  /** What one mblock can hold. */
  get mblockCapacityBytes(): number {
    return dataCapacityPages(this.descriptor.zonePages) * PAGE_BYTES;
  }

  /** Gives space back that nothing uses any more, neither on media nor in memory. */
  free(extent: Extent): void {
    if (this.#frozen) return;
    this.space.free(extent);
    this.#discards?.add(extent);
  }

  /** Lets discards under way end and drops the rest: free space that they hold can be had again. */
  async yieldDiscards(): Promise<void> {
    await this.#discards?.yieldSpace();
  }

  /** From now on free() does nothing: what an extent holds may still be wanted by the next activation. */
  freeze(): void {
    this.#frozen = true;
  }

  /** Stops discarding in the background, and waits for what is under way. */
  async stop(): Promise<void> {
    await this.#discards?.stop();
  }
}

/** Long enough that space which is soon used again is not discarded in vain. */
const DISCARD_DELAY_MS = 1000;
/**
 * Discards free space some time after it came free, unless it is in use again by then.
 *
 * Invariant: while a range is being discarded it is marked as used, so nobody can be given it.
 */
class Discards {
  readonly #device: Device;
  readonly #space: SpaceMap;
  readonly #clock: Clock;
  /** Came free since the last run began, by page address. */
  #waiting = new Map<number, Extent>();
  /** What the run under way has still to do: one after the other, since discards hurt all else. */
  #queue: Extent[] = [];
  #timer: Timer | null = null;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(device: Device, space: SpaceMap, clock: Clock) {
    this.#device = device;
    this.#space = space;
    this.#clock = clock;
  }

  add(extent: Extent): void {
    if (this.#stopped) return;
    this.#waiting.set(extent.pageAddress, extent);
    this.#timer ??= this.#clock.after(DISCARD_DELAY_MS, () => {
      this.#timer = null;
      this.#running = this.#running.then(() => this.#run());
    });
  }

  /** What waits is not discarded, what is under way is over when it resolves: all free space can be had. */
  async yieldSpace(): Promise<void> {
    this.#waiting.clear();
    this.#queue = [];
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.yieldSpace();
  }

  async #run(): Promise<void> {
    this.#queue = [...this.#waiting.values()];
    this.#waiting.clear();
    for (let extent = this.#queue.pop(); extent !== undefined; extent = this.#queue.pop()) {
      await this.#discard(extent);
    }
  }

  async #discard(extent: Extent): Promise<void> {
    if (!this.#space.markUsed(extent)) return;
    await new Promise<MpoolError | null>((done) => {
      const offsetBytes = extent.pageAddress * PAGE_BYTES;
      // Advisory: a device that cannot discard is no worse than one that was never asked.
      this.#device.discard(offsetBytes, extent.pageCount * PAGE_BYTES, done);
    });
    this.#space.free(extent);
  }
}

/** @throws RangeError for anything but a media class */
export function checkMediaClass(mediaClass: MediaClass | undefined): MediaClass {
  if (mediaClass === undefined) return 'capacity';
  if (mediaClass === 'capacity' || mediaClass === 'staging') return mediaClass;
  throw invalidArgument(`media class '${String(mediaClass)}' is neither capacity nor staging`);
}
