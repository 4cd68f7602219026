/** A world for run() with no process and no media: output kept as text, pools that only tell. */
import { Writable } from 'node:stream';
import type { Daemon } from '../../src/client.ts';
import type { Daemons } from '../../src/cli/daemons.ts';
import { Output } from '../../src/cli/output.ts';
import { run } from '../../src/cli/run.ts';
import type { Store } from '../../src/cli/store.ts';
import type { FoundPool, Pool, PoolInfo, Usage } from '../../src/pool/api.ts';

export interface Result {
  status: number;
  out: string;
  err: string;
}

/** Runs the tool's words against a store of which only some verbs are there. */
export async function runTool(
  argv: readonly string[],
  store: Partial<Store> = {},
  world: {
    signal?: AbortSignal;
    places?: readonly string[];
    /** For dry runs. */
    dryStore?: Partial<Store>;
    /** Standard input. */
    input?: string;
    /** None runs, unless it is said. */
    daemons?: readonly Partial<Daemon>[] | Daemons;
  } = {},
): Promise<Result> {
  const pieces: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      pieces.push(chunk);
      done();
    },
  });
  let err = '';
  const status = await run(argv, {
    out: new Output(stream),
    note: (line) => {
      err += `mpool: ${line}\n`;
    },
    async *input() {
      yield Buffer.from(world.input ?? '');
    },
    places: world.places ?? ['/nowhere'],
    signal: world.signal ?? new AbortController().signal,
    store: async (options) => {
      const chosen = options?.dryRun ? world.dryStore : store;
      return { active: async () => [], manage: chosen?.open, ...chosen } as Store;
    },
    daemons: daemonsOf(world.daemons ?? []),
    progress: undefined,
  });
  return { status, out: Buffer.concat(pieces).toString(), err };
}

function daemonsOf(daemons: readonly Partial<Daemon>[] | Daemons): Daemons {
  if ('running' in daemons) return daemons;
  return {
    running: async () => daemons as Daemon[],
    managed: async () => daemons[0] as Daemon,
    checkManaged: async () => undefined,
    close: async () => undefined,
  };
}

const GIB = 2 ** 30;

export function fakeUsage(usableBytes: number, usedBytes: number): Usage {
  return {
    totalBytes: usableBytes + GIB,
    usableBytes,
    freeUsableBytes: usableBytes - usedBytes,
    spareBytes: GIB,
    freeSpareBytes: GIB,
    usedBytes,
    reservedBytes: 0,
    mblockCount: 3,
    mblockAllocatedBytes: usedBytes,
    mblockWrittenBytes: usedBytes,
    mlogCount: 2,
    mlogAllocatedBytes: 2 ** 23,
    metadataBytes: 2 ** 20,
  };
}

export function fakeFound(name: string, number: number): FoundPool {
  const uuid = `00000000-0000-4000-8000-00000000000${number}`;
  const device = { path: `/pools/${name}`, mediaClass: 'capacity', sizeBytes: 100 * GIB } as const;
  return { name, uuid, formatVersion: 2, devices: [device], complete: true };
}

export function fakeInfo(found: FoundPool): PoolInfo {
  const usage = fakeUsage(99 * GIB, Math.floor(1.16 * GIB));
  return {
    name: found.name,
    uuid: found.uuid,
    formatVersion: 2,
    features: { compatible: [], readOnlyCompatible: [], incompatible: [] },
    generation: 1,
    createdMs: 0,
    readOnly: true,
    health: 'optimal',
    recovery: {
      unclean: false,
      verifiedObjects: 0,
      verifiedBytes: 0,
      verifiedLogs: 0,
      lostObjects: 0,
    },
    lost: [{ object: '0x1001101', fromBytes: 4096, toBytes: 8192, sinceMs: 1_750_000_000_000 }],
    lostCount: 1,
    problems: [],
    mdcCount: 1,
    parameters: {
      uid: 0,
      gid: 4_000_000,
      mode: 0o640,
      label: 'kv',
      utype: '00000000-0000-0000-0000-000000000000',
      readAheadPages: 8,
      mappedRegionLog2: 30,
      sparePercentCapacity: 5,
      sparePercentStaging: 6,
    },
    devices: found.devices.map((device) => ({
      ...device,
      uuid: found.uuid,
      kind: 'file',
      engine: 'threads',
      status: 'online',
      sectorBytes: 4096,
      mblockSizeBytes: 2 ** 25,
      usage,
    })),
    usage,
    rootMdc: { logA: 0x1201n, logB: 0x2201n } as PoolInfo['rootMdc'],
  };
}

/** A pool of which only info() and close() are there. */
export function fakePool(info: PoolInfo): Pool {
  const pool = { name: info.name, info: async () => info, close: async () => undefined };
  return pool as unknown as Pool;
}
