import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { Serial } from '../../base/serial.ts';
import { activate, type ActivateOptions } from '../../pool/activate.ts';
import { destroyPool, refuseTakenName, renamePool } from '../../pool/administer.ts';
import type { CreateOptions, FoundPool, PoolParameters } from '../../pool/api.ts';
import { createPool } from '../../pool/create.ts';
import { findPools, locatePool, type PoolPaths, type SearchPlaces } from '../../pool/find-pools.ts';
import { checkParameters, checkPoolName } from '../../pool/parameters.ts';
import type { Store } from '../../pool/store.ts';
import { poolSocketPath } from '../rundir.ts';
import type { Deadline } from './deadline.ts';
import type { PoolHandler } from './handler.ts';
import { mcacheOf, PoolLeases } from './leases.ts';
import { limitReached } from './limits.ts';
import { PoolService } from './pool-service.ts';
import type { ServerContext } from './server-context.ts';

export interface ActivateRequest {
  /** Come up read-only when the staging device is missing. */
  force?: boolean | undefined;
  /** Take in what the devices grew by. */
  grow?: boolean | undefined;
  stagingPath?: string | undefined;
  parameters?: Partial<PoolParameters> | undefined;
}

/** Clients verify what they read by themselves: of the daemon's own reads there are none. */
const CHECKSUM_CACHE_BYTES = 0;

/**
 * The pools that are active, by name. What changes which there are is done one after the other.
 *
 * Invariant: a pool is in the table exactly while its service listens; its devices are claimed then.
 */
export class PoolRegistry {
  readonly #context: ServerContext;
  readonly #handlers: ReadonlyMap<string, PoolHandler>;
  readonly #where: () => SearchPlaces;
  readonly #services = new Map<string, PoolService>();
  readonly #turn = new Serial();
  #stopping: MpoolError | undefined;
  /** Told when a pool, or a client of any, came or went. */
  onChange: () => void = () => {};

  constructor(
    context: ServerContext,
    handlers: ReadonlyMap<string, PoolHandler>,
    where: () => SearchPlaces,
  ) {
    this.#context = context;
    this.#handlers = handlers;
    this.#where = where;
  }

  get services(): PoolService[] {
    return [...this.#services.values()];
  }
  get sessionCount(): number {
    return this.services.reduce((sum, service) => sum + service.sessions.length, 0);
  }

  /**
   * By name, UUID, or the path of one of its devices.
   * @param options.lookUpPaths whether a path may be another one for the same file
   * @throws ERR_MPOOL_NOT_FOUND
   */
  async find(target: string, { lookUpPaths = true } = {}): Promise<PoolService> {
    const service = await this.#lookUp(target, lookUpPaths);
    if (service !== undefined) return service;
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `active pool '${target}'`);
  }

  scan(): Promise<FoundPool[]> {
    return findPools(this.#context.environment.host, this.#where());
  }

  /** Of an active one only what it says of parameters and growth is done. */
  activate(
    target: string,
    request: ActivateRequest = {},
  ): Promise<{ service: PoolService; already: boolean }> {
    return this.#inTurn(async () => {
      if (request.parameters !== undefined) checkParameters(request.parameters);
      const active = await this.#lookUp(target);
      if (active !== undefined) {
        await change(active, request);
        return { service: active, already: true };
      }
      const { environment } = this.#context;
      const paths = await locatePool(environment.host, target, this.#where());
      const { stagingPath } = request;
      if (stagingPath !== undefined) paths.stagingPaths.unshift(stagingPath);
      return { service: await this.#start(paths, request), already: false };
    });
  }

  /** Makes a pool, active from then on. */
  create(options: CreateOptions): Promise<PoolService> {
    return this.#inTurn(async () => {
      const { environment, rundir } = this.#context;
      const { name, capacity, staging } = options;
      checkPoolName(name);
      poolSocketPath(rundir.path, name);
      this.#refuseMore();
      this.#refuseName(name);
      const paths = [capacity.path, ...(staging === undefined ? [] : [staging.path])];
      await refuseTakenName(environment, name, this.#where(), paths);
      await createPool(environment, options);
      const stagingPaths = staging === undefined ? [] : [staging.path];
      return this.#start({ capacityPath: capacity.path, stagingPaths }, {});
    });
  }

  /** @throws ERR_MPOOL_NOT_FOUND when it is not active; ERR_MPOOL_BUSY */
  deactivate(target: string): Promise<void> {
    return this.#inTurn(async () => {
      await this.#remove(await this.find(target));
    });
  }

  /** @throws ERR_MPOOL_BUSY while clients have it open */
  destroy(target: string, options: { force?: boolean | undefined }): Promise<void> {
    const { environment } = this.#context;
    return this.#inactive(target, (where) =>
      destroyPool(environment, where, this.#where(), options),
    );
  }

  /** @throws ERR_MPOOL_BUSY while clients have it open; ERR_MPOOL_EXISTS */
  rename(target: string, newName: string): Promise<void> {
    checkPoolName(newName);
    poolSocketPath(this.#context.rundir.path, newName);
    const { environment } = this.#context;
    return this.#inactive(
      target,
      async (where) => {
        this.#refuseName(newName);
        await renamePool(environment, where, newName, this.#where());
      },
      { activateAgain: true },
    );
  }

  /**
   * Ends all of them. Nothing is activated any more.
   * @param grace for requests under way
   * @returns what was not finished until `end`
   */
  async stop(why: MpoolError, grace: Deadline, end: Deadline): Promise<string[]> {
    this.#stopping = why;
    const unfinished = await this.#stopAll(why, grace, end);
    // One may have been on its way to be active.
    if (await end.meets(this.#turn.run(async () => {}))) {
      unfinished.push(...(await this.#stopAll(why, grace, end)));
    } else unfinished.push('a change of which pools are active');
    return unfinished;
  }

  async #stopAll(why: MpoolError, grace: Deadline, end: Deadline): Promise<string[]> {
    const { services } = this;
    const stopped = await Promise.allSettled(
      services.map((service) => service.stop(why, grace, end)),
    );
    return stopped.flatMap((each, i) => {
      const { name } = services[i]!;
      this.#services.delete(name);
      if (each.status === 'fulfilled') return each.value ?? [];
      this.#context.journal.error('a pool was not stopped in order', {
        pool: name,
        error: each.reason,
      });
      return [];
    });
  }

  /** Deactivates the pool, when it is active, for as long as `work` takes; what fails leaves it as it was. */
  #inactive(
    target: string,
    work: (where: string) => Promise<void>,
    { activateAgain = false } = {},
  ): Promise<void> {
    return this.#inTurn(async () => {
      const service = await this.#lookUp(target);
      if (service === undefined) return work(target);
      const paths = pathsOf(service.store);
      // As it was: for reading, where its staging device is missing.
      const again = { force: service.store.readOnly };
      await this.#remove(service);
      try {
        await work(paths.capacityPath);
      } catch (error) {
        await this.#start(paths, again).catch((failure: unknown) => {
          const facts = { pool: service.name, error: failure };
          this.#context.journal.error('a pool could not be activated again', facts);
        });
        throw error;
      }
      if (activateAgain) await this.#start(paths, again);
    });
  }

  async #start(paths: PoolPaths, request: ActivateRequest): Promise<PoolService> {
    this.#refuseMore();
    const leases = new PoolLeases();
    const store = await this.#activateStore(paths, leases, request.force === true);
    const name = store.superblock.name;
    try {
      if (this.#stopping !== undefined) throw this.#stopping;
      this.#refuseName(name);
      const service = new PoolService(this.#context, store, leases, this.#handlers);
      service.onSessions = () => this.onChange();
      await change(service, request);
      await service.listen();
      this.#services.set(name, service);
      this.onChange();
      this.#context.journal.info('a pool is active', { pool: name, uuid: service.uuid });
      return service;
    } catch (error) {
      await store.shutdown(true);
      throw error;
    }
  }

  async #activateStore(paths: PoolPaths, leases: PoolLeases, force: boolean): Promise<Store> {
    const { environment } = this.#context;
    const own = { ...environment, mcache: mcacheOf(leases) };
    const options: ActivateOptions = {
      ...paths,
      readOnly: false,
      force: false,
      engine: undefined,
      discard: true,
      checksumCacheBytes: CHECKSUM_CACHE_BYTES,
    };
    try {
      return await activate(own, options);
    } catch (error) {
      if (!force || !isMpoolError(error, 'ERR_MPOOL_NO_DEVICE')) throw error;
      return activate(own, { ...options, readOnly: true, force: true });
    }
  }

  async #remove(service: PoolService): Promise<void> {
    const { name } = service;
    try {
      await service.deactivate();
    } finally {
      // However it ended, a store that is shut down serves nobody.
      if (service.store.closed) this.#services.delete(name);
      this.onChange();
    }
    this.#context.journal.info('a pool is inactive', { pool: name });
  }

  async #lookUp(target: string, lookUpPaths = true): Promise<PoolService | undefined> {
    const named = this.#services.get(target);
    if (named !== undefined) return named;
    const known = this.services.find(({ uuid }) => uuid === target.toLowerCase());
    // Where the daemon happens to be, names of files there mean nothing.
    if (known !== undefined || !target.includes('/')) return known;
    const path = lookUpPaths ? (await this.#context.environment.host.stat(target))?.path : target;
    if (path === undefined) return undefined;
    return this.services.find(({ store }) => {
      const { capacityPath, stagingPaths } = pathsOf(store);
      return [capacityPath, ...stagingPaths].includes(path);
    });
  }

  #refuseMore(): void {
    const { pools } = this.#context.limits;
    if (this.#services.size >= pools) throw limitReached(`${pools} active pools`);
  }

  #refuseName(name: string): void {
    const service = this.#services.get(name);
    if (service === undefined) return;
    throw new MpoolError(
      'ERR_MPOOL_EXISTS',
      `pool '${name}' is active, on ${service.capacityPath}`,
    );
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turn.run(async () => {
      if (this.#stopping !== undefined) throw this.#stopping;
      return work();
    });
  }
}

async function change(service: PoolService, request: ActivateRequest): Promise<void> {
  if (request.parameters !== undefined) await service.setParameters(request.parameters);
  if (request.grow === true) await service.grow();
}

function pathsOf(store: Store): PoolPaths {
  const staging = store.staging?.device.path;
  return {
    capacityPath: store.capacity.device.path,
    stagingPaths: staging === undefined ? [] : [staging],
  };
}
