import { MpoolError } from '../../base/errors.ts';
import { printObjectId } from '../../format/object-id.ts';

const REMEMBERED_MAX = 65_536;

/** Mblocks that this client lately learned to be deleted: their handles say so without asking. */
export class DeletedIds {
  readonly #ids = new Set<bigint>();

  add(id: bigint): void {
    this.#ids.add(id);
    if (this.#ids.size <= REMEMBERED_MAX) return;
    for (const oldest of this.#ids) {
      this.#ids.delete(oldest);
      return;
    }
  }

  has(id: bigint): boolean {
    return this.#ids.has(id);
  }
}

export function deletedError(id: bigint): MpoolError {
  return new MpoolError('ERR_MPOOL_NOT_FOUND', `mblock ${printObjectId(id)} (deleted)`);
}
