import type { Clock } from '../base/clock.ts';
import type { DeviceMapping } from '../device/device-mapping.ts';
import type { SharedMap } from '../pool/map-api.ts';
import type { MapCore } from './map-core.ts';
import { TEMPERATURES } from './temperature.ts';

/** Counts who in other threads has attached: kept by the process, so that no thread can die uncounted. */
export interface ThreadShares {
  openShare(): number;
  /** From now on nobody can attach. */
  markClosing(share: number): void;
  attachedCount(share: number): number;
  closeShare(share: number): void;
  /** Tells all threads that the share ends. */
  announceRecall(share: number): void;
}

const RECALL_POLL_MS = 2;

/** One row an object: see encodeObjects(). */
export const OBJECT_WORDS = 8;

/** What travels to other threads; everything big in it is shared memory. */
export interface MapToken extends SharedMap {
  readonly kind: 'mpool.map';
  readonly processId: number;
  readonly share: number;
  readonly temperature: number;
  readonly readAheadPages: number;
  readonly mappings: readonly { handle: number; path: string }[];
  readonly objects: Float64Array;
  readonly hits: readonly Uint32Array[];
}

/** A map as far as other threads have it. */
export interface MapLending {
  token(core: MapCore): SharedMap;
  /** Ends it; undefined when nobody has attached, else resolves when the last one let go. */
  recall(): Promise<void> | undefined;
}

export class MapSharing {
  readonly #shares: ThreadShares;
  readonly #clock: Clock;

  constructor(shares: ThreadShares, clock: Clock) {
    this.#shares = shares;
    this.#clock = clock;
  }

  /** Costs nothing until someone wants the token. */
  lending(): MapLending {
    return new Lending(this.#shares, this.#clock);
  }
}

class Lending implements MapLending {
  readonly #shares: ThreadShares;
  readonly #clock: Clock;
  #share: number | undefined;
  #token: MapToken | undefined;

  constructor(shares: ThreadShares, clock: Clock) {
    this.#shares = shares;
    this.#clock = clock;
  }

  token(core: MapCore): SharedMap {
    this.#share ??= this.#shares.openShare();
    this.#token ??= tokenOf(core, this.#share);
    return this.#token;
  }

  recall(): Promise<void> | undefined {
    const share = this.#share;
    if (share === undefined) return undefined;
    this.#share = undefined;
    this.#shares.markClosing(share);
    if (this.#shares.attachedCount(share) > 0) return this.#wait(share);
    this.#shares.closeShare(share);
    return undefined;
  }

  async #wait(share: number): Promise<void> {
    while (this.#shares.attachedCount(share) > 0) {
      // Again and again: a thread that is just attaching may not listen yet, and one that ends says nothing.
      this.#shares.announceRecall(share);
      await new Promise<void>((resume) => this.#clock.after(RECALL_POLL_MS, resume, true));
    }
    this.#shares.closeShare(share);
  }
}

function tokenOf(core: MapCore, share: number): MapToken {
  const mappings = [...new Set(core.objects.map((object) => object.mapping))];
  const hits = [...new Set(core.objects.map((object) => object.hits))];
  return {
    kind: 'mpool.map',
    processId: process.pid,
    share,
    temperature: TEMPERATURES.indexOf(core.temperature),
    readAheadPages: core.backing.readAheadPages,
    mappings: mappings.map(({ handle, path }) => ({ handle, path })),
    objects: encodeObjects(core, mappings, hits),
    hits,
  };
}

/** mapping, page address, length in bytes, id low, id high, digest, array of hits, position in it. */
function encodeObjects(
  core: MapCore,
  mappings: readonly DeviceMapping[],
  hits: readonly Uint32Array[],
): Float64Array {
  const { objects } = core;
  const words = new Float64Array(new SharedArrayBuffer(objects.length * OBJECT_WORDS * 8));
  const mappingAt = new Map(mappings.map((mapping, i) => [mapping, i]));
  const hitsAt = new Map(hits.map((each, i) => [each, i]));
  objects.forEach((object, i) => {
    const { pageAddress, lengthBytes, idLow, idHigh, digest, hitAt } = object;
    const mapping = mappingAt.get(object.mapping)!;
    const array = hitsAt.get(object.hits)!;
    words.set(
      [mapping, pageAddress, lengthBytes, idLow, idHigh, digest, array, hitAt],
      i * OBJECT_WORDS,
    );
  });
  return words;
}
