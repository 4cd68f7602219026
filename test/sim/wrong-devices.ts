// The pool is opened with devices that are not its own, or not as they were: it is refused, or what is read is right
// or an error; and with the right ones again, all is as before.
import { MpoolError } from '../../src/base/errors.ts';
import { activate } from '../../src/pool/activate.ts';
import { StorePool, sharePool } from '../../src/pool/pool.ts';
import type { SimHost } from '../../src/testing/index.ts';
import type { PoolModel } from '../crash/model.ts';
import { CAPACITY, FILE, MIB, STAGING } from '../crash/rig.ts';
import { onlyMpoolErrors, sameBytes } from './choices.ts';
import type { WrongDevices } from './script.ts';
import type { World } from './world.ts';

const ASIDE = '/dev/aside';

/** Each puts the wrong device there. @returns what puts the right one back; undefined when it cannot be done */
const CHANGES: Record<WrongDevices, (host: SimHost) => (() => void) | undefined> = {
  missing: (host) => replaced(host, () => {}),
  blank: (host) => replaced(host, () => addBlank(host)),
  cloned: (host) => replaced(host, () => void host.copyDisk(CAPACITY, STAGING)),
  stale: (host) => {
    return replaced(host, () => {
      const old = host.copyDisk(ASIDE, STAGING);
      // What was written into the first zones never was.
      const lengthBytes = Math.min(2 * MIB, old.sizeBytes - 2 * MIB);
      if (lengthBytes > 0) old.poke(MIB, { fill: 0, lengthBytes });
    });
  },
  swapped(host) {
    if (!hasBoth(host)) return undefined;
    const swap = (): void => {
      host.moveDisk(CAPACITY, ASIDE);
      host.moveDisk(STAGING, CAPACITY);
      host.moveDisk(ASIDE, STAGING);
    };
    swap();
    return swap;
  },
  shrunk(host) {
    if (!hasBoth(host)) return undefined;
    return replaced(host, () => {
      const short = host.copyDisk(ASIDE, STAGING);
      short.resize(short.sizeBytes - MIB);
    });
  },
};

function hasBoth(host: SimHost): boolean {
  return host.paths.includes(CAPACITY) && host.paths.includes(STAGING);
}

function addBlank(host: SimHost): void {
  const { sizeBytes, sectorBytes } = host.disk(ASIDE);
  host.addDisk(STAGING, { sizeBytes, sectorBytes: sectorBytes === 512 ? 512 : 4096 });
}

function replaced(host: SimHost, put: () => void): (() => void) | undefined {
  if (!hasBoth(host)) return undefined;
  host.moveDisk(STAGING, ASIDE);
  put();
  return () => {
    if (host.paths.includes(STAGING)) host.pullDisk(STAGING);
    host.moveDisk(ASIDE, STAGING);
  };
}

export async function tryWrongDevices(
  host: SimHost,
  model: PoolModel,
  wrong: WrongDevices,
  world: World,
): Promise<void> {
  const putBack = CHANGES[wrong](host);
  if (putBack === undefined) return;
  world.see('wrong devices');
  try {
    for (const [readOnly, force] of [
      [true, false],
      [true, true],
      [false, false],
    ] as const) {
      const outcome = await attempt(host, model, readOnly, force);
      world.see(`with ${wrong} device: ${outcome}`);
      if (host.powerIsCut) return;
    }
  } finally {
    putBack();
  }
}

async function attempt(
  host: SimHost,
  model: PoolModel,
  readOnly: boolean,
  force: boolean,
): Promise<string> {
  const before = host.operationCount;
  let outcome = 'opened';
  try {
    const store = await activate(host.environment, {
      capacityPath: host.paths.includes(CAPACITY) ? CAPACITY : FILE,
      stagingPaths: host.paths.includes(STAGING) ? [STAGING] : [],
      readOnly,
      force,
      engine: undefined,
      discard: false,
      checksumCacheBytes: undefined,
    });
    const pool = new StorePool(sharePool(store), (forced) => store.shutdown(forced));
    await readAll(pool, model);
    await pool.close({ force: true });
  } catch (error) {
    if (!(error instanceof MpoolError)) throw error;
    outcome = error.code;
  }
  if (readOnly && host.operationCount !== before) throw new Error('I8: something was written');
  if (host.liveBufferCount !== 0) throw new Error(`${host.liveBufferCount} buffers leaked`);
  return outcome;
}

/** I2: the right bytes, or an error. */
async function readAll(pool: StorePool, model: PoolModel): Promise<void> {
  for await (const { id, writtenBytes } of pool.mblocks.list()) {
    const object = model.objects.get(id);
    if (object === undefined) throw new Error(`I3: 0x${id.toString(16)} was not committed`);
    await pool.mblocks
      .read(id, 0, writtenBytes)
      .then(
        (found) => sameBytes(found, object.bytes!, `I2: 0x${id.toString(16)}`),
        onlyMpoolErrors,
      );
  }
}
