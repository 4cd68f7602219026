import type { MpoolError } from '../base/errors.ts';
import type { Temperature } from '../pool/map-api.ts';
import type { MapLending, MapSharing } from './map-sharing.ts';
import type { MappedObject } from './mapped-object.ts';
import type { PageReader } from './page-reader.ts';

/** What a map stands on: the store's own maps, or in another thread what was attached there. */
export interface MapBacking {
  readonly reader: PageReader;
  /** Pages that read-ahead reads at once. */
  readonly readAheadPages: number;
  /** Views of it are out: it may be used without being counted. */
  shown(object: MappedObject): void;
  /** Pages of it may have come. */
  stale(object: MappedObject): void;
  /** How many of the pages wanted may be read ahead, memory being as it is. */
  allowedPages(wanted: number, temperature: Temperature): number;
  /** @throws ERR_MPOOL_INVALID_ARG where it cannot be changed */
  setTemperature(core: MapCore, temperature: Temperature): void;
  /** The objects are not of this map any more. Called once, with nothing in flight. */
  release(core: MapCore): void;
}

export interface MapCoreParts {
  objects: readonly MappedObject[];
  temperature: Temperature;
  backing: MapBacking;
  holder?: object | undefined;
  sharing?: MapSharing | undefined;
}

/**
 * The part of a map that outlives its handle: what must be given back. It does not know the handle or its
 * views, so that a handle nobody has any more can be collected.
 */
export class MapCore {
  readonly objects: readonly MappedObject[];
  readonly backing: MapBacking;
  /** Whose closing ends the map. */
  readonly holder: object | undefined;
  temperature: Temperature;
  /** Why it ended, when not by unmap(). */
  why: MpoolError | undefined;
  /** Once there are views, which have to be ended first. */
  viewer: WeakRef<{ unmap(): Promise<void> }> | undefined;
  readonly #sharing: MapSharing | undefined;
  #lending: MapLending | undefined;
  #inFlight = 0;
  #whenIdle: (() => void)[] = [];
  #ending: Promise<void> | null = null;

  constructor(parts: MapCoreParts) {
    this.objects = parts.objects;
    this.temperature = parts.temperature;
    this.backing = parts.backing;
    this.holder = parts.holder;
    this.#sharing = parts.sharing;
  }

  get ended(): boolean {
    return this.#ending !== null;
  }

  /** Undefined where there are no other threads. */
  get lending(): MapLending | undefined {
    return (this.#lending ??= this.#sharing?.lending());
  }

  /** Ends the views, if there are any, and gives everything back. */
  unmap(): Promise<void> {
    return this.viewer?.deref()?.unmap() ?? this.release();
  }

  enter(): void {
    this.#inFlight += 1;
  }

  leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) for (const resume of this.#whenIdle.splice(0)) resume();
  }

  /** Gives the objects back, once no other thread and no read has them; at once when none has. */
  release(): Promise<void> {
    if (this.#ending !== null) return this.#ending;
    const recall = this.#lending?.recall();
    if (recall !== undefined || this.#inFlight > 0) {
      return (this.#ending = this.#releaseLater(recall));
    }
    this.#ending = DONE;
    this.backing.release(this);
    return DONE;
  }

  async #releaseLater(recall: Promise<void> | undefined): Promise<void> {
    await recall;
    while (this.#inFlight > 0) await new Promise<void>((resume) => this.#whenIdle.push(resume));
    this.backing.release(this);
  }
}

const DONE = Promise.resolve();
