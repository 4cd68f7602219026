// What pools held, ever, and a look at an image: all that can be read must be that, or be refused by a typed error.
import assert from 'node:assert/strict';
import { isMpoolError } from '../../src/base/errors.ts';
import type { OpenOptions, Pool } from '../../src/pool/api.ts';
import { checkPoolAt, dumpPoolAt } from '../../src/pool/inspect.ts';
import { findPools } from '../../src/pool/find-pools.ts';
import { openPool } from '../../src/pool/open.ts';
import type { SimHost } from '../../src/testing/index.ts';

export const CAPACITY = '/dev/capacity';
export const STAGING = '/dev/staging';
export const WHERE = { places: [], blockDevices: true };

type Records = readonly Uint8Array[];

/** Of one pool: what each object was, and what each log had in it, at any time. */
interface PoolMemory {
  mblocks: Map<bigint, Uint8Array>;
  logs: Map<bigint, Records[]>;
  labels: Set<string>;
}

/** Of all pools whose bytes are anywhere on a machine, by UUID. */
export class Memory {
  readonly pools = new Map<string, PoolMemory>();

  /** Takes in all that the pool holds now. */
  async remember(pool: Pool): Promise<void> {
    const found = await contentOf(pool);
    const { uuid } = await pool.info();
    const known = this.pools.get(uuid) ?? {
      mblocks: new Map(),
      logs: new Map(),
      labels: new Set(),
    };
    this.pools.set(uuid, known);
    for (const [id, bytes] of found.mblocks) known.mblocks.set(id, bytes);
    for (const [id, records] of found.logs) {
      known.logs.set(id, [...(known.logs.get(id) ?? []), records]);
    }
    known.labels.add((await pool.parameters()).label);
  }

  /** Of a closed pool, and only that. @returns how many objects it has */
  async rememberOf(host: SimHost): Promise<number> {
    const pool = await openPool(host.environment, CAPACITY, { readOnly: true }, WHERE);
    await this.remember(pool);
    const { uuid } = await pool.info();
    await pool.close();
    const { mblocks, logs } = this.pools.get(uuid)!;
    return mblocks.size + logs.size;
  }
}

async function contentOf(pool: Pool) {
  const mblocks = new Map<bigint, Uint8Array>();
  const logs = new Map<bigint, Records>();
  for await (const { id, writtenBytes } of pool.mblocks.list()) {
    mblocks.set(id, await pool.mblocks.read(id, 0, writtenBytes));
  }
  for await (const { id } of pool.mlogs.list()) {
    const log = await pool.mlogs.open(id);
    logs.set(id, await allOf(log.records()));
    await log.close();
  }
  for await (const { id } of pool.mdcs.list()) {
    const mdc = await pool.mdcs.open(id);
    logs.set(id.logA, await allOf(mdc.records()));
    await mdc.close();
  }
  return { mblocks, logs };
}

async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** How an image looked. */
export interface Sight {
  refused: number;
  opened: number;
  /** Objects as they were at some time. */
  right: number;
  /** Objects that say that they are damaged. */
  errors: number;
}

export function noSight(): Sight {
  return { refused: 0, opened: 0, right: 0, errors: 0 };
}

export function addSight(total: Sight, sight: Sight): void {
  for (const name of Object.keys(total) as (keyof Sight)[]) total[name] += sight[name];
}

/** @throws anything but an error of the store's own */
export function assertTyped(error: unknown): void {
  if (!isMpoolError(error)) throw error;
}

/**
 * Opens the pool on an image and reads everything in it. What is on media may be anything; what is read must have
 * been there. Nothing is left behind: no buffer, no operation, and after a read-only look no write.
 */
export async function look(
  host: SimHost,
  memory: Memory,
  options: OpenOptions = {},
): Promise<Sight> {
  const sight = noSight();
  const before = host.operationCount;
  try {
    const pool = await openPool(host.environment, CAPACITY, { discard: false, ...options }, WHERE);
    sight.opened = 1;
    try {
      await lookInside(pool, memory, sight);
    } finally {
      await pool.close({ force: true }).catch(assertTyped);
    }
  } catch (error) {
    assertTyped(error);
    sight.refused = 1;
  }
  if (options.readOnly === true)
    assert.equal(host.operationCount, before, 'I8: nothing is written');
  assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
  assert.equal(host.inFlightCount, 0, 'nothing is in flight');
  return sight;
}

async function lookInside(pool: Pool, memory: Memory, sight: Sight): Promise<void> {
  const { uuid } = await pool.info();
  const known = memory.pools.get(uuid);
  assert.ok(known !== undefined, `no pool ever had the UUID ${uuid}`);
  const { label } = await pool.parameters();
  assert.ok(known.labels.has(label), `no pool ever had the label '${label}'`);
  for await (const { id, writtenBytes } of pool.mblocks.list()) {
    const bytes = known.mblocks.get(id);
    assert.ok(bytes !== undefined, `there never was an mblock 0x${id.toString(16)}`);
    assert.equal(writtenBytes, bytes.length, 'I2: another length');
    await counted(sight, async () => {
      const found = await pool.mblocks.read(id, 0, writtenBytes);
      assert.equal(Buffer.compare(found, bytes), 0, `I2: other bytes in 0x${id.toString(16)}`);
    });
  }
  for await (const { id } of pool.mlogs.list()) {
    await counted(sight, async () => {
      const log = await pool.mlogs.open(id);
      assertRecords(await allOf(log.records()), known.logs.get(id), id);
      await log.close();
    });
  }
  for await (const { id } of pool.mdcs.list()) {
    await counted(sight, async () => {
      const mdc = await pool.mdcs.open(id);
      assertRecords(await allOf(mdc.records()), known.logs.get(id.logA), id.logA);
      await mdc.close();
    });
  }
}

async function counted(sight: Sight, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    sight.right += 1;
  } catch (error) {
    assertTyped(error);
    sight.errors += 1;
  }
}

/** A prefix of what the log had at some time. */
function assertRecords(found: Records, ever: readonly Records[] | undefined, id: bigint): void {
  assert.ok(ever !== undefined, `there never was a log 0x${id.toString(16)}`);
  const isPrefix = (all: Records): boolean =>
    found.length <= all.length && found.every((each, i) => Buffer.compare(each, all[i]!) === 0);
  assert.ok(ever.some(isPrefix), `I6: ${found.length} records of 0x${id.toString(16)} never were`);
}

/** The tools that must look at any image at all: they end, and throw nothing of their own. */
export async function inspect(host: SimHost): Promise<void> {
  const before = host.operationCount;
  await findPools(host, WHERE).catch(assertTyped);
  try {
    await checkPoolAt(host, CAPACITY, WHERE, { data: true, clock: host.clock });
    await allOf(dumpPoolAt(host, CAPACITY, WHERE));
  } catch (error) {
    assertTyped(error);
  }
  assert.equal(host.operationCount, before, 'nothing is written');
  assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
}
