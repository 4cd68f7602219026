import { MpoolError } from '../../base/errors.ts';
import type { Environment } from '../../pool/environment.ts';
import type { DaemonStatus, ReaperChanges, ReaperReport } from '../protocol.ts';
import { Rundir } from '../rundir.ts';
import { CONFIG_DEFAULTS, type DaemonConfig } from './config.ts';
import { controlHandlers, poolHandlers } from './handlers.ts';
import { ControlService } from './control-service.ts';
import { type DaemonMetrics, daemonMetrics } from './daemon-metrics.ts';
import { Deadline } from './deadline.ts';
import { HealthJournal } from './health-journal.ts';
import type { Journal } from './journal.ts';
import { mcacheOf, PoolLeases } from './leases.ts';
import { DAEMON_LIMITS, type DaemonLimits } from './limits.ts';
import { MetricsServer } from './metrics-server.ts';
import { RequestMetrics } from './operation-metrics.ts';
import { PoolRegistry } from './pool-registry.ts';
import type { PoolService } from './pool-service.ts';
import { Scrubs } from './scrubs.ts';
import type { ServerContext } from './server-context.ts';
import type { Session } from './session.ts';
import { UserAccounts } from './user-accounts.ts';

export interface DaemonOptions {
  /** The machine; what maps objects is not asked for. */
  environment: Omit<Environment, 'mcache'>;
  rundir: string;
  version: string;
  journal: Journal;
  /** Read anew when the daemon is told to reload. */
  loadConfig: () => Promise<Partial<DaemonConfig>>;
  limits?: Partial<DaemonLimits> | undefined;
  /** A listening socket for `ctl` that whoever started the daemon passed. */
  controlFd?: number | undefined;
}

/** How often it is looked what is wrong with the pools. */
const HEALTH_MS = 1000;
/** For what sessions held to be released and pools to be closed, when the time for requests is over. */
const CLOSING_MS = 5000;
/** And for everything else. */
const LAST_MS = 2000;
const MIB = 2 ** 20;

/**
 * One daemon: its run directory, its control socket, and the active pools.
 *
 *   start() ──► running ──requestStop()──► stopping ──► stopped
 */
export class Daemon {
  readonly context: ServerContext;
  readonly pools: PoolRegistry;
  readonly scrubs: Scrubs;
  /** Resolves with the reason when someone wants the daemon to stop: who runs it calls stop(). */
  readonly stopRequested: Promise<string>;
  readonly #control: ControlService;
  readonly #loadConfig: DaemonOptions['loadConfig'];
  readonly #health: HealthJournal;
  #config: DaemonConfig = CONFIG_DEFAULTS;
  #metricsServer: MetricsServer | undefined;
  #requestStop!: (reason: string) => void;
  #stopping: Promise<readonly string[]> | undefined;
  #idleTimer: { cancel(): void } | undefined;
  /** Under way. */
  #reloads = 0;

  /**
   * @throws ERR_MPOOL_BUSY when another daemon is at work in the run directory, RangeError for a wrong
   *   configuration; nothing is left behind then
   */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const config = { ...CONFIG_DEFAULTS, ...(await options.loadConfig()) };
    const rundir = await Rundir.open(options.rundir);
    const daemon = new Daemon(options, rundir);
    try {
      await daemon.#start(config, options.controlFd);
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  private constructor(options: DaemonOptions, rundir: Rundir) {
    const { environment, journal, version } = options;
    let sessionId = 0;
    const limits = { ...DAEMON_LIMITS, ...options.limits };
    this.#health = new HealthJournal(journal);
    this.context = {
      environment: { ...environment, mcache: mcacheOf(new PoolLeases()) },
      clock: environment.clock,
      rundir,
      limits,
      users: new UserAccounts(limits),
      journal,
      requests: new RequestMetrics(),
      version,
      startedMs: environment.clock.wallMs(),
      startedMonotonicMs: environment.clock.monotonicMs(),
      reaper: {},
      nextSessionId: () => (sessionId += 1),
    };
    this.#loadConfig = options.loadConfig;
    this.scrubs = new Scrubs(this.context);
    this.stopRequested = new Promise((resolve) => (this.#requestStop = resolve));
    this.pools = new PoolRegistry(this.context, poolHandlers, () => ({
      places: this.#config.searchPlaces,
      blockDevices: this.#config.blockDevices,
    }));
    this.#control = new ControlService(this, controlHandlers);
    this.pools.onChange = () => this.#watchIdleness();
    this.#control.onSessions = () => this.#watchIdleness();
  }

  get status(): Omit<DaemonStatus, 'mayManage'> {
    const { version, startedMs, rundir } = this.context;
    return {
      version,
      pid: process.pid,
      startedMs,
      rundir: rundir.path,
      poolCount: this.pools.services.length,
      clientCount: this.pools.sessionCount,
      state: this.#stopping === undefined ? 'running' : 'stopping',
    };
  }

  /** Where GET /metrics is answered, when it is on a port. */
  get metricsPort(): number | undefined {
    return this.#metricsServer?.port;
  }

  /** @param of the pools that whoever asks may see: all by default */
  metrics(of: readonly PoolService[] = this.pools.services): DaemonMetrics {
    return daemonMetrics(this.context, of, this.#control.sessionCount);
  }

  reaperReports(maySee: (client: Session['peer']) => boolean): ReaperReport[] {
    return this.pools.services.flatMap(({ name, sessions }) =>
      sessions.flatMap(({ id, peer, reaperStats }) =>
        reaperStats === undefined || !maySee(peer)
          ? []
          : [{ pool: name, session: id, pid: peer.pid, stats: reaperStats }],
      ),
    );
  }

  /** For all clients, those to come too. */
  changeReaper(changes: ReaperChanges): void {
    this.context.reaper = { ...this.context.reaper, ...changes };
    for (const { sessions } of this.pools.services) {
      for (const { channel } of sessions) channel.notify('reaper', changes);
    }
  }

  /** Reads the configuration anew; what is wrong with it leaves the old one in force. */
  async reload(): Promise<void> {
    this.#reloads += 1;
    try {
      await this.#reload();
    } finally {
      this.#reloads -= 1;
    }
  }

  async #reload(): Promise<void> {
    const config = { ...CONFIG_DEFAULTS, ...(await this.#loadConfig()) };
    await this.#control.setRule(config);
    const { metrics } = this.#config;
    this.#apply(config);
    if (config.metrics !== metrics) {
      this.context.journal.warn('metrics move to their new address at the next start');
    }
    this.context.journal.info('the configuration was read again');
  }

  requestStop(reason: string): void {
    this.#requestStop(reason);
  }

  /** What stop() takes at most, more or less. */
  get stopMs(): number {
    return this.#config.stopSeconds * 1000 + CLOSING_MS + LAST_MS;
  }

  /**
   * Takes nothing new, answers what is under way, closes the pools; idempotent. What hangs does not hold
   * it up for much longer than the configuration grants.
   * @returns what was not finished
   */
  stop(): Promise<readonly string[]> {
    return (this.#stopping ??= this.#stop());
  }

  async #start(config: DaemonConfig, controlFd: number | undefined): Promise<void> {
    this.#apply(config);
    if (config.metrics !== undefined) {
      this.#metricsServer = await MetricsServer.listen(config.metrics, () => this.metrics());
    }
    if (config.activateAll) await this.#activateAll();
    await this.#control.listen(config, controlFd);
    this.#watchHealth();
    this.#watchIdleness();
  }

  #apply(config: DaemonConfig): void {
    this.#config = config;
    const { clientsPerUser, sharedMiBPerUser } = config;
    const { limits } = this.context;
    if (clientsPerUser !== undefined) limits.sessionsPerUser = clientsPerUser;
    if (sharedMiBPerUser !== undefined) limits.sharedBytesPerUser = sharedMiBPerUser * MIB;
    this.context.journal.configure({ level: config.logLevel, format: config.logFormat });
    this.#watchIdleness();
  }

  /** A pool that cannot be activated keeps none of the others from it. */
  async #activateAll(): Promise<void> {
    for (const { name, uuid, devices, complete } of await this.pools.scan()) {
      const capacity = devices.find(({ mediaClass }) => mediaClass === 'capacity');
      try {
        if (capacity === undefined || !complete) {
          throw new MpoolError('ERR_MPOOL_NO_DEVICE', `pool ${name}`);
        }
        await this.pools.activate(capacity.path);
      } catch (error) {
        this.context.journal.error('a pool was not activated', { pool: name, uuid, error });
      }
    }
  }

  async #stop(): Promise<readonly string[]> {
    const { clock, rundir, journal } = this.context;
    const why = new MpoolError('ERR_MPOOL_CLOSED', 'the daemon is stopping');
    this.#idleTimer?.cancel();
    const grace = new Deadline(clock, this.#config.stopSeconds * 1000);
    const end = grace.later(CLOSING_MS);
    const last = end.later(LAST_MS);
    const unfinished: string[] = [];
    const steps: [string, () => Promise<unknown> | undefined][] = [
      ['the socket ctl', () => this.#control.stopListening()],
      ['the pools', async () => void unfinished.push(...(await this.pools.stop(why, grace, end)))],
      ['the clients of ctl', () => this.#control.close(why, grace)],
      ['the metrics', () => this.#metricsServer?.close()],
      ['the run directory', () => rundir.close()],
    ];
    for (const [what, step] of steps) {
      try {
        if (!(await last.meets(Promise.resolve(step())))) unfinished.push(what);
      } catch (error) {
        journal.error('the daemon does not stop in order', { error });
      }
    }
    if (this.#reloads > 0) unfinished.push('reading the configuration');
    return [...unfinished, ...this.#requestsUnderWay()];
  }

  #requestsUnderWay(): string[] {
    const all = [...this.context.requests.operations];
    return all.flatMap(([operation, { underWay }]) =>
      underWay === 0 ? [] : [`${underWay} requests ${operation}`],
    );
  }

  #watchIdleness(): void {
    const { idleExitSeconds } = this.#config;
    this.#idleTimer?.cancel();
    this.#idleTimer = undefined;
    // While a pool is active its socket is there for whoever comes next.
    const isIdle = this.pools.services.length === 0 && this.#control.sessionCount === 0;
    if (idleExitSeconds === undefined || !isIdle || this.#stopping !== undefined) return;
    this.#idleTimer = this.context.clock.after(idleExitSeconds * 1000, () =>
      this.requestStop(`no pool was active and nobody connected for ${idleExitSeconds} s`),
    );
  }

  #watchHealth(): void {
    if (this.#stopping !== undefined) return;
    this.#health.look(this.pools.services);
    this.context.clock.after(HEALTH_MS, () => this.#watchHealth());
  }
}
