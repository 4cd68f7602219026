/** mpoold as it is run, on a folder of its own: pools in files, a configuration, clients in other processes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CreateOptions, Daemon, PoolParameters } from '../../src/client.ts';
import { check } from '../../src/index.ts';
import type { PoolMetrics } from '../../src/daemon/server/daemon-metrics.ts';
import { connectSoon } from '../contract/test-daemon.ts';
import { program, type Scope } from '../device/places.ts';

export const MIB = 2 ** 20;
export const POOL = 'p1';

const MPOOLD = program('../../src/daemon/main');
const UNTIL_STEP_MS = 5;
/** So long that only what never comes is missed: a busy machine has time to get there. */
const UNTIL_MS = 90_000;
/** Lines of the journal that no client may cause, whatever it does. */
const BUGS = / error .*(a bug|within the daemon|be released|in order)/;

export interface ServiceOptions {
  /** Of the configuration file, besides where pools are looked for. */
  config?: readonly string[];
  /** Of open files of the daemon. */
  descriptorLimit?: number;
  activateAll?: boolean;
  /** Makes what the pools are to lie on; what it is to clean up goes after the daemon. */
  prepare?: (service: Service) => unknown;
}

/** Waits, as long as it takes on a busy machine, but not for ever. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const giveUpMs = performance.now() + UNTIL_MS;
  while (performance.now() < giveUpMs) {
    if (await condition()) return;
    await sleep(UNTIL_STEP_MS);
  }
  assert.fail(`never: ${what}`);
}

export class Service {
  readonly folder: string;
  /** Of root, to ask about the daemon; connects again after a restart. */
  daemon!: Daemon;
  child!: ChildProcess;
  /** What all daemons of this folder said. */
  said = '';
  readonly #options: ServiceOptions;
  readonly #cleanUps: (() => unknown)[] = [];

  /** Serving, until the test is over. */
  static async start(t: Scope, options: ServiceOptions = {}): Promise<Service> {
    const service = new Service(options);
    t.after(() => service.#end());
    service.after(() => rmSync(service.folder, { recursive: true, force: true }));
    await options.prepare?.(service);
    service.after(async () => service.running && (await service.#exited('SIGKILL')));
    await service.start();
    service.daemon = await connectSoon(service.rundir);
    service.after(() => service.daemon.close());
    // Connected once for all that is asked later, also when no descriptor is left for another connection.
    await service.daemon.status();
    return service;
  }

  private constructor(options: ServiceOptions) {
    this.#options = options;
    this.folder = mkdtempSync(join(tmpdir(), 'mpool-e2e-'));
    chmodSync(this.folder, 0o755);
    mkdirSync(join(this.folder, 'files'));
    const lines = [`searchPlaces = ${this.folder}/files`, 'blockDevices = no'];
    writeFileSync(join(this.folder, 'conf'), [...lines, ...(options.config ?? [])].join('\n'));
  }

  /**
   * When the test is over, the last first, and the daemon's own end among them; one that fails keeps none of the
   * others from it.
   */
  after(cleanUp: () => unknown): void {
    this.#cleanUps.push(cleanUp);
  }

  get rundir(): string {
    return join(this.folder, 'r');
  }
  get running(): boolean {
    if (this.child === undefined) return false;
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  pathOf(pool: string): string {
    return join(this.folder, 'files', pool);
  }

  /** One daemon more, when none runs; serving when it resolves. */
  async start(): Promise<void> {
    const { descriptorLimit = 'unlimited', activateAll = true } = this.#options;
    const words = [process.execPath, '--enable-source-maps', MPOOLD, '--rundir', this.rundir];
    words.push('--config', join(this.folder, 'conf'), ...(activateAll ? ['--activate-all'] : []));
    const limit = descriptorLimit === 'unlimited' ? '' : `ulimit -n ${descriptorLimit};`;
    const child = spawn('/bin/sh', ['-c', `${limit} exec "$@"`, 'sh', ...words], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.child = child;
    const from = this.said.length;
    child.stderr.on('data', (chunk: Buffer) => (this.said += chunk.toString()));
    await until('the daemon serves', () => {
      assert.ok(this.running, `the daemon ended: ${this.said}`);
      return this.said.includes(' serving ', from);
    });
  }

  /** SIGKILL, in the middle of whatever it does. */
  async kill(): Promise<void> {
    assert.ok(this.running, `the daemon ended by itself: ${this.said}`);
    await this.#exited('SIGKILL');
    // What its ring had under way the kernel ends in its own time, and keeps the files and their locks until then.
    const lock = new RegExp(`\\bFLOCK\\b.*\\b${this.child.pid}\\b`);
    await until('its locks are gone', () => !lock.test(readFileSync('/proc/locks', 'latin1')));
  }

  /** SIGTERM. */
  async stop(): Promise<void> {
    assert.ok(this.running, `the daemon ended by itself: ${this.said}`);
    await this.#exited('SIGTERM');
    assert.equal(this.child.exitCode, 0);
  }

  /** A pool of 1 MiB mblocks in a file, active. */
  async create(
    name: string = POOL,
    options: Partial<PoolParameters> & { path?: string; sizeBytes?: number } = {},
  ): Promise<string> {
    const { path = this.pathOf(name), sizeBytes = 64 * MIB, ...parameters } = options;
    const capacity: CreateOptions['capacity'] = { path, sizeBytes, mblockSizeBytes: MIB };
    await this.daemon.create({ name, capacity, ...parameters });
    return path;
  }

  async metricsOf(name: string = POOL): Promise<PoolMetrics> {
    const { pools } = (await this.daemon.metrics()) as unknown as { pools: PoolMetrics[] };
    const found = pools.find((pool) => pool.name === name);
    assert.ok(found, `pool ${name} is active`);
    return found;
  }

  async cpuSeconds(): Promise<number> {
    return (await this.daemon.metrics())['cpuSeconds'] as number;
  }

  /** Of clients that are gone nothing is left, and space is taken only by what is committed. */
  async isQuiet(name: string = POOL): Promise<void> {
    const account = async (): Promise<object> => {
      const { classes, clients, leases, ...rest } = await this.metricsOf(name);
      const usage = Object.values(classes)[0]!;
      const owned = usage.mblockAllocatedBytes + usage.mlogAllocatedBytes + usage.metadataBytes;
      const { mappedObjects, uncommittedObjects, openLogs } = rest;
      const stray = usage.usedBytes - owned;
      return { clients, leases, mappedObjects, uncommittedObjects, openLogs, stray };
    };
    let found = await account();
    await until('nothing is left of clients that ended', async () => {
      found = await account();
      return Object.values(found).every((count) => count === 0);
    }).catch((error: Error) => assert.fail(`${error.message}: ${JSON.stringify(found)}`));
    assert.deepEqual(await this.daemon.clients(name), []);
  }

  /** The library finds nothing wrong with what is on media. No daemon may have it. */
  async isSound(name: string = POOL, data = true): Promise<void> {
    const { findings } = await check(this.pathOf(name), { data });
    assert.deepEqual(
      findings.filter(({ severity }) => severity !== 'note'),
      [],
    );
  }

  async #exited(signal: NodeJS.Signals): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill(signal);
    await exited;
  }

  async #end(): Promise<void> {
    const errors: unknown[] = [];
    for (const cleanUp of this.#cleanUps.toReversed()) {
      try {
        await cleanUp();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
    assert.doesNotMatch(this.said, BUGS);
  }
}
