/**
 * Many shared holders or one exclusive one, in the order they asked: a waiting exclusive holder is not
 * starved by new shared ones.
 */
export class SharedLock {
  #shared = 0;
  #exclusive = false;
  #queue: { exclusive: boolean; enter: () => void }[] = [];

  /** @returns undefined when it was free: the common case costs no promise */
  enterShared(): Promise<void> | undefined {
    if (!this.#exclusive && this.#queue.length === 0) {
      this.#shared += 1;
      return undefined;
    }
    return new Promise((enter) => this.#queue.push({ exclusive: false, enter }));
  }

  leaveShared(): void {
    this.#shared -= 1;
    this.#admit();
  }

  async exclusive<T>(work: () => Promise<T>): Promise<T> {
    if (this.#exclusive || this.#shared > 0 || this.#queue.length > 0) {
      await new Promise<void>((enter) => this.#queue.push({ exclusive: true, enter }));
    } else {
      this.#exclusive = true;
    }
    try {
      return await work();
    } finally {
      this.#exclusive = false;
      this.#admit();
    }
  }

  #admit(): void {
    while (this.#queue.length > 0 && !this.#exclusive) {
      const next = this.#queue[0]!;
      if (next.exclusive && this.#shared > 0) return;
      this.#queue.shift();
      if (next.exclusive) this.#exclusive = true;
      else this.#shared += 1;
      next.enter();
    }
  }
}
