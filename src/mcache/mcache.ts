import type { Clock } from '../base/clock.ts';
import type { MemoryGauge } from '../device/memory-gauge.ts';
import type { Mcache } from '../pool/environment.ts';
import { MapSharing, type ThreadShares } from './map-sharing.ts';
import { Reaper } from './reaper.ts';
import { StoreMapCollections } from './store-maps.ts';

export interface McacheOptions {
  clock: Clock;
  gauge: MemoryGauge;
  /** Where there are other threads that maps can be lent to. */
  shares?: ThreadShares | undefined;
}

/** Maps of mblocks, and the one reaper of all of them. */
export function mcacheOn({ clock, gauge, shares }: McacheOptions): Mcache {
  const reaper = new Reaper({ clock, gauge });
  const sharing = shares === undefined ? undefined : new MapSharing(shares, clock);
  return {
    reaper,
    mapsOf: (store) => new StoreMapCollections({ store, clock, reaper, sharing }),
  };
}
