import { MpoolError } from '../../base/errors.ts';

/** How much one client, and all of them, can take of the daemon. Each refusal says which it was. */
export interface DaemonLimits {
  pools: number;
  sessionsPerPool: number;
  /** Clients of one user, of all pools: see UserAccounts for this and what else is 'PerUser'. */
  sessionsPerUser: number;
  controlSessions: number;
  /** Of it, kept for root and the daemon's own user. */
  controlSessionsKept: number;
  /** Of one user who may only look. */
  controlSessionsPerUser: number;
  /** Connections that have not said hello, or are being closed. */
  arrivals: number;
  /** Beyond them, for root and the daemon's own user. */
  arrivalsKept: number;
  arrivalsPerUser: number;
  sharedBytesPerUser: number;
  openLogsPerUser: number;
  readersPerUser: number;
  /** Read from media and not yet by the client. It is refused when reached, so the last may pass it. */
  recordBytesPerUser: number;
  /** At once: each may be assembling a record. */
  recordReadsPerUser: number;
  uncommittedPerUser: number;
  leasesPerUser: number;
  /** Of one session; of the original, where one process had so many. */
  openLogs: number;
  /** Of all logs of one session: each holds up to 2.25 MiB while it reads (ReadAhead). */
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
  sessionsPerUser: 256,
  controlSessions: 256,
  controlSessionsKept: 64,
  controlSessionsPerUser: 32,
  arrivals: 2048,
  arrivalsKept: 64,
  arrivalsPerUser: 256,
  // 128 clients that write, with 16 MiB each.
  sharedBytesPerUser: 2 ** 31,
  openLogsPerUser: 1024,
  readersPerUser: 512,
  recordBytesPerUser: 2 ** 27,
  recordReadsPerUser: 8,
  uncommittedPerUser: 65_536,
  leasesPerUser: 2 ** 22,
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

/** A user's clients up to this number have CHANNEL_LIMITS, each of the others less: so many bytes. */
export const UNCROWDED_CLIENTS = 16;
export const CROWDED_CHANNEL = {
  inlineBytes: 2 ** 18,
  backlogBytes: 2 ** 18,
  // Two of the longest answers that are made without room(), and more.
  backlogBytesMax: 2 ** 22,
} as const;
/** For who may only look: what is asked costs the daemon more than the client, and is small. */
export const LOOKING_CHANNEL = {
  requestsInFlight: 8,
  inlineBytes: 2 ** 16,
  backlogBytes: 2 ** 18,
  backlogBytesMax: 2 ** 21,
  framesPerTurn: 1,
} as const;

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
