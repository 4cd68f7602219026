import { invalidArgument } from '../../base/errors.ts';
import type { Incoming } from '../server-channel.ts';
import type { SharedMemory, SlotRange } from '../shared-slots.ts';
import type { Session } from './session.ts';
import type { Check } from './shape.ts';

/** Checked where they are looked at, against what the session has. */
export const inSlots: Check<readonly unknown[]> = (value, name) => {
  if (Array.isArray(value)) return value;
  throw invalidArgument(`${name} must be an array`, 'type');
};

/**
 * The memory shared with one client, lent to requests. What one of them has is no other's until it
 * is answered:
 * so the bytes under way for a client are bounded by what it shares.
 */
export class LentSlots {
  readonly memory: SharedMemory;
  readonly #lent = new Set<number>();

  constructor(memory: SharedMemory) {
    this.memory = memory;
  }

  /** @throws ERR_MPOOL_PROTOCOL for anything but ranges within slots; RangeError for one that is lent */
  lend(slots: readonly unknown[]): { pieces: Uint8Array[]; takeBack: () => void } {
    const pieces = this.memory.views(slots);
    const numbers = new Set((slots as readonly SlotRange[]).map(({ slot }) => slot));
    for (const slot of numbers) {
      if (this.#lent.has(slot)) throw invalidArgument(`slot ${slot} is another request's`);
    }
    if (numbers.size < slots.length) throw invalidArgument('a slot is named twice');
    for (const slot of numbers) this.#lent.add(slot);
    const takeBack = (): void => {
      for (const slot of numbers) this.#lent.delete(slot);
    };
    return { pieces, takeBack };
  }
}

/**
 * Does something with the bytes that a request is about, in pieces: in slots, where the client may
 * change them
 * at any time; else those that came with the request.
 * @throws what `work` does; as LentSlots.lend(); RangeError for both at once
 */
export async function withBytes<T>(
  session: Session,
  slots: readonly unknown[] | undefined,
  request: Incoming,
  work: (pieces: Uint8Array[]) => Promise<T>,
): Promise<T> {
  if (slots === undefined) return work([request.payload]);
  if (request.payload.length > 0) throw invalidArgument('bytes are in slots or in the payload');
  const { pieces, takeBack } = session.slots().lend(slots);
  try {
    return await work(pieces);
  } finally {
    takeBack();
  }
}
