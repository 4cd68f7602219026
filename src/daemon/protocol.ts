/**
 * What clients and the daemon say to each other, protocol 1. docs/daemon.md says the same for
 * clients in other
 * languages. Ids and generations are strings: '0x' and hexadecimal digits.
 *
 * A client asks, the daemon answers, in any order; the daemon also sends notices on its own. What a
 * request holds beyond its JSON is its payload of bytes.
 */
import type {
  DeviceInfo,
  FoundPool,
  MdcProperties,
  MediaClass,
  MediaClassOptions,
  MblockProperties,
  MlogProperties,
  PoolInfo,
  PoolParameters,
  PoolStats,
  ReaperStats,
  ScrubProgress,
  ScrubReport,
  Usage,
} from '../pool/api.ts';
import type { WireError } from './wire-values.ts';

export const PROTOCOL_VERSION = 1;

/** The same type with ids and generations as strings. */
export type Wire<T> = {
  [K in keyof T]: T[K] extends bigint | undefined
    ? string | Extract<T[K], undefined>
    : T[K] extends object | undefined
      ? Wire<T[K]>
      : T[K];
};

/** An object that a client may read by itself until it releases it: see `revoked`. */
export interface Lease {
  id: string;
  mediaClass: MediaClass;
  pageAddress: number;
  pageCount: number;
  lengthBytes: number;
  digest: number;
}

export interface DeviceForClient {
  mediaClass: MediaClass;
  path: string;
  kind: 'file' | 'block';
  sectorBytes: number;
  optimalWriteBytes: number;
  sizeBytes: number;
  mblockCapacityBytes: number;
  mblockAllocatedBytes: number;
}

/** First on every connection: to `ctl`, to a pool, or to a pool for descriptors only. */
export interface Hello {
  protocol: number;
  /** For messages and `clients`: what the program calls itself. */
  client: string;
  pid: number;
  /** To a pool. */
  access?: 'read' | 'write';
  exclusive?: boolean;
  /** Only to fetch the descriptors that `welcome` promised; then the connection ends. */
  descriptorsFor?: string;
}

export interface Welcome {
  protocol: number;
  daemon: { version: string; pid: number; startedMs: number };
  /** Of a connection to a pool. */
  pool?: {
    name: string;
    uuid: string;
    readOnly: boolean;
    parameters: PoolParameters;
    /** Good once, for a few seconds, on a second connection: {descriptorsFor: token}. */
    descriptorToken: string;
    /**
     * In the order of the descriptors: for each a direct and a buffered one; then, for writers, the
     * shared memory.
     */
    devices: DeviceForClient[];
    slotBytes: number;
    slotCount: number;
    /** To be applied to the client's reaper. */
    reaper: ReaperChanges;
  };
  limits: { requestsInFlight: number; frameBytes: number; inlineBytes: number };
}

/** Bytes of a write: in slots of the shared memory, in order; or, when there are none, in the payload. */
export interface InSlots {
  slots?: { slot: number; lengthBytes: number }[];
}

/** So many of `lengths`, from that one on, were not appended: those in no such range were. */
export interface RefusedRecord {
  index: number;
  count: number;
  error: WireError;
}

/** What is left out stays as it is; null for no budget. */
export interface ReaperChanges {
  enabled?: boolean | undefined;
  memoryPercent?: number | undefined;
  highWatermarkFactor?: number | undefined;
  ttlMs?: number | undefined;
  budgetBytes?: number | null | undefined;
}

export interface ReaperReport {
  pool: string;
  session: number;
  pid: number;
  stats: ReaperStats;
}

/** What a log held when it was first opened since the pool is active. */
export interface RecoveredLog {
  /** Another one each time the pool becomes active. */
  activation: string;
  generation: string;
  recordCount: number;
}

export interface LogState {
  generation: string;
  capacityBytes: number;
  usedBytes: number;
  recordCount: number;
}

type None = Record<string, never>;

/** Requests on a connection to a pool: [what is asked, what is answered]. */
export interface PoolRequests {
  info: [None, Wire<PoolInfo>];
  parameters: [None, PoolParameters];
  setParameters: [{ changes: Partial<PoolParameters> }, None];
  usage: [{ mediaClass?: MediaClass }, Usage];
  devices: [None, { devices: DeviceInfo[] }];
  addMediaClass: [
    { mediaClass: 'staging'; options: MediaClassOptions & { force?: boolean } },
    None,
  ];
  grow: [None, { gainedBytes: number }];
  sync: [None, None];
  stats: [None, PoolStats];
  /** Every few seconds while something is mapped: for `reaper`, `metrics` and `mpool top`. */
  'reaper.report': [{ stats: ReaperStats }, None];

  /** Several at once, all or none: `count`, by default 1. */
  'mblock.alloc': [
    { mediaClass?: MediaClass; spare?: boolean; count?: number },
    { mblocks: Wire<MblockProperties>[] },
  ];
  /** Appends; requests for one mblock are carried out in the order they came in. */
  'mblock.write': [{ id: string } & InSlots, { writtenBytes: number }];
  /**
   * All or none. `lengths`: what the client wrote to each, refused when the daemon has another: a client need
   * not wait for the answers to its writes. The leases are of the client's own handles, in the order of the
   * ids, as 'mblock.lease' gives.
   */
  'mblock.commit': [{ ids: string[]; lengths?: number[] }, { leases: Lease[] }];
  'mblock.abort': [{ ids: string[] }, None];
  /** `release`: first gives up one lease of each of these, before anything that may fail. */
  'mblock.delete': [{ ids: string[]; refuseMapped?: boolean; release?: string[] }, None];
  /**
   * Each lease counts once more; all or none. `mapped`: for maps, which deletions may respect;
   * counted apart, and
   * released apart. Leases and releases take effect in the order they come, before what comes after them.
   */
  'mblock.lease': [{ ids: string[]; mapped?: boolean }, { leases: Lease[] }];
  'mblock.release': [{ ids: string[]; mapped?: boolean }, None];
  /** Rising ids after `after`; `done` when there are no more. */
  'mblock.list': [
    { after?: string; count?: number; mediaClass?: MediaClass },
    { mblocks: Wire<MblockProperties>[]; done: boolean },
  ];

  'mlog.alloc': [
    { capacityBytes: number; mediaClass?: MediaClass; spare?: boolean },
    { id: string; capacityBytes: number },
  ];
  'mlog.commit': [{ id: string }, None];
  'mlog.abort': [{ id: string }, None];
  /**
   * `recovered`: a client that was told of more records of that generation before, by another activation,
   * has lost what was not synced.
   */
  'mlog.open': [
    { id: string; compactionSemantics?: boolean; salvage?: boolean },
    { log: number; recovered: RecoveredLog } & LogState,
  ];
  /**
   * Records one behind the other in the payload (or slots); all are ordered as they came. Each is appended or
   * refused as if it were alone; the answer is an error when the only one was refused, or when they could not
   * be made durable.
   */
  'log.append': [
    { log: number; lengths: number[]; sync?: boolean } & InSlots,
    LogState & { refused?: RefusedRecord[] },
  ];
  'log.sync': [{ log: number }, LogState];
  /**
   * Records from the reader's place on: at most `maxBytes` in all (256 KiB by default, 1 MiB at
   * most), at least
   * one; none at the end. The client numbers its readers of a log as it likes. A record longer than 1 MiB
   * comes in parts: `restBytes` of the last one in this answer come with the next reads of the reader, first.
   * `generation`: of the content that these records are of; a reader starts again when it changes.
   * @throws ERR_MPOOL_TOO_LARGE when the next record is longer than `maxRecordBytes`: not consumed
   */
  'log.read': [
    { log: number; reader: number; maxBytes?: number; maxRecordBytes?: number },
    { lengths: number[]; restBytes?: number; generation: string },
  ];
  'log.skip': [{ log: number; reader: number; lengthBytes: number }, None];
  'log.rewind': [{ log: number; reader: number }, None];
  'log.closeReader': [{ log: number; reader: number }, None];
  'log.erase': [{ log: number; minGeneration?: string }, LogState];
  /** Of mlogs with compaction semantics and of MDCs. */
  'log.startCompaction': [{ log: number }, LogState];
  'log.endCompaction': [{ log: number }, LogState];
  'log.cancelCompaction': [{ log: number }, LogState];
  'log.state': [{ log: number }, LogState];
  'log.close': [{ log: number }, None];
  'mlog.properties': [{ id: string }, Wire<MlogProperties>];
  'mlog.delete': [{ ids: string[] }, None];
  'mlog.list': [
    { after?: string; count?: number; mediaClass?: MediaClass },
    { mlogs: Wire<MlogProperties>[]; done: boolean },
  ];

  'mdc.alloc': [
    { capacityBytes: number; mediaClass?: MediaClass; spare?: boolean },
    { logA: string; logB: string },
  ];
  'mdc.commit': [{ logA: string; logB: string }, None];
  'mdc.abort': [{ logA: string; logB: string }, None];
  /** Without ids: the root MDC. */
  'mdc.open': [
    { logA?: string; logB?: string },
    { log: number; logA: string; logB: string; recovered: RecoveredLog } & LogState,
  ];
  'mdc.delete': [{ logA: string; logB: string }, None];
  /** Rising ids of log A after `after`. */
  'mdc.list': [{ after?: string; count?: number }, { mdcs: Wire<MdcProperties>[]; done: boolean }];
}

/** Requests on a connection to `ctl`. */
export interface ControlRequests {
  status: [None, DaemonStatus];
  /** Active pools, as `list` shows them; the caller sees those it may open. */
  pools: [None, { pools: (Wire<PoolInfo> & { clientCount: number })[] }];
  scan: [None, { pools: FoundPool[] }];
  create: [{ options: Record<string, unknown> }, None];
  activate: [
    {
      target: string;
      force?: boolean;
      grow?: boolean;
      stagingPath?: string;
      parameters?: Partial<PoolParameters>;
    },
    { name: string; uuid: string; already: boolean },
  ];
  /** @throws ERR_MPOOL_BUSY while clients have it open */
  deactivate: [{ target: string }, None];
  destroy: [{ target: string; force?: boolean }, None];
  rename: [{ target: string; newName: string }, None];
  add: [{ target: string; options: MediaClassOptions & { force?: boolean } }, None];
  set: [{ target: string; changes: Partial<PoolParameters> }, None];
  /** Rising session numbers after `after`. */
  clients: [
    { target?: string; after?: number; count?: number },
    { clients: ClientInfo[]; done: boolean },
  ];
  /** What `mpool top` draws: everything since the daemon began. */
  metrics: [None, Record<string, unknown>];
  /** What the reapers of all clients are told; and what they reported last. */
  reaper: [{ changes?: ReaperChanges }, { settings: ReaperChanges; clients: ReaperReport[] }];
  /** One at a time of a pool; it ends with the connection. `bytesPerSecond`: 100 MiB by default. */
  scrub: [{ target: string; bytesPerSecond?: number; from?: string }, { scrub: number }];
  /** Answers after a quarter of a second, or at once when the scrub is over: then with its report. */
  'scrub.wait': [{ scrub: number }, ScrubState];
  'scrub.stop': [{ scrub: number }, None];
  reload: [None, None];
  shutdown: [None, None];
}

/** How far a scrub is. @see ScrubProgress */
export interface ScrubState extends ScrubProgress {
  /** It is over: what it found. */
  report?: ScrubReport;
}

export interface DaemonStatus {
  version: string;
  pid: number;
  startedMs: number;
  rundir: string;
  poolCount: number;
  clientCount: number;
  /** 'stopping': finishes what it has and takes nothing new. */
  state: 'running' | 'stopping';
  /** Whether who asks may do more than look. */
  mayManage: boolean;
}

export interface ClientInfo {
  pool: string;
  session: number;
  pid: number;
  uid: number;
  gid: number;
  client: string;
  access: 'read' | 'write';
  exclusive: boolean;
  connectedMs: number;
  requestsInFlight: number;
  requestCount: number;
  leaseCount: number;
  mappedCount: number;
  uncommittedCount: number;
  openLogCount: number;
  writtenBytes: number;
}

/** What the daemon says unasked. */
export interface Notices {
  /**
   * Objects were deleted: begin no more reads of them, and release them when those under way are done; their
   * space is not used again before.
   */
  revoked: { ids: string[] };
  /** Someone changed them. */
  parameters: PoolParameters;
  /** A device was added or grew: fetch descriptors again. */
  devices: { devices: DeviceForClient[]; descriptorToken: string };
  /** To be applied to the client's reaper. */
  reaper: ReaperChanges;
  /** The connection ends: why. */
  closing: { code: string; message: string };
}
