// Goal: the embedded library is a pool as its public types say. Method: the contract of suite.ts, which a client of
// the daemon must pass too, on files of a real file system.
import { join } from 'node:path';
import { create, open, type Pool } from '../../src/index.ts';
import { type Contract, folderForFiles, MIB, type OpenAgain, type Setup } from './contract.ts';
import { poolContracts } from './suite.ts';

let count = 0;

const embedded: Contract = {
  name: 'embedded',
  async fresh(t, options = {}) {
    const folder = folderForFiles();
    const name = `contract-${process.pid}-${count++}`;
    const capacityPath = join(folder.path, 'capacity');
    const stagingPath = join(folder.path, 'staging');
    const { sizeBytes = 64 * MIB, stagingBytes, mblockSizeBytes = MIB, sparePercent } = options;
    const handles = new Set<Pool>();
    let pool: Pool = await create({
      name,
      capacity: { path: capacityPath, sizeBytes, mblockSizeBytes, sparePercent },
      ...(stagingBytes !== undefined && {
        staging: { path: stagingPath, sizeBytes: stagingBytes, mblockSizeBytes },
      }),
      ...options.parameters,
    });
    handles.add(pool);
    const openAgain = async (how: OpenAgain = {}): Promise<Pool> => {
      const opened = await open(capacityPath, how);
      handles.add(opened);
      return opened;
    };
    const setup: Setup = {
      get pool() {
        return pool;
      },
      name,
      capacityPath,
      stagingPath,
      open: openAgain,
      async reopen({ force, ...how } = {}) {
        await pool.close({ force });
        pool = await openAgain(how);
        return pool;
      },
    };
    t.after(async () => {
      for (const handle of handles) await handle.close({ force: true });
      folder.remove();
    });
    return setup;
  },
};

poolContracts(embedded);
