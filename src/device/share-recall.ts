import { BroadcastChannel } from 'node:worker_threads';

const CHANNEL = 'mpool.share-recall';

/** Tells all threads of the process that a share ends: who attached to it shall let go. */
export function announceRecall(share: number): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage(share);
  channel.close();
}

/**
 * Calls back for each share that another thread recalls, until the returned function is called. Does not
 * keep the thread alive.
 */
export function listenForRecalls(onRecall: (share: number) => void): () => void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener('message', (event) => {
    onRecall((event as unknown as { data: number }).data);
  });
  channel.unref();
  return () => channel.close();
}
