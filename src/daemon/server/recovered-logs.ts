import { formatUuid } from '../../base/bytes.ts';
import { type Prng, randomUuid } from '../../base/prng.ts';
import type { LogState, RecoveredLog } from '../protocol.ts';

/**
 * What logs held when they were first opened since the pool is active. All that was appended later was
 * appended through this daemon: a client that knew of more before, through another one, sees what was lost,
 * whatever others have appended since.
 */
export class RecoveredLogs {
  readonly #activation: string;
  /** By the id of the mlog, of an MDC's log A; no more of them than there are logs in the pool. */
  readonly #logs = new Map<bigint, RecoveredLog>();

  constructor(prng: Prng) {
    this.#activation = formatUuid(randomUuid(prng));
  }

  /** @param state of the log as it was just opened: nobody has appended to it, if he is the first */
  of(id: bigint, { generation, recordCount }: LogState): RecoveredLog {
    let log = this.#logs.get(id);
    if (log === undefined) {
      log = { activation: this.#activation, generation, recordCount };
      this.#logs.set(id, log);
    }
    return log;
  }

  /** Of a log as it is now, without remembering it. */
  without({ generation, recordCount }: LogState): RecoveredLog {
    return { activation: this.#activation, generation, recordCount };
  }

  /** They are deleted. */
  forget(ids: readonly bigint[]): void {
    for (const id of ids) this.#logs.delete(id);
  }
}
