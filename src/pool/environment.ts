import type { Clock } from '../base/clock.ts';
import type { Prng } from '../base/prng.ts';
import type { Host } from '../device/host.ts';

/** All that the store takes from the world: replaced as a whole in a simulation. */
export interface Environment {
  host: Host;
  clock: Clock;
  prng: Prng;
}
