/** Waiting that ends by time, by a signal, or because what is waited for is there. */
import type { Clock } from '../../base/clock.ts';

/** @throws the signal's reason, at once when it is aborted */
export function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const onAbort = (): void => {
      timer.cancel();
      reject(signal.reason as Error);
    };
    const timer = clock.after(
      delayMs,
      () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      },
      true,
    );
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** @throws the signal's reason, or what is awaited fails with, whichever comes first */
export function orAborted<T>(signal: AbortSignal, awaited: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const end = (): void => signal.removeEventListener('abort', onAbort);
    awaited.then(resolve, reject).finally(end);
  });
}

/** Resolves with what is waited for, or when it takes longer than that. @throws as pause() */
export async function atMost(
  clock: Clock,
  delayMs: number,
  signal: AbortSignal,
  awaited: Promise<unknown>,
): Promise<void> {
  const enough = new AbortController();
  const timeout = pause(clock, delayMs, AbortSignal.any([signal, enough.signal]));
  try {
    await Promise.race([awaited, timeout]);
  } finally {
    timeout.catch(() => undefined);
    enough.abort();
  }
}
