import { BroadcastChannel } from 'node:worker_threads';

const CHANNEL = 'mpool.share-recall';

/** Tells all threads of the process that a share ends: who attached to it shall let go. */
export function announceRecall(share: number): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage(share);
  channel.close();
}

/** How soon a share is looked at whose owner ended without a word. */
const LOOK_MS = 200;

/**
 * Calls back for each share that another thread recalls; and now and then without one, so that the caller
 * looks for those whose owner has ended. Until the returned function is called. Does not keep the thread
 * alive.
 */
export function listenForRecalls(onRecall: (share?: number) => void): () => void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener('message', (event) => {
    onRecall((event as unknown as { data: number }).data);
  });
  channel.unref();
  const timer = setInterval(onRecall, LOOK_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    channel.close();
  };
}
