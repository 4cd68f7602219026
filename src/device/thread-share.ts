/**
 * What one thread of the process owns and others use, known by a number that can be posted. Counts
 * survive threads that end without a word: what they had attached is detached, what they owned is gone.
 */
import { assert } from '../base/assert.ts';
import { MpoolError } from '../base/errors.ts';
import { binding } from '../native/binding.ts';

/**
 * A new share, this thread's own until closeShare().
 * @throws ERR_MPOOL_IO when the process has 4,096 of them
 */
export function openShare(): number {
  const share = binding.shareOpen();
  if (share >= 0) return share;
  throw new MpoolError('ERR_MPOOL_IO', 'too many shares', { errno: share });
}

/** @returns false when it is closing or gone: then nothing was attached */
export function attachShare(share: number): boolean {
  return binding.shareAttach(share) === 0;
}

/** Undoes one attachShare() of this thread; nothing when the share is gone. */
export function detachShare(share: number): void {
  binding.shareDetach(share);
}

/** Attachments in all threads that live; 0 when it is gone. */
export function attachedCount(share: number): number {
  return Math.max(binding.shareCount(share), 0);
}

/** From now on nobody can attach; whoever is attached can see that, and should detach. */
export function markClosing(share: number): void {
  assert(binding.shareClose(share, 0) === 0, 'a share is closed by its owner, once');
}

/** True when its owner wants it back, or is gone. */
export function isClosing(share: number): boolean {
  return binding.shareClosing(share) !== 0;
}

/** The number is stale from now on. */
export function closeShare(share: number): void {
  assert(binding.shareClose(share, 1) === 0, 'a share is closed by its owner, once');
}
