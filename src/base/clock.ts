/** Time, handed in so that the store also runs in a simulator where no real time passes. */
export interface Clock {
  /** Milliseconds since 1970, for people. May jump. */
  wallMs(): number;
  /** Milliseconds, never going back. */
  monotonicMs(): number;
  /** Calls back once after at least `delayMs`; keeps the process alive only when told to. */
  after(delayMs: number, callback: () => void, keepAlive?: boolean): Timer;
}

export interface Timer {
  cancel(): void;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, callback, keepAlive = false) {
    const handle = setTimeout(callback, delayMs);
    if (!keepAlive) handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};
