import { isMpoolError } from '../../base/errors.ts';

interface Waiting<Item, Result> {
  item: Item;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

export interface TogetherParts<Item, Result> {
  /** One request for all, which is refused as a whole or done as a whole. @returns a result for each */
  ask: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** Cuts what came in one turn into requests; by default it is one. */
  cut?: (items: readonly Item[]) => number;
}

/**
 * Gathers what many ask in one turn into one request, since a request costs more than what it is for. Where
 * it is refused, each is asked by itself: nobody is refused for another's sake.
 */
export class Together<Item, Result> {
  readonly #parts: TogetherParts<Item, Result>;
  #waiting: Waiting<Item, Result>[] = [];

  constructor(parts: TogetherParts<Item, Result>) {
    this.#parts = parts;
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) process.nextTick(() => this.#send());
      this.#waiting.push({ item, resolve, reject });
    });
  }

  #send(): void {
    let waiting = this.#waiting;
    this.#waiting = [];
    while (waiting.length > 0) {
      const count = this.#parts.cut?.(waiting.map(({ item }) => item)) ?? waiting.length;
      void this.#ask(waiting.slice(0, count));
      waiting = waiting.slice(count);
    }
  }

  async #ask(asked: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#parts.ask(asked.map(({ item }) => item));
      asked.forEach(({ resolve }, i) => resolve(results[i]!));
    } catch (error) {
      // Of a connection that ended nobody knows what was done.
      if (asked.length === 1 || isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST')) {
        for (const { reject } of asked) reject(error);
      } else {
        for (const each of asked) void this.#ask([each]);
      }
    }
  }
}
