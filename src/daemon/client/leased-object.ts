import { isMpoolError } from '../../base/errors.ts';
import { halvesOfId, type MblockId } from '../../format/object-id.ts';
import type { Attachment } from './attachment.ts';
import type { Session } from './session.ts';

/**
 * A committed mblock as this process reads it by itself: where it is leased, on whichever connection there
 * is.
 *
 * Invariant: a row is used only with the attachment that it is of, and only while it is still this object's.
 */
export class LeasedObject {
  readonly #session: Session;
  readonly #id: MblockId;
  readonly #low: number;
  readonly #high: number;
  #attachment: Attachment | null = null;
  #index = -1;

  constructor(session: Session, id: MblockId) {
    const { low, high } = halvesOfId(id);
    this.#session = session;
    this.#id = id;
    this.#low = low;
    this.#high = high;
  }

  /** It is leased there, in that row; -1 when it is not any more. */
  place(attachment: Attachment, index: number): void {
    this.#attachment = attachment;
    this.#index = index;
  }

  /** Whether it can be read without asking. */
  get isLeased(): boolean {
    const attachment = this.#attachment;
    return (
      attachment !== null &&
      attachment === this.#session.attachment &&
      attachment.leases.isLive(this.#index, this.#high, this.#low)
    );
  }

  /** What was written, of a leased one; else undefined. */
  get lengthBytes(): number | undefined {
    return this.isLeased ? this.#attachment!.leases.table.lengthBytes(this.#index) : undefined;
  }

  /** Verified bytes; the range lies within the object. @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_CHECKSUM … */
  read(offsetBytes: number, into: Uint8Array): Promise<void> {
    if (!this.isLeased) return this.#session.during(this.#leaseAndRead(offsetBytes, into));
    const attachment = this.#attachment!;
    const { leases, opening } = attachment;
    if (opening !== undefined) return this.#session.during(this.#leaseAndRead(offsetBytes, into));
    leases.table.touch(this.#index);
    return leases.reader.readInto(this.#index, offsetBytes, into).catch((error: unknown) => {
      // Nobody keeps the space of an object for a connection that is gone: what was read may be another's.
      if (attachment.channel.open) throw error;
      return this.#leaseAndRead(offsetBytes, into);
    });
  }

  /**
   * Asks for it on the connection there is, or the next.
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_UNCOMMITTED
   */
  async lease(): Promise<void> {
    for (;;) {
      const attachment = await this.#session.attached();
      const { leases } = attachment;
      const index = leases.find(this.#id);
      if (index >= 0) return this.place(attachment, index);
      try {
        await leases.lease(this.#id);
      } catch (error) {
        const isLost = isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST');
        if (!isLost || attachment.channel.open) throw error;
      }
    }
  }

  async #leaseAndRead(offsetBytes: number, into: Uint8Array): Promise<void> {
    for (;;) {
      await this.lease();
      const attachment = this.#attachment!;
      await attachment.opening;
      // Another turn may have taken the row since.
      if (!attachment.leases.isLive(this.#index, this.#high, this.#low)) continue;
      try {
        return await attachment.leases.reader.readInto(this.#index, offsetBytes, into);
      } catch (error) {
        if (attachment.channel.open) throw error;
      }
    }
  }
}
