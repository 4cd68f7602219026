/** A client that does what its parent tells it, one task after the other or many at once: node client-child RUNDIR */
import { closeSync, openSync, readdirSync, readlinkSync, writeSync, ftruncateSync } from 'node:fs';
import {
  connect,
  type Mblock,
  type MblockId,
  type MblockMap,
  type Pool,
} from '../../src/client.ts';
import type { PoolInfo, PoolParameters } from '../../src/client.ts';
import { contentOf } from '../kill/events.ts';

/** What it can be told: [what it needs, what comes of it]. Ids are decimal digits. */
export interface Tasks {
  /** Under a name of the caller's; by default that of the pool. */
  open: [{ pool: string; as?: string; readOnly?: boolean; exclusive?: boolean }, null];
  close: [{ as: string }, null];
  /** Commits so many, of contentOf(). */
  put: [{ as: string; count: number; lengthBytes: number }, string[]];
  /** Writes, and commits not. */
  hold: [{ as: string; count: number; lengthBytes: number }, null];
  /** Whether all are as put() wrote them. */
  isIntact: [{ as: string; ids: string[]; lengthBytes: number }, boolean];
  delete: [{ as: string; ids: string[] }, null];
  /** Kept until the process ends. */
  map: [{ as: string; ids: string[] }, null];
  /** Bytes that the views of all maps have together. */
  mappedBytes: [object, number];
  /** Whether the first of the last map is as put() wrote it. */
  isMapIntact: [{ id: string; lengthBytes: number }, boolean];
  info: [{ as: string }, Pick<PoolInfo, 'health' | 'readOnly'> & { fault?: string }];
  usage: [{ as: string; times?: number }, null];
  set: [{ as: string; changes: Partial<PoolParameters> }, null];
  appendRoot: [{ as: string; records: string[]; sync?: boolean }, null];
  startCompaction: [{ as: string }, null];
  pools: [object, { name: string; clientCount: number }[]];
  /** Tries to write to the device through every descriptor that this process has of it. */
  meddle: [{ path: string }, Record<string, number>];
}

export interface Outcome<Value = unknown> {
  /** 'done', or of the error. */
  code: string;
  message?: string;
  /** Code of the error's cause. */
  cause?: string;
  value?: Value;
}

const daemon = await connect({ rundir: process.argv[2], client: 'e2e' });
const pools = new Map<string, Pool>();
const held: Mblock[] = [];
const maps: MblockMap[] = [];

function poolOf(as: string): Pool {
  const pool = pools.get(as);
  if (pool === undefined) throw new Error(`${as} is not open here`);
  return pool;
}

function idsOf(ids: readonly string[]): MblockId[] {
  return ids.map((id) => BigInt(id) as MblockId);
}

async function put(pool: Pool, lengthBytes: number): Promise<string> {
  const mblock = await pool.mblocks.alloc();
  await mblock.write(contentOf(mblock.id, lengthBytes));
  await mblock.commit();
  return String(mblock.id);
}

/** Each attempt by the errno's name, or 'done', and how often. */
function meddle(path: string): Record<string, number> {
  const outcomes: Record<string, number> = {};
  const attempt = (what: string, work: () => void): void => {
    let how = 'done';
    try {
      work();
    } catch (error) {
      how = String((error as NodeJS.ErrnoException).code);
    }
    outcomes[`${what}: ${how}`] = (outcomes[`${what}: ${how}`] ?? 0) + 1;
  };
  attempt('open its path', () => closeSync(openSync(path, 'r+')));
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    let target = '';
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // That of the listing itself.
    }
    if (target !== path) continue;
    for (const flags of ['r+', 'w', 'a']) {
      attempt(`open again ${flags}`, () => closeSync(openSync(`/proc/self/fd/${fd}`, flags)));
    }
    attempt('write', () => writeSync(fd, Buffer.alloc(4096), 0, 4096, 0));
    attempt('truncate', () => ftruncateSync(fd, 0));
  }
  return outcomes;
}

const tasks: { [Name in keyof Tasks]: (args: Tasks[Name][0]) => Promise<Tasks[Name][1]> } = {
  async open({ pool, as = pool, ...options }) {
    pools.set(as, await daemon.open(pool, options));
    return null;
  },
  async close({ as }) {
    await poolOf(as).close({ force: true });
    pools.delete(as);
    return null;
  },
  put({ as, count, lengthBytes }) {
    return Promise.all(Array.from({ length: count }, () => put(poolOf(as), lengthBytes)));
  },
  async hold({ as, count, lengthBytes }) {
    for (let i = 0; i < count; i++) {
      const mblock = await poolOf(as).mblocks.alloc();
      await mblock.write(contentOf(mblock.id, lengthBytes));
      held.push(mblock);
    }
    return null;
  },
  async isIntact({ as, ids, lengthBytes }) {
    const { mblocks } = poolOf(as);
    const read = await Promise.all(idsOf(ids).map((id) => mblocks.read(id, 0, lengthBytes)));
    return read.every((bytes, i) => {
      return Buffer.compare(bytes, contentOf(BigInt(ids[i]!), lengthBytes)) === 0;
    });
  },
  async delete({ as, ids }) {
    await poolOf(as).mblocks.delete(idsOf(ids));
    return null;
  },
  async map({ as, ids }) {
    maps.push(await poolOf(as).map(idsOf(ids)));
    return null;
  },
  async mappedBytes() {
    // Of a map that ended nothing can be seen, which is what is asked.
    return maps.filter(({ mapped }) => mapped).reduce((sum, map) => sum + map.view(0).length, 0);
  },
  async isMapIntact({ id, lengthBytes }) {
    const bytes = await maps.at(-1)!.read(0, 0, lengthBytes);
    return Buffer.compare(bytes, contentOf(BigInt(id), lengthBytes)) === 0;
  },
  async info({ as }) {
    const { health, readOnly, fault } = await poolOf(as).info();
    return { health, readOnly, ...(fault !== undefined && { fault }) };
  },
  async usage({ as, times = 1 }) {
    for (let i = 0; i < times; i++) await poolOf(as).usage();
    return null;
  },
  async set({ as, changes }) {
    await poolOf(as).setParameters(changes);
    return null;
  },
  async appendRoot({ as, records, sync = true }) {
    const root = await poolOf(as).mdcs.root();
    for (const record of records) await root.append(record, { sync });
    return null;
  },
  async startCompaction({ as }) {
    await (await poolOf(as).mdcs.root()).startCompaction();
    return null;
  },
  async pools() {
    return (await daemon.pools()).map(({ name, clientCount }) => ({ name, clientCount }));
  },
  async meddle({ path }) {
    return meddle(path);
  },
};

async function carryOut(name: keyof Tasks, args: never): Promise<Outcome> {
  try {
    return { code: 'done', value: await tasks[name](args) };
  } catch (error) {
    const { code, message, cause } = error as NodeJS.ErrnoException & {
      cause?: NodeJS.ErrnoException;
    };
    const causeCode = cause?.code;
    return { code: code ?? String(error), message, ...(causeCode && { cause: causeCode }) };
  }
}

process.on('message', ({ task, name, args }: { task: number; name: keyof Tasks; args: never }) => {
  void carryOut(name, args).then((outcome) => process.send!({ task, ...outcome }));
});
process.send!('ready');
