import { abandonable, type WaitOptions } from '../../base/abandon.ts';
import { resolve } from 'node:path';
import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { Serial } from '../../base/serial.ts';
import { isMblockId } from '../../format/object-id.ts';
import { checkTemperature } from '../../mcache/temperature.ts';
import type {
  CloseOptions,
  DeviceInfo,
  MapOptions,
  MblockId,
  MblockMap,
  MdcId,
  MediaClass,
  MediaClassOptions,
  Pool,
  PoolInfo,
  PoolParameters,
  PoolStats,
  Usage,
} from '../../pool/api.ts';
import { checkMediaClass } from '../../pool/media.ts';
import { checkArray, checkOptions, checkParameters } from '../../pool/parameters.ts';
import { checkDeviceOptions } from '../../pool/prepare-device.ts';
import type { Wire } from '../protocol.ts';
import { idsFromWire } from '../wire-values.ts';
import { ClientMblocks } from './client-mblocks.ts';
import { ClientMdcs } from './client-mdcs.ts';
import { ClientMlogs } from './client-mlogs.ts';
import { ReaperReports } from './reaper-reports.ts';
import type { Session } from './session.ts';

/** A pool of the daemon: what Pool says, over a connection. */
export class ClientPool implements Pool {
  readonly #session: Session;
  readonly #mblocks: ClientMblocks;
  readonly #mlogs: ClientMlogs;
  readonly #mdcs: ClientMdcs;
  readonly #reports: ReaperReports;
  /** Changes and closing, one at a time. */
  readonly #administration = new Serial();
  #closing: Promise<void> | null = null;

  constructor(session: Session) {
    this.#session = session;
    this.#mblocks = new ClientMblocks(session);
    this.#mlogs = new ClientMlogs(session);
    this.#mdcs = new ClientMdcs(session);
    const { mcache, clock } = session.options;
    this.#reports = new ReaperReports(mcache.reaper, clock, () => this.#reportReaper());
  }

  get name(): string {
    return this.#session.name;
  }
  get uuid(): string {
    return this.#session.uuid;
  }
  get readOnly(): boolean {
    return this.#session.readOnly;
  }
  get mblocks(): ClientMblocks {
    this.#assertOpen();
    return this.#mblocks;
  }
  get mlogs(): ClientMlogs {
    this.#assertOpen();
    return this.#mlogs;
  }
  get mdcs(): ClientMdcs {
    this.#assertOpen();
    return this.#mdcs;
  }

  map(ids: readonly MblockId[], options: MapOptions = {}): Promise<MblockMap> {
    const letGo = (map: MblockMap): void => void map.unmap().catch(() => {});
    return abandonable('map', options?.signal, () => this.#map(ids, options), letGo);
  }

  async #map(ids: readonly MblockId[], options: MapOptions): Promise<MblockMap> {
    this.#assertOpen();
    checkOptions(options ?? null);
    checkArray('ids', ids);
    checkTemperature(options.temperature ?? 'cold');
    const session = this.#session;
    for (;;) {
      const attachment = session.attachment ?? (await session.attached());
      const { leases, maps, opening } = attachment;
      if (opening !== undefined) {
        await opening;
        continue;
      }
      // Without ids, or with wrong ones, it throws and maps nothing.
      if (!ids.every((id) => isMblockId(id)) || leases.areMapped(ids)) {
        try {
          const map = await maps.map(ids, options, this);
          this.#reports.start();
          return map;
        } finally {
          leases.giveUpUnmapped(ids.filter((id) => isMblockId(id)));
        }
      }
      try {
        await session.during(leases.leaseMapped(ids));
      } catch (error) {
        leases.giveUpUnmapped(ids);
        throw error;
      }
    }
  }

  /** Also brings the statistics up to date. */
  info(options?: WaitOptions): Promise<PoolInfo> {
    return abandonable('info', options?.signal, () => this.#info());
  }

  async #info(): Promise<PoolInfo> {
    this.#assertOpen();
    const asked = this.#session.request('info', {});
    await this.#session.refreshStats();
    const { body } = await asked;
    const info = infoFromWire(body);
    const { health } = this.#session;
    this.#session.attachment?.noteEngines();
    const found = health.state === 'optimal' ? [] : health.problems;
    return {
      ...info,
      readOnly: this.readOnly,
      health: info.health === 'optimal' ? health.state : info.health,
      problems: [...info.problems, ...found],
    };
  }

  async parameters(): Promise<PoolParameters> {
    this.#assertOpen();
    return (await this.#session.request('parameters', {})).body;
  }

  async setParameters(changes: Partial<PoolParameters>): Promise<void> {
    this.#assertOpen();
    checkParameters(changes);
    const defined = Object.fromEntries(
      Object.entries(changes).filter(([, value]) => value !== undefined),
    );
    await this.#administer(async () => {
      await this.#session.request('setParameters', { changes: defined });
      this.#session.setParameters({ ...this.#session.parameters, ...defined });
    });
  }

  async usage(mediaClass?: MediaClass): Promise<Usage> {
    this.#assertOpen();
    if (mediaClass !== undefined) checkMediaClass(mediaClass);
    const asked = mediaClass === undefined ? {} : { mediaClass };
    return (await this.#session.request('usage', asked)).body;
  }

  async devices(): Promise<DeviceInfo[]> {
    this.#assertOpen();
    return (await this.#session.request('devices', {})).body.devices;
  }

  /** @param options a relative path is of this process's directory */
  async addMediaClass(
    mediaClass: 'staging',
    options: MediaClassOptions & { force?: boolean | undefined },
  ): Promise<void> {
    this.#assertOpen();
    checkMediaClass(mediaClass);
    checkDeviceOptions(options);
    await this.#administer(async () => {
      const absolute = { ...options, path: resolve(options.path) } as typeof options & {
        force?: boolean;
      };
      await this.#session.request('addMediaClass', { mediaClass, options: absolute });
      await this.#session.attachment?.opening;
    });
  }

  async grow(): Promise<number> {
    this.#assertOpen();
    return this.#administer(async () => {
      const { gainedBytes } = (await this.#session.request('grow', {})).body;
      await this.#session.attachment?.opening;
      return gainedBytes;
    });
  }

  async sync(): Promise<void> {
    this.#assertOpen();
    if (this.readOnly) return;
    await Promise.all([...this.#session.held].map(async (held) => held.settle?.()));
    await this.#session.request('sync', {});
  }

  /**
   * As the daemon said when the pool was opened, or info() was last asked; with the checksum errors that were
   * found here.
   */
  stats(): PoolStats {
    this.#assertOpen();
    const { stats, attachment } = this.#session;
    const found = attachment?.leases.reader.checksumErrorCount ?? 0;
    return { ...stats, checksumErrors: stats.checksumErrors + found };
  }

  close(options: CloseOptions = {}): Promise<void> {
    const closing = this.#closeOnce(options.force === true);
    // Whoever abandons it need not learn how it ends.
    if (options.signal !== undefined) closing.catch(() => {});
    return abandonable('close', options.signal, () => closing);
  }

  #closeOnce(force: boolean): Promise<void> {
    if (this.#closing === null) this.#closing = this.#close(force);
    else if (force) {
      this.#closing = this.#closing.catch((error: unknown) => {
        if (isMpoolError(error, 'ERR_MPOOL_BUSY')) return this.#close(true);
        throw error;
      });
    }
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ force: true });
  }

  #close(force: boolean): Promise<void> {
    const closing = this.#administration.run(async () => {
      const [first] = this.#session.held;
      if (!force && first !== undefined) {
        const more = this.#session.held.size - 1;
        const rest = more > 0 ? ` and ${more} more` : '';
        throw new MpoolError('ERR_MPOOL_BUSY', `${first.what}${rest}`);
      }
      this.#reports.stop();
      await this.#session.close();
    });
    // Refused: the handle is as open as before, and closing may be tried again.
    closing.catch((error: unknown) => {
      if (isMpoolError(error, 'ERR_MPOOL_BUSY') && this.#closing === closing) this.#closing = null;
    });
    return closing;
  }

  #administer<T>(work: () => Promise<T>): Promise<T> {
    this.#session.assertWritable();
    return this.#administration.run(async () => {
      this.#session.assertWritable();
      return work();
    });
  }

  #assertOpen(): void {
    if (this.#closing !== null) throw this.#session.closedError();
  }

  #reportReaper(): void {
    const { attachment, options } = this.#session;
    if (attachment === undefined) return;
    const stats = options.mcache.reaper.stats();
    this.#session.requestOn(attachment, 'reaper.report', { stats }).catch(() => {});
  }
}

export function infoFromWire(info: Wire<PoolInfo>): PoolInfo {
  return { ...info, rootMdc: idsFromWire<MdcId>(info.rootMdc, 'logA', 'logB') };
}
