import { MpoolError } from '../../base/errors.ts';

/** How much one client, and all of them, can take of the daemon. Each refusal says which it was. */
export interface DaemonLimits {
  pools: number;
  sessionsPerPool: number;
  /** Of it, for one user who is not the daemon's own: so that he leaves room for others. */
  sessionsPerUser: number;
  controlSessions: number;
  /** Of one session; of the original, where one process had so many. */
  openLogs: number;
  /** Of all logs of one session: each holds memory of the device while it reads, 512 KiB or so. */
  readersPerSession: number;
  uncommittedObjects: number;
  leases: number;
  /** 24 bytes each, and their references keep the space of deleted objects. */
  leasesPerPool: number;
  /** After the loss of a connection whose process lives: how long its leases stay. */
  lingerMs: number;
  /** For how long a promise of descriptors is good. */
  ticketMs: number;
  slotBytes: number;
  slotCount: number;
}

export const DAEMON_LIMITS: Readonly<DaemonLimits> = {
  pools: 256,
  sessionsPerPool: 1024,
  sessionsPerUser: 512,
  controlSessions: 256,
  openLogs: 516,
  readersPerSession: 256,
  uncommittedObjects: 65_536,
  leases: 2 ** 20,
  leasesPerPool: 2 ** 24,
  lingerMs: 2000,
  ticketMs: 10_000,
  slotBytes: 2 ** 18,
  slotCount: 64,
};

/** Elements of one request, so that its answer fits in a frame. */
export const IDS_MAX = 65_536;
export const LEASES_PER_REQUEST = 8192;
export const LIST_PAGE_DEFAULT = 1024;
export const LIST_PAGE_MAX = 4096;
/** Of JSON, for an element of a list. */
export const LIST_ITEM_BYTES = 256;

export function limitReached(detail: string): MpoolError {
  return new MpoolError('ERR_MPOOL_LIMIT', detail);
}
