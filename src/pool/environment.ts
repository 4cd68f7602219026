import type { MblockId } from '../format/object-id.ts';
import type { Clock } from '../base/clock.ts';
import type { MpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import type { Device } from '../device/device.ts';
import type { Host } from '../device/host.ts';
import type { PoolParameters } from './api.ts';
import type { MapOptions, MblockMap, Reaper } from './map-api.ts';
import type { MblockReader } from './mblock-reader.ts';
import type { ObjectTable } from './object-table.ts';

/** All that the store takes from the world: replaced as a whole in a simulation. */
export interface Environment {
  host: Host;
  clock: Clock;
  prng: Prng;
  /** What can map objects into memory. */
  mcache: Mcache;
}

/** Above the store, which only knows this of it. */
export interface Mcache {
  readonly reaper: Reaper;
  mapsOf(store: MappableStore): StoreMaps;
}

/** What maps need of a store: that of this process, or what a client of the daemon knows of it. */
export interface MappableStore {
  readonly name: string;
  readonly table: ObjectTable;
  readonly reader: Pick<MblockReader, 'checksums' | 'mismatch'>;
  readonly parameters: Pick<PoolParameters, 'readAheadPages' | 'mappedRegionLog2'>;
  /** @throws ERR_MPOOL_CLOSED */
  assertOpen(): void;
  /** Index of a committed object. @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_UNCOMMITTED */
  indexOf(id: bigint): number;
  /** Of the class with that code; undefined when its device is missing. */
  media(classCode: number): { readonly device: Device } | undefined;
  /** The last reference of a deleted object went. */
  reclaim(index: number): void;
}

/** The maps of one active pool. */
export interface StoreMaps {
  /** @param holder whose maps unmapOf() ends */
  map(ids: readonly MblockId[], options: MapOptions, holder: object): Promise<MblockMap>;
  /** Unmaps what that holder has. */
  unmapOf(holder: object): Promise<void>;
  /** True while a map has the object with that index in the table. */
  isMapped(index: number): boolean;
  /** The object is gone, and its space will be another's. */
  reclaimed(index: number): void;
  /** Unmaps all that is left. @param why what the maps say from then on, instead of ERR_MPOOL_CLOSED */
  close(why?: MpoolError): Promise<void>;
}
