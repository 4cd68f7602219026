/** The daemons that a user's pools may be active in, as verbs know them. */
import { isMpoolError, MpoolError } from '../base/errors.ts';
import type { Daemon } from '../client.ts';

export interface Daemons {
  /** All that listen where this user looks, his own before the system's. */
  running(): Promise<readonly Daemon[]>;
  /**
   * The first one that this user may manage; his own is started when there is none.
   * @throws ERR_MPOOL_NOT_FOUND when he has no directory for one
   */
  managed(): Promise<Daemon>;
  /** Forgets them, so that they keep nothing of this process. */
  close(): Promise<void>;
}

/** @throws ERR_MPOOL_NOT_FOUND when none runs */
export async function needRunning(daemons: Daemons): Promise<readonly Daemon[]> {
  const running = await daemons.running();
  if (running.length > 0) return running;
  throw new MpoolError('ERR_MPOOL_NOT_FOUND', 'no mpoold runs here');
}

/** Those of the daemons that this user may manage. */
export async function manageable(daemons: readonly Daemon[]): Promise<Daemon[]> {
  const may = await Promise.all(
    daemons.map((daemon) =>
      daemon.status().then(
        ({ mayManage }) => mayManage,
        (error: unknown) => {
          if (!isMpoolError(error, 'ERR_MPOOL_ACCESS')) throw error;
          return false;
        },
      ),
    ),
  );
  return daemons.filter((_, i) => may[i]);
}
