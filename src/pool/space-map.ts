/**
 * Who owns which pages of one device. Not stored: rebuilt from the objects at activation.
 *
 * Invariants:
 * 1. A zone is free (its bit is set), partial (some pages are free: it is in `#runs`) or full (neither).
 * 2. used + free + reserved = sizePages. Reserved are the first 32 and last 16 pages, and what is no
 *    whole zone. Zones with a reserved page are never free, only partial or full.
 * 3. Spare is counted in whole zones. 0 ≤ freeSpareZones ≤ min(spare target, free zones); the other
 *    free zones are usable. A zone that is opened for a small log is charged as a whole, to spare or
 *    to usable; what remains free in it may be taken by anyone, and counts as free usable pages as
 *    far as that does not exceed the usable pages, else as free spare ones. The zone is given back,
 *    spare first, when all of it is free again.
 * 4. An extent is a run of whole zones, or lies within one zone.
 */
import { assert } from '../base/assert.ts';
import { isPowerOfTwo } from '../base/units.ts';
import type { Extent } from '../format/extent.ts';
import { FreeRuns } from './free-runs.ts';
import { ZoneBitmap } from './zone-bitmap.ts';

/** Superblock copies 0 and 1; copies 2 and 3. */
const HEAD_PAGES = 32;
const TAIL_PAGES = 16;

export interface SpaceMapOptions {
  zoneCount: number;
  /** A power of two, at least 256. */
  zonePages: number;
  sizePages: number;
  /** 0–100. */
  sparePercent: number;
}

export interface AllocOptions {
  /** Take from the spare part first, then from the usable one. */
  spare: boolean;
}

/** total = usable + spare; used + freeUsable + freeSpare + reserved = sizePages. */
export interface SpaceUsage {
  totalPages: number;
  usablePages: number;
  freeUsablePages: number;
  sparePages: number;
  freeSparePages: number;
  usedPages: number;
  reservedPages: number;
}

export class SpaceMap {
  readonly #zonePages: number;
  readonly #free: ZoneBitmap;
  readonly #runs: FreeRuns;
  #sizePages: number;
  #sparePercent: number;
  #freeSpareZones = 0;
  /** Next fit: spreads wear, and leaves what was just freed alone for a while. */
  #cursor = 0;

  constructor(options: SpaceMapOptions) {
    const { zoneCount, zonePages, sizePages, sparePercent } = options;
    assert(isPowerOfTwo(zonePages) && zonePages >= 256, 'zones are 2^n pages, at least 256');
    assert(zoneCount >= 1 && zoneCount * zonePages <= sizePages, 'the zones fit the device');
    this.#zonePages = zonePages;
    this.#sizePages = sizePages;
    this.#sparePercent = checkedPercent(sparePercent);
    this.#free = new ZoneBitmap(zoneCount);
    this.#runs = new FreeRuns(zonePages);
    for (let zone = 0; zone < zoneCount; zone++) this.#admit(zone);
  }

  get zonePages(): number {
    return this.#zonePages;
  }

  get zoneCount(): number {
    return this.#free.length;
  }

  get sizePages(): number {
    return this.#sizePages;
  }

  /** One whole zone. @returns its page address, or -1 when there is none to be had */
  allocZone(options: AllocOptions): number {
    if (this.#zonesFor(options.spare) === 0) return -1;
    let zone = this.#free.nextSet(this.#cursor);
    if (zone < 0) zone = this.#free.nextSet(0);
    this.#cursor = zone + 1;
    this.#takeZone(zone, options.spare);
    return zone * this.#zonePages;
  }

  /**
   * Below a zone: just as many pages within one, in the tightest gap there is, else in a fresh zone. At
   * least a zone: a run of whole zones, rounded up.
   */
  allocPages(pageCount: number, options: AllocOptions): Extent | undefined {
    assert(Number.isSafeInteger(pageCount) && pageCount > 0, 'a page count is positive');
    if (pageCount >= this.#zonePages) return this.#allocRun(pageCount, options.spare);
    let pageAddress = this.#runs.bestFit(pageCount);
    if (pageAddress < 0) {
      pageAddress = this.allocZone(options);
      if (pageAddress < 0) return undefined;
      this.#runs.put(pageAddress, this.#zonePages);
    }
    assert(this.#runs.take(pageAddress, pageCount), 'the run that fits is free');
    return { pageAddress, pageCount };
  }

  /**
   * Takes an extent that an object on media owns; it counts as usable space while there is any.
   * @returns false, and nothing changes, when a page of it is taken, reserved or outside, or when it is
   *   neither whole zones nor within one
   */
  markUsed(extent: Extent): boolean {
    const { pageAddress, pageCount } = extent;
    if (!this.#isWellFormed(extent)) return false;
    const first = Math.floor(pageAddress / this.#zonePages);
    if (pageCount >= this.#zonePages) {
      const end = first + pageCount / this.#zonePages;
      for (let zone = first; zone < end; zone++) if (!this.#free.has(zone)) return false;
      for (let zone = first; zone < end; zone++) this.#takeZone(zone, false);
      return true;
    }
    if (this.#free.has(first)) {
      this.#takeZone(first, false);
      this.#runs.put(first * this.#zonePages, this.#zonePages);
    }
    return this.#runs.take(pageAddress, pageCount);
  }

  /** Gives an extent back. It must have been owned, all of it. */
  free(extent: Extent): void {
    assert(this.#isWellFormed(extent), 'an extent is whole zones, or lies within one');
    const { pageAddress, pageCount } = extent;
    const first = Math.floor(pageAddress / this.#zonePages);
    const end = Math.ceil((pageAddress + pageCount) / this.#zonePages);
    for (let zone = first; zone < end; zone++) {
      assert(!this.#free.has(zone), 'the zone was owned');
    }
    assert(!this.#touchesReserved(pageAddress, pageCount), 'reserved pages are never owned');
    if (pageCount < this.#zonePages) return this.#release(pageAddress, pageCount);
    for (let zone = first; zone < end; zone++) {
      assert(!this.#runs.has(zone), 'the whole zone was owned');
      this.#giveZone(zone);
    }
  }

  usage(): SpaceUsage {
    const totalPages = this.#totalPages();
    const sparePages = this.#spareTarget() * this.#zonePages;
    const usablePages = totalPages - sparePages;
    const freePages = this.#free.count * this.#zonePages + this.#runs.pageCount;
    const notSpare = freePages - this.#freeSpareZones * this.#zonePages;
    const freeUsablePages = Math.min(usablePages, notSpare);
    return {
      totalPages,
      usablePages,
      freeUsablePages,
      sparePages,
      freeSparePages: freePages - freeUsablePages,
      usedPages: totalPages - freePages,
      reservedPages: this.#sizePages - totalPages,
    };
  }

  /**
   * Takes in what the device grew by. The reserved tail moves to the new end: the old one becomes
   * free. The new one is never in use, for it begins where the old one did, or later.
   * @returns false, and nothing changes, when the device would shrink
   */
  grow(zoneCount: number, sizePages: number): boolean {
    if (sizePages < this.#sizePages || zoneCount < this.zoneCount) return false;
    assert(zoneCount * this.#zonePages <= sizePages, 'the zones fit the device');
    const oldZones = this.zoneCount;
    const oldTail = this.#sizePages - TAIL_PAGES;
    this.#sizePages = sizePages;
    this.#free.grow(zoneCount);
    const tailEnd = Math.min(oldZones * this.#zonePages, sizePages - TAIL_PAGES);
    if (oldTail < tailEnd) this.#release(oldTail, tailEnd - oldTail);
    for (let zone = oldZones; zone < zoneCount; zone++) this.#admit(zone);
    return true;
  }

  /** Shares out anew, as if the pool were activated now: what is in use counts as usable first. */
  setSparePercent(sparePercent: number): void {
    this.#sparePercent = checkedPercent(sparePercent);
    this.#freeSpareZones = Math.min(this.#spareTarget(), this.#free.count);
  }

  #allocRun(pageCount: number, spare: boolean): Extent | undefined {
    const zones = Math.ceil(pageCount / this.#zonePages);
    if (this.#zonesFor(spare) < zones) return undefined;
    const first = this.#free.findRun(zones);
    if (first < 0) return undefined;
    for (let zone = first; zone < first + zones; zone++) this.#takeZone(zone, spare);
    return { pageAddress: first * this.#zonePages, pageCount: zones * this.#zonePages };
  }

  /** How many free zones an allocation may choose from. */
  #zonesFor(spare: boolean): number {
    return this.#free.count - (spare ? 0 : this.#freeSpareZones);
  }

  #takeZone(zone: number, spare: boolean): void {
    const usable = this.#free.count - this.#freeSpareZones;
    this.#free.clear(zone);
    if (this.#freeSpareZones > 0 && (spare || usable === 0)) this.#freeSpareZones--;
  }

  #giveZone(zone: number): void {
    this.#free.set(zone);
    if (this.#freeSpareZones < this.#spareTarget()) this.#freeSpareZones++;
  }

  /** Frees pages within one zone. */
  #release(pageAddress: number, pageCount: number): void {
    if (!this.#runs.put(pageAddress, pageCount)) return;
    const zone = Math.floor(pageAddress / this.#zonePages);
    assert(this.#runs.take(zone * this.#zonePages, this.#zonePages), 'the whole zone is one run');
    this.#giveZone(zone);
  }

  /** Makes the pages of a zone free that was not there before, but for the reserved ones. */
  #admit(zone: number): void {
    const zoneStart = zone * this.#zonePages;
    const start = Math.max(zoneStart, HEAD_PAGES);
    const end = Math.min(zoneStart + this.#zonePages, this.#sizePages - TAIL_PAGES);
    if (end - start === this.#zonePages) this.#giveZone(zone);
    else if (start < end) this.#runs.put(start, end - start);
  }

  #totalPages(): number {
    const inZones = this.zoneCount * this.#zonePages;
    return Math.min(inZones, this.#sizePages - TAIL_PAGES) - HEAD_PAGES;
  }

  /** In zones, of those without a reserved page; rounded in favour of spare. */
  #spareTarget(): number {
    const tailInZones = this.zoneCount * this.#zonePages > this.#sizePages - TAIL_PAGES;
    const zones = Math.max(0, this.zoneCount - 1 - (tailInZones ? 1 : 0));
    return zones - Math.floor((zones * (100 - this.#sparePercent)) / 100);
  }

  #isWellFormed({ pageAddress, pageCount }: Extent): boolean {
    if (!Number.isSafeInteger(pageAddress) || !Number.isSafeInteger(pageCount)) return false;
    const end = pageAddress + pageCount;
    if (pageAddress < 0 || pageCount < 1 || end > this.zoneCount * this.#zonePages) return false;
    const within = pageAddress % this.#zonePages;
    if (pageCount >= this.#zonePages) return within === 0 && pageCount % this.#zonePages === 0;
    return within + pageCount <= this.#zonePages;
  }

  #touchesReserved(pageAddress: number, pageCount: number): boolean {
    return pageAddress < HEAD_PAGES || pageAddress + pageCount > this.#sizePages - TAIL_PAGES;
  }
}

function checkedPercent(percent: number): number {
  assert(percent >= 0 && percent <= 100, 'a spare percentage is 0–100');
  return percent;
}
