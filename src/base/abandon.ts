import { invalidArgument, MpoolError } from './errors.ts';

/** Of calls that wait for a device or a daemon, and change nothing. */
export interface WaitOptions {
  /**
   * Ends the waiting, at once: the call rejects with ERR_MPOOL_ABORTED, its `cause` the signal's reason. What
   * was asked of the device stays asked: its memory and space are held until it answers, and closing the
   * pool waits for that.
   */
  signal?: AbortSignal | undefined;
}

/**
 * What `work` gives, or ERR_MPOOL_ABORTED as soon as the signal says so; then the work goes on, and nobody
 * learns how it ends. Costs nothing without a signal.
 * @param late gets what came too late: to let go of it
 */
export function abandonable<T>(
  what: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
  late?: (value: T) => void,
): Promise<T> {
  if (signal === undefined) return work();
  if (!(signal instanceof AbortSignal)) {
    return Promise.reject(invalidArgument('signal must be an AbortSignal', 'type'));
  }
  if (signal.aborted) return Promise.reject(abandoned(what, signal));
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(abandoned(what, signal));
    signal.addEventListener('abort', abort, { once: true });
    work().then(
      (value) => {
        signal.removeEventListener('abort', abort);
        if (signal.aborted) late?.(value);
        else resolve(value);
      },
      (error: unknown) => {
        signal.removeEventListener('abort', abort);
        reject(error);
      },
    );
  });
}

/** The same for each item; what the source still does when it is abandoned, it ends by itself. */
export async function* abandonableItems<T>(
  what: string,
  signal: AbortSignal | undefined,
  items: AsyncIterable<T>,
): AsyncGenerator<T> {
  if (signal === undefined) {
    yield* items;
    return;
  }
  const iterator = items[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { value, done } = await abandonable(what, signal, () => iterator.next());
      if (done === true) return;
      yield value;
    }
  } finally {
    const ending = Promise.resolve(iterator.return?.()).catch(() => {});
    if (!signal.aborted) await ending;
  }
}

function abandoned(what: string, signal: AbortSignal): MpoolError {
  return new MpoolError('ERR_MPOOL_ABORTED', what, { cause: signal.reason });
}
