/** A pool as verbs see it that change the pool itself, and nothing in it. */
import { MpoolError } from '../base/errors.ts';
import type { Daemon } from '../client.ts';
import type { Pool, PoolInfo } from '../pool/api.ts';

export type ManagedPool = Pick<
  Pool,
  'name' | 'info' | 'parameters' | 'setParameters' | 'addMediaClass' | 'grow' | 'close'
>;

/** Through the daemon's own socket: who manages the daemon need not be allowed to open the pool. */
export function poolOfDaemon(daemon: Daemon, name: string): ManagedPool {
  const info = async (): Promise<PoolInfo> => {
    const found = (await daemon.pools()).find((each) => each.name === name);
    if (found === undefined) throw new MpoolError('ERR_MPOOL_NOT_FOUND', `active pool '${name}'`);
    return found;
  };
  const capacityBytes = async (): Promise<number> =>
    (await info()).devices.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    name,
    info,
    parameters: async () => (await info()).parameters,
    setParameters: (changes) => daemon.set(name, changes),
    addMediaClass: (_, options) => daemon.add(name, options),
    async grow() {
      const before = await capacityBytes();
      await daemon.activate(name, { grow: true });
      return (await capacityBytes()) - before;
    },
    close: async () => undefined,
  };
}
