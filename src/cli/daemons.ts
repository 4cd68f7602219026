/** The daemons that a user's pools may be active in, as verbs know them. */
import { isMpoolError, MpoolError } from '../base/errors.ts';
import type { Daemon } from '../client.ts';
import type { Context } from './command.ts';

export interface Daemons {
  /** All that listen where this user looks, his own before the system's. */
  running(): Promise<readonly Daemon[]>;
  /**
   * The first one that this user may manage; his own is started when there is none.
   * @throws ERR_MPOOL_NOT_FOUND when he has no directory for one
   */
  managed(): Promise<Daemon>;
  /** @throws what managed() would, as far as it can be known without starting one */
  checkManaged(): Promise<void>;
  /** Forgets them, so that they keep nothing of this process. */
  close(): Promise<void>;
}

/** @throws ERR_MPOOL_NOT_FOUND when none runs */
export async function needRunning(daemons: Daemons): Promise<readonly Daemon[]> {
  const running = await daemons.running();
  if (running.length > 0) return running;
  throw new MpoolError('ERR_MPOOL_NOT_FOUND', 'no mpoold runs here');
}

/** What those answer that this user may ask; of the others it is told. */
export async function askEach<T>(
  daemons: readonly Daemon[],
  ask: (daemon: Daemon) => Promise<T>,
  context: Pick<Context, 'note'>,
): Promise<T[]> {
  const answers = await Promise.all(
    daemons.map((daemon) =>
      ask(daemon).then(
        (answer) => [answer],
        (error: unknown) => {
          if (!isMpoolError(error, 'ERR_MPOOL_ACCESS')) throw error;
          context.note(`the daemon in ${daemon.rundir} tells you nothing`);
          return [];
        },
      ),
    ),
  );
  return answers.flat();
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
