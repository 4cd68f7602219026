interface Listing {
  owner: object;
  key: string;
  /** Handed out last. */
  lastId: bigint;
  items: AsyncIterator<unknown>;
}

/** Kept of one pool: each holds the ids of all its objects, 8 bytes an object. */
const LISTINGS_MAX = 32;

export interface PageRequest<Item> {
  /** Whose walk it is. */
  owner: object;
  /** What is listed. */
  key: string;
  begin: () => AsyncIterable<Item>;
  idOf: (item: Item) => bigint;
  after: bigint | undefined;
  count: number;
}

/**
 * Lists in pages: the pages of one list go on with one walk over the objects, which sorts the ids only once.
 * Whoever asks for another place, or too late, begins another walk.
 */
export class Listings {
  /** The one that was used last comes last. */
  readonly #kept: Listing[] = [];

  /** The next `count` items with ids above `after`; `done` when there are no more. */
  async page<Item>(request: PageRequest<Item>): Promise<{ items: Item[]; done: boolean }> {
    const { owner, key, begin, idOf, count } = request;
    const after = request.after ?? 0n;
    const walk = this.#take(owner, key, after) ?? begin()[Symbol.asyncIterator]();
    const items: Item[] = [];
    while (items.length < count) {
      const next = await walk.next();
      if (next.done === true) return { items, done: true };
      const item = next.value as Item;
      if (idOf(item) > after) items.push(item);
    }
    this.#keep({ owner, key, lastId: idOf(items.at(-1)!), items: walk });
    return { items, done: false };
  }

  forget(owner: object): void {
    const rest = this.#kept.filter((each) => each.owner !== owner);
    this.#kept.splice(0, Infinity, ...rest);
  }

  #take(owner: object, key: string, lastId: bigint): AsyncIterator<unknown> | undefined {
    const at = this.#kept.findIndex(
      (each) => each.owner === owner && each.key === key && each.lastId === lastId,
    );
    return at < 0 ? undefined : this.#kept.splice(at, 1)[0]!.items;
  }

  #keep(listing: Listing): void {
    this.#kept.push(listing);
    if (this.#kept.length > LISTINGS_MAX) this.#kept.shift();
  }
}
