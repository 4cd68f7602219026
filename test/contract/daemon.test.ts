// Goal: a client of the daemon is a pool as its public types say, just as the embedded library is. Method: the
// contract of suite.ts against a daemon in a process of its own, which is left clean behind.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before } from 'node:test';
import type { Pool } from '../../src/pool/api.ts';
import { type Contract, folderForFiles, MIB, type OpenAgain, type Setup } from './contract.ts';
import { startDaemon, type TestDaemon } from './test-daemon.ts';
import { poolContracts } from './suite.ts';

let running: TestDaemon;
let count = 0;

before(async () => {
  running = await startDaemon();
});
after(async () => {
  try {
    const { poolCount, clientCount } = await running.daemon.status();
    assert.deepEqual({ poolCount, clientCount }, { poolCount: 0, clientCount: 0 });
  } finally {
    await running.stop();
  }
});

const daemon: Contract = {
  name: 'daemon',
  async fresh(t, options = {}) {
    const { daemon: served } = running;
    const folder = folderForFiles();
    const name = `contract-${count++}`;
    const capacityPath = join(folder.path, 'capacity');
    const stagingPath = join(folder.path, 'staging');
    const { sizeBytes = 64 * MIB, stagingBytes, mblockSizeBytes = MIB, sparePercent } = options;
    await served.create({
      name,
      capacity: { path: capacityPath, sizeBytes, mblockSizeBytes, sparePercent },
      ...(stagingBytes !== undefined && {
        staging: { path: stagingPath, sizeBytes: stagingBytes, mblockSizeBytes },
      }),
      ...options.parameters,
    });
    const handles = new Set<Pool>();
    const openAgain = async (how: OpenAgain = {}): Promise<Pool> => {
      const opened = await served.open(name, how);
      handles.add(opened);
      return opened;
    };
    let pool = await openAgain();
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
        await served.deactivate(name);
        await served.activate(capacityPath);
        pool = await openAgain(how);
        return pool;
      },
    };
    t.after(async () => {
      for (const handle of handles) await handle.close({ force: true });
      await served.destroy(name);
      folder.remove();
    });
    return setup;
  },
};

poolContracts(daemon);
