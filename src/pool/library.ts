import { createPool } from './create.ts';
import { destroyPool, refuseTakenName, renamePool } from './administer.ts';
import type {
  CreateOptions,
  FoundPool,
  LocalPool,
  OpenOptions,
  Reaper,
  ScrubOptions,
  ScrubReport,
} from './api.ts';
import type { CheckReport } from './check.ts';
import type { DumpEntry } from './dump.ts';
import type { Environment } from './environment.ts';
import { findPools, type SearchPlaces } from './find-pools.ts';
import { checkPoolAt, type CheckPoolOptions, dumpPoolAt } from './inspect.ts';
import { openPool } from './open.ts';
import { upgradePool, type UpgradeReport } from './upgrade.ts';
import { repairPoolAt, type RepairOptions, type RepairReport } from './repair.ts';

/** Where pools are looked for when they are named by name or UUID. */
export interface SearchOptions {
  /** Files and directories; by default those of $MPOOL_PATH, or else the current directory. */
  searchPlaces?: readonly string[] | undefined;
  /** Block devices of the machine too; true by default. */
  blockDevices?: boolean | undefined;
}

/** The library on one machine: the real one (`mpool`), or a simulated one (`mpool/testing`). */
export interface Library {
  /**
   * Makes a pool and opens it. All that can be refused is refused before the first write; after an error
   * there is no pool, and files made for it are gone.
   * @throws ERR_MPOOL_NOT_BLANK naming what a device holds, unless forced; ERR_MPOOL_EXISTS when a
   *   pool of that name is found; ERR_MPOOL_BUSY; RangeError
   */
  create: (options: CreateOptions) => Promise<LocalPool>;
  /**
   * Opens a pool by name, UUID, or the path of one of its devices.
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_BUSY naming the holder, ERR_MPOOL_VERSION,
   *   ERR_MPOOL_CORRUPT, ERR_MPOOL_NO_DEVICE, ERR_MPOOL_DEVICE_CHANGED
   */
  open: (target: string, options?: OpenOptions) => Promise<LocalPool>;
  /** Finds pools without claiming or changing anything. */
  scan: (options?: {
    places?: readonly string[] | undefined;
    blockDevices?: boolean | undefined;
  }) => Promise<FoundPool[]>;
  /** Erases a pool's superblocks: from then on there is no pool. Files stay. @throws ERR_MPOOL_BUSY */
  destroy: (
    target: string,
    options?: SearchOptions & { force?: boolean | undefined },
  ) => Promise<void>;
  /** Renames a pool that is open nowhere, all or nothing. @throws ERR_MPOOL_EXISTS, ERR_MPOOL_BUSY */
  rename: (target: string, newName: string, options?: SearchOptions) => Promise<void>;
  /**
   * Gives a pool that is open nowhere the features of this version that it lacks, all or nothing: no other
   * call ever does. Writes nothing when it has them all.
   * @throws ERR_MPOOL_BUSY, ERR_MPOOL_VERSION when a newer version made it; as open for writing
   */
  upgrade: (target: string, options?: SearchOptions) => Promise<UpgradeReport>;
  /** Verifies what is on media, read-only, without believing the store's own code. @throws ERR_MPOOL_BUSY */
  check: (target: string, options?: SearchOptions & CheckPoolOptions) => Promise<CheckReport>;
  /**
   * Restores of a pool that is open nowhere what something else on media still tells; what nothing does
   * stays as it
   * is, and refuses to be read. Gives up nothing that was acknowledged unless forced, and then says what.
   * @throws ERR_MPOOL_BUSY, ERR_MPOOL_NOT_FOUND, ERR_MPOOL_VERSION
   */
  repair: (target: string, options?: SearchOptions & RepairOptions) => Promise<RepairReport>;
  /**
   * Opens a pool for reading, scrubs it and closes it: for a pool that this process does not have open.
   * Of one
   * that it has, see LocalPool.scrub(). @throws as open()
   */
  scrub: (target: string, options?: SearchOptions & ScrubOptions) => Promise<ScrubReport>;
  /** The structures on media, in order, read-only. */
  dump: (target: string, options?: SearchOptions) => AsyncIterable<DumpEntry>;
  /** Of all maps of all pools that this library opened. */
  readonly reaper: Reaper;
}

/** @param places where to look by default; asked each time, since it may be in the environment */
export function libraryOn(environment: Environment, places: () => readonly string[]): Library {
  const { host } = environment;
  const where = (options: SearchOptions): SearchPlaces => ({
    places: options.searchPlaces ?? places(),
    blockDevices: options.blockDevices ?? true,
  });
  const open: Library['open'] = (target, options = {}) =>
    openPool(environment, target, options, where(options));
  return {
    open,
    async create(options) {
      const { capacity, staging, engine, signal } = options;
      const paths = [capacity?.path, staging?.path].filter((path) => path !== undefined);
      await refuseTakenName(environment, options.name, where({}), paths);
      await createPool(environment, options);
      return open(capacity.path, { engine, signal, stagingPath: staging?.path });
    },
    scan: ({ places: searchPlaces, blockDevices } = {}) =>
      findPools(host, where({ searchPlaces, blockDevices })),
    destroy: (target, options = {}) => destroyPool(environment, target, where(options), options),
    rename: (target, newName, options = {}) =>
      renamePool(environment, target, newName, where(options)),
    upgrade: (target, options = {}) => upgradePool(environment, target, where(options)),
    check: (target, options = {}) => checkPoolAt(host, target, where(options), options),
    repair: (target, options = {}) => repairPoolAt(environment, target, where(options), options),
    async scrub(target, options = {}) {
      const pool = await openPool(environment, target, { readOnly: true }, where(options));
      try {
        return await pool.scrub(options);
      } finally {
        await pool.close({ force: true });
      }
    },
    dump: (target, options = {}) => dumpPoolAt(host, target, where(options)),
    reaper: environment.mcache.reaper,
  };
}
