import { assert } from '../base/assert.ts';

/**
 * Free pages of partial zones: zones that are neither wholly free nor wholly taken.
 *
 * Invariants:
 * 1. A zone's runs are sorted, apart from each other by at least a page, and inside the zone.
 * 2. A zone without a free page is not in the map.
 * 3. Every run is in the set of its length; bit n of `#lengths` is set just when set n has a run.
 * 4. `pageCount` is the sum of all runs.
 */
export class FreeRuns {
  readonly #zonePages: number;
  /** Zone → page address, page count, page address, page count … */
  readonly #zones = new Map<number, number[]>();
  /** Run length → page addresses of the runs that are as long. */
  readonly #byLength = new Map<number, Set<number>>();
  readonly #lengths: Uint32Array;
  #pageCount = 0;

  constructor(zonePages: number) {
    this.#zonePages = zonePages;
    this.#lengths = new Uint32Array((zonePages >>> 5) + 1);
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  has(zone: number): boolean {
    return this.#zones.has(zone);
  }

  /** Page address of the shortest run of at least `pageCount` pages, or -1. */
  bestFit(pageCount: number): number {
    let word = pageCount >>> 5;
    let bits = (this.#lengths[word] ?? 0) & (-1 << (pageCount & 31));
    while (bits === 0) {
      if (++word >= this.#lengths.length) return -1;
      bits = this.#lengths[word]!;
    }
    const length = word * 32 + 31 - Math.clz32(bits & -bits);
    const [address] = this.#byLength.get(length)!;
    return address!;
  }

  /** Makes a range free, joining its neighbours. @returns true when now the whole zone is free */
  put(pageAddress: number, pageCount: number): boolean {
    const zone = Math.floor(pageAddress / this.#zonePages);
    let runs = this.#zones.get(zone);
    if (runs === undefined) this.#zones.set(zone, (runs = []));
    const at = positionAfter(runs, pageAddress);
    const end = pageAddress + pageCount;
    const previousEnd = at >= 2 ? runs[at - 2]! + runs[at - 1]! : -1;
    const nextStart = runs[at] ?? Infinity;
    assert(previousEnd <= pageAddress && end <= nextStart, 'the pages were owned');
    const before = previousEnd === pageAddress;
    const after = nextStart === end;
    const from = before ? at - 2 : at;
    const to = after ? at + 2 : at;
    const start = before ? runs[from]! : pageAddress;
    const stop = after ? runs[at]! + runs[at + 1]! : end;
    for (let i = from; i < to; i += 2) this.#forget(runs[i]!, runs[i + 1]!);
    runs.splice(from, to - from, start, stop - start);
    this.#remember(start, stop - start);
    return stop - start === this.#zonePages;
  }

  /** Takes a range out. @returns false, and nothing changes, when a page of it is not free */
  take(pageAddress: number, pageCount: number): boolean {
    const zone = Math.floor(pageAddress / this.#zonePages);
    const runs = this.#zones.get(zone);
    if (runs === undefined) return false;
    const at = positionAfter(runs, pageAddress) - 2;
    if (at < 0) return false;
    const start = runs[at]!;
    const length = runs[at + 1]!;
    const end = pageAddress + pageCount;
    if (end > start + length) return false;
    const rest: number[] = [];
    if (pageAddress > start) rest.push(start, pageAddress - start);
    if (end < start + length) rest.push(end, start + length - end);
    this.#forget(start, length);
    runs.splice(at, 2, ...rest);
    for (let i = 0; i < rest.length; i += 2) this.#remember(rest[i]!, rest[i + 1]!);
    if (runs.length === 0) this.#zones.delete(zone);
    return true;
  }

  #remember(pageAddress: number, pageCount: number): void {
    let addresses = this.#byLength.get(pageCount);
    if (addresses === undefined) this.#byLength.set(pageCount, (addresses = new Set()));
    addresses.add(pageAddress);
    this.#lengths[pageCount >>> 5]! |= 1 << (pageCount & 31);
    this.#pageCount += pageCount;
  }

  #forget(pageAddress: number, pageCount: number): void {
    const addresses = this.#byLength.get(pageCount);
    assert(addresses !== undefined, 'every run is known by its length');
    assert(addresses.delete(pageAddress), 'every run is known by its length');
    if (addresses.size === 0) {
      this.#byLength.delete(pageCount);
      this.#lengths[pageCount >>> 5]! &= ~(1 << (pageCount & 31));
    }
    this.#pageCount -= pageCount;
  }
}

/** Where in `runs` the first run is that begins after `pageAddress`. */
function positionAfter(runs: readonly number[], pageAddress: number): number {
  let low = 0;
  let high = runs.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (runs[middle * 2]! <= pageAddress) low = middle + 1;
    else high = middle;
  }
  return low * 2;
}
