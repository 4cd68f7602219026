import type { Incoming } from './incoming.ts';

interface Waiter {
  request: Incoming;
  bytes: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Memory for answers not made yet: first come, first served, up to a limit, or one alone beyond it. */
export class AnswerRoom {
  limitBytes: number;
  readonly #waiters: Waiter[] = [];
  #reservedBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Resolves when `request` may make an answer of so many bytes; settle() gives them back. */
  reserve(request: Incoming, bytes: number, backlogBytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ request, bytes, resolve, reject });
      this.grant(backlogBytes);
    });
  }

  /** The answer is made: from here on it counts as backlog. */
  settle(request: Incoming): void {
    this.#reservedBytes -= request.reservedBytes;
  }

  /** @param backlogBytes of answers that the peer did not take yet */
  grant(backlogBytes: number): void {
    while (this.#waiters.length > 0) {
      const { request, bytes, resolve } = this.#waiters[0]!;
      const held = backlogBytes + this.#reservedBytes;
      if (held > 0 && held + bytes > this.limitBytes) return;
      this.#waiters.shift();
      request.reservedBytes += bytes;
      this.#reservedBytes += bytes;
      resolve();
    }
  }

  fail(error: Error): void {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }
}
