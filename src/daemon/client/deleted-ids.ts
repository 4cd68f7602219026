import { MpoolError } from '../../base/errors.ts';
import { printObjectId } from '../../format/object-id.ts';

/** At least so many are remembered, and at most twice as many. */
const REMEMBERED_COUNT = 65_536;

/** Mblocks that this client lately learned to be deleted: their handles say so without asking. */
export class DeletedIds {
  #young = new Set<bigint>();
  #old = new Set<bigint>();

  add(id: bigint): void {
    this.#young.add(id);
    if (this.#young.size < REMEMBERED_COUNT) return;
    // Taking out the oldest one by one would be slow: a Set steps over what was deleted from it.
    this.#old = this.#young;
    this.#young = new Set();
  }

  has(id: bigint): boolean {
    return this.#young.has(id) || this.#old.has(id);
  }
}

export function deletedError(id: bigint): MpoolError {
  return new MpoolError('ERR_MPOOL_NOT_FOUND', `mblock ${printObjectId(id)} (deleted)`);
}
