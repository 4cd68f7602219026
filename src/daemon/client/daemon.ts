import { abandonable } from '../../base/abandon.ts';
import { resolve } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { parseUuid } from '../../base/bytes.ts';
import type { EngineChoice } from '../../device/host.ts';
import type {
  CreateOptions,
  FoundPool,
  MediaClassOptions,
  Pool,
  PoolInfo,
  PoolParameters,
  ScrubOptions,
  ScrubReport,
} from '../../pool/api.ts';
import type { Mcache } from '../../pool/environment.ts';
import { SLOW_DEVICE_MS_MAX } from '../../pool/device-health.ts';
import {
  checkOptions,
  checkParameters,
  checkPoolName,
  checkScrubOptions,
  integerIn,
} from '../../pool/parameters.ts';
import { checkDeviceOptions } from '../../pool/prepare-device.ts';
import type { Operation, Requests } from '../operations.ts';
import { PROTOCOL_VERSION } from '../protocol.ts';
import type { ClientInfo, ControlRequests, DaemonStatus, ReaperChanges } from '../protocol.ts';
import { controlSocketPath, poolSocketPath } from '../rundir.ts';
import { ClientPool, infoFromWire } from './client-pool.ts';
import { Connection } from './connection.ts';
import { Session } from './session.ts';

export interface DaemonOptions {
  clock: Clock;
  mcache: Mcache;
  rundir: string;
  /** What this program calls itself. */
  client: string;
}

export interface ClientOpenOptions {
  /** By default for writing, which the pool's mode must allow. */
  readOnly?: boolean | undefined;
  /** Nobody else has it open: BUSY otherwise, and for all who come later. */
  exclusive?: boolean | undefined;
  /** Parameters to change, durably, while opening. */
  parameters?: Partial<PoolParameters> | undefined;
  /** Take in what the devices grew by. */
  grow?: boolean | undefined;
  /** Of the reads that this process does itself. */
  engine?: EngineChoice | undefined;
  /** Memory for checksum tables of mblocks being read; 64 MiB by default. */
  checksumCacheBytes?: number | undefined;
  /** A device that has not answered this process for so long is told of in info(); 30,000 by default. */
  slowDeviceMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface ActivateOptions {
  /** Without the staging device: read-only. */
  force?: boolean | undefined;
  grow?: boolean | undefined;
  stagingPath?: string | undefined;
  parameters?: Partial<PoolParameters> | undefined;
}

/** A daemon: its pools, and how to open them. Connections come back by themselves when they are needed. */
export class Daemon implements AsyncDisposable {
  readonly rundir: string;
  readonly #options: DaemonOptions;
  readonly #control: Connection<undefined>;

  /** @throws ERR_MPOOL_NOT_FOUND when no daemon listens there */
  static async connect(options: DaemonOptions, signal?: AbortSignal): Promise<Daemon> {
    const daemon = new Daemon(options);
    try {
      await daemon.#control.connect(signal);
    } catch (error) {
      // Who may not manage the daemon may still open pools: their sockets have modes of their own.
      if (!isMpoolError(error, 'ERR_MPOOL_ACCESS')) throw error;
    }
    return daemon;
  }

  private constructor(options: DaemonOptions) {
    this.#options = options;
    this.rundir = options.rundir;
    this.#control = new Connection({
      path: controlSocketPath(options.rundir),
      clock: options.clock,
      hello: () => ({ protocol: PROTOCOL_VERSION, client: options.client, pid: process.pid }),
      attach: () => undefined,
    });
  }

  /**
   * Opens an active pool: by its name; or, for whoever may ask the daemon for its pools, by its UUID or a
   * path of one of its devices.
   * @throws ERR_MPOOL_NOT_FOUND when it is not active, ERR_MPOOL_ACCESS, ERR_MPOOL_BUSY, ERR_MPOOL_LIMIT
   */
  open(target: string, options: ClientOpenOptions = {}): Promise<Pool> {
    const letGo = (pool: Pool): void => void pool.close({ force: true }).catch(() => {});
    return abandonable('open', options?.signal, () => this.#open(target, options), letGo);
  }

  async #open(target: string, options: ClientOpenOptions): Promise<Pool> {
    checkOptions(options ?? null);
    if (options.parameters !== undefined) checkParameters(options.parameters);
    integerIn('checksumCacheBytes', options.checksumCacheBytes, 0, Number.MAX_SAFE_INTEGER);
    integerIn('slowDeviceMs', options.slowDeviceMs, 1, SLOW_DEVICE_MS_MAX);
    const { clock, mcache, client } = this.#options;
    const name = await this.#nameOf(target);
    const session = await Session.open({
      clock,
      mcache,
      client,
      path: poolSocketPath(this.rundir, name),
      readOnly: options.readOnly === true,
      exclusive: options.exclusive === true,
      engine: options.engine,
      checksumCacheBytes: options.checksumCacheBytes,
      slowDeviceMs: options.slowDeviceMs,
      signal: options.signal,
    }).catch((error: unknown) => {
      if (!isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) throw error;
      throw new MpoolError(
        'ERR_MPOOL_NOT_FOUND',
        `no pool '${target}' is active in ${this.rundir}`,
        {
          cause: error,
        },
      );
    });
    const pool = new ClientPool(session);
    try {
      if (options.parameters !== undefined) await pool.setParameters(options.parameters);
      if (options.grow === true) await pool.grow();
      if (options.signal?.aborted === true) throw new MpoolError('ERR_MPOOL_ABORTED', 'open');
      return pool;
    } catch (error) {
      await pool.close({ force: true });
      throw error;
    }
  }

  /** @throws ERR_MPOOL_ACCESS: as all that follow, for whoever may not connect to the daemon's own socket */
  async status(): Promise<DaemonStatus> {
    return this.#ask('status', {});
  }

  /** @throws RangeError for a name that cannot be that of an active pool here */
  checkName(name: string): void {
    checkPoolName(name);
    poolSocketPath(this.rundir, name);
  }

  /** Active pools that the caller may open. */
  async pools(): Promise<(PoolInfo & { clientCount: number })[]> {
    const { pools } = await this.#ask('pools', {});
    return pools.map(({ clientCount, ...info }) => ({ ...infoFromWire(info), clientCount }));
  }

  /** Pools on the machine's devices, active or not. */
  async scan(): Promise<FoundPool[]> {
    return (await this.#ask('scan', {})).pools;
  }

  /**
   * Makes a pool, which is active then. Relative paths are of this process's directory. @throws as
   * create()
   */
  async create(options: Omit<CreateOptions, 'signal'>): Promise<void> {
    checkOptions(options ?? null);
    checkPoolName(options.name);
    const { capacity, staging, ...rest } = options;
    const wanted = {
      ...rest,
      capacity: withAbsolutePath(capacity),
      ...(staging && { staging: withAbsolutePath(staging) }),
    };
    await this.#ask('create', { options: wanted });
  }

  /** By name, UUID or the path of a device. Active already: no effect. */
  async activate(
    target: string,
    options: ActivateOptions = {},
  ): Promise<{ name: string; uuid: string; already: boolean }> {
    const { stagingPath } = options;
    const asked = {
      target: absoluteTarget(target),
      ...definedOf(options),
      ...(stagingPath !== undefined && { stagingPath: resolve(stagingPath) }),
    };
    return this.#ask('activate', asked as ControlRequests['activate'][0]);
  }

  /** @throws ERR_MPOOL_BUSY while clients have it open */
  async deactivate(target: string): Promise<void> {
    await this.#ask('deactivate', { target: absoluteTarget(target) });
  }

  /** @throws ERR_MPOOL_BUSY while clients have it open */
  async destroy(target: string, options: { force?: boolean | undefined } = {}): Promise<void> {
    const { force = false } = options;
    await this.#ask('destroy', { target: absoluteTarget(target), ...(force && { force }) });
  }

  /** @throws ERR_MPOOL_BUSY while clients have it open, ERR_MPOOL_EXISTS */
  async rename(target: string, newName: string): Promise<void> {
    checkPoolName(newName);
    await this.#ask('rename', { target: absoluteTarget(target), newName });
  }

  /** Adds the staging class. */
  async add(
    target: string,
    options: MediaClassOptions & { force?: boolean | undefined },
  ): Promise<void> {
    const asked = withAbsolutePath(options) as ControlRequests['add'][0]['options'];
    await this.#ask('add', { target: absoluteTarget(target), options: asked });
  }

  /** Changes parameters of a pool; of its sockets too, at once. */
  async set(target: string, changes: Partial<PoolParameters>): Promise<void> {
    checkParameters(changes);
    await this.#ask('set', { target: absoluteTarget(target), changes: definedOf(changes) });
  }

  /** Who has pools open. */
  async clients(target?: string): Promise<ClientInfo[]> {
    const of = target === undefined ? {} : { target: absoluteTarget(target) };
    const all: ClientInfo[] = [];
    for (;;) {
      const after = all.at(-1)?.session;
      const asked = { ...of, ...(after !== undefined && { after }) };
      const { clients, done } = await this.#ask('clients', asked);
      all.push(...clients);
      if (done) return all;
    }
  }

  /** Counters since the daemon began. */
  async metrics(): Promise<Record<string, unknown>> {
    return this.#ask('metrics', {});
  }

  /** What the reapers of all clients are told, and what they reported last. */
  async reaper(changes?: ReaperChanges): Promise<ControlRequests['reaper'][1]> {
    return this.#ask('reaper', changes === undefined ? {} : { changes });
  }

  /**
   * Verifies an active pool while it is used, as LocalPool.scrub(); it ends with this process. The signal, or
   * the pool's end, ends it early, with a cursor to go on from.
   * @throws ERR_MPOOL_BUSY while it is being scrubbed already, ERR_MPOOL_PERMISSION
   */
  async scrub(target: string, options: ScrubOptions = {}): Promise<ScrubReport> {
    checkScrubOptions(options);
    const { bytesPerSecond, from, onProgress, signal } = options;
    const { ticket } = await this.#ask('scrub', {
      target: absoluteTarget(target),
      // JSON has no infinity.
      ...(bytesPerSecond !== undefined && {
        bytesPerSecond: Number.isFinite(bytesPerSecond) ? bytesPerSecond : null,
      }),
      ...(from !== undefined && { from }),
    });
    for (;;) {
      const stop = signal?.aborted === true;
      const { report, ...progress } = await this.#ask('scrub.wait', { ticket, stop });
      onProgress?.(progress);
      if (report !== undefined) return report;
    }
  }

  /** Reads its configuration again. */
  async reload(): Promise<void> {
    await this.#ask('reload', {});
  }

  /** Ends the daemon as SIGTERM does. */
  async shutdown(): Promise<void> {
    await this.#ask('shutdown', {});
  }

  /** Pools that were opened stay open. Idempotent. */
  async close(): Promise<void> {
    await this.#control.close(new MpoolError('ERR_MPOOL_CLOSED', 'the daemon'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #ask<Op extends Operation & keyof ControlRequests>(
    operation: Op,
    body: Requests[Op][0],
  ): Promise<Requests[Op][1]> {
    return (await this.#control.request(operation, body)).body;
  }

  async #nameOf(target: string): Promise<string> {
    const isPath = target.includes('/');
    if (!isPath && parseUuid(target) === undefined) {
      checkPoolName(target);
      return target;
    }
    const path = resolve(target);
    const found = (await this.pools()).find(
      ({ uuid, devices }) =>
        uuid === target.toLowerCase() || devices.some((device) => device.path === path),
    );
    if (found !== undefined) return found.name;
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `no pool '${target}' is active in ${this.rundir}`);
  }
}

/** The daemon has another current directory. Names and UUIDs stay as they are. */
function absoluteTarget(target: string): string {
  return target.includes('/') ? resolve(target) : target;
}

function withAbsolutePath<T extends MediaClassOptions>(device: T): T {
  checkDeviceOptions(device);
  return definedOf({ ...device, path: resolve(device.path) }) as T;
}

/** JSON has no undefined. */
function definedOf<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(value).filter(([, field]) => field !== undefined),
  ) as Partial<T>;
}
