import { RemoteLog } from './remote-log.ts';
import type { RemoteLogParts } from './remote-log.ts';
import type { Session } from './session.ts';

/** Logs of one kind that this client has open, and those being opened, by id: each is open once. */
export class OpenLogs<Open extends { readonly log: RemoteLog }> {
  readonly #session: Session;
  readonly #open = new Map<bigint, Promise<Open>>();

  constructor(session: Session) {
    this.#session = session;
  }

  has(id: bigint): boolean {
    return this.#open.has(id);
  }

  /** Once it is open; undefined when it is not. */
  async get(id: bigint): Promise<Open | undefined> {
    return this.#open.get(id)?.catch(() => undefined);
  }

  /** @param make of a log that this client did not have open */
  async open(
    id: bigint,
    parts: Omit<RemoteLogParts, 'forget'>,
    make: (log: RemoteLog) => Open,
  ): Promise<Open> {
    for (;;) {
      let opening = this.#open.get(id);
      if (opening === undefined) {
        const forget = (): void => void this.#open.delete(id);
        opening = RemoteLog.open(this.#session, { ...parts, forget }).then(make);
        this.#open.set(id, opening);
        opening.catch(forget);
      }
      const open = await opening;
      if (!open.log.closing) return open;
      await open.log.release().catch(() => {});
    }
  }
}
