/**
 * mpool/client: pools of a daemon (mpoold), which serves many processes and lets none of them near the
 * pool's own metadata. What is opened here is what `mpool` opens: the same types, the same errors.
 *
 *   const daemon = await connect();
 *   const pool = await daemon.open('mp1');
 *   const bytes = await pool.mblocks.read(id, 0, 4096); // from the device, verified, by this process
 */
import { systemClock } from './base/clock.ts';
import { announceRecall } from './device/share-recall.ts';
import { SystemMemory } from './device/system-memory.ts';
import * as threadShare from './device/thread-share.ts';
import type { Daemon } from './daemon/client/daemon.ts';
import { findDaemon, programName } from './daemon/client/find-daemon.ts';
import { rundirPath, trustedRundirs } from './daemon/rundir.ts';
import { mcacheOn } from './mcache/mcache.ts';

export { errorTable, isMpoolError, MpoolError } from './base/errors.ts';
export type { ErrorCode } from './base/errors.ts';
export type { ActivateOptions, ClientOpenOptions, Daemon } from './daemon/client/daemon.ts';
export type { ClientInfo, DaemonStatus, ReaperChanges, ReaperReport } from './daemon/protocol.ts';
export { parseObjectId, printObjectId } from './format/object-id.ts';
export type * from './pool/api.ts';

const mcache = mcacheOn({
  clock: systemClock,
  gauge: new SystemMemory(),
  shares: { ...threadShare, announceRecall },
});

/** Of all maps of all pools that this thread has of daemons. */
export const { reaper } = mcache;

export interface ConnectOptions {
  /** Where its sockets are: by default $MPOOL_RUNDIR, else this user's own daemon's, or the system's. */
  rundir?: string | undefined;
  /** What the daemon shows this program as; by default its file's name. */
  client?: string | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Finds the daemon. Nothing keeps the process alive unless something is asked.
 * @throws ERR_MPOOL_NOT_FOUND when none listens
 */
export async function connect(options: ConnectOptions = {}): Promise<Daemon> {
  const { rundir, client = programName(), signal } = options;
  const places = rundir === undefined ? await trustedRundirs() : [rundir];
  return findDaemon(places, { clock: systemClock, mcache, client }, signal);
}

/** Where connect() looks, in order: not in a directory of $XDG_RUNTIME_DIR that is another user's. */
export function rundirs(): Promise<readonly string[]> {
  return trustedRundirs();
}

/**
 * Where a daemon that this user starts has its sockets.
 * @throws ERR_MPOOL_NOT_FOUND when he has no place for it
 */
export function ownRundir(): string {
  return rundirPath();
}
