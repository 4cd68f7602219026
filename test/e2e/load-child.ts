/**
 * A client that works without end, and tells on standard output what it is about to do and what was acknowledged:
 * node load-child RUNDIR POOL SEED. A lost connection is survived; anything else that goes wrong ends it.
 * TERM: it stops in order, and ends with status 0.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { connect, isMpoolError, type Mblock, type MblockId } from '../../src/client.ts';
import type { Mdc, Mlog, Pool } from '../../src/client.ts';
import { contentOf } from '../kill/events.ts';
import type { LogName, Told } from './told.ts';

const [rundir, name, seed] = process.argv.slice(2) as [string, string, string];
const OWN_MBLOCKS = 12;
const HELD_MBLOCKS = 2;
const LOST = 'ERR_MPOOL_CONNECTION_LOST';

const prng = new SeededPrng(Number(seed));
const pool = await (await connect({ rundir, client: 'load' })).open(name);
const mine = new Map<MblockId, number>();
let stopping = false;
process.on('SIGTERM', () => (stopping = true));

/** Synchronous: what was told before the kill has been told. */
function tell(told: Told): void {
  writeSync(1, `${JSON.stringify(told)}\n`);
}

/** Without end: what `work` loses with its connection is told, and goes on. */
async function without(end: () => boolean, log: LogName | 'mblocks', work: () => Promise<void>) {
  while (!end()) {
    try {
      await work();
    } catch (error) {
      if (!isMpoolError(error, LOST)) throw error;
      tell({ what: 'lost', log });
      await sleep(2);
    }
  }
}

const held: Mblock[] = [];

async function storeOrRemove(): Promise<void> {
  const choice = below(prng, 100);
  if (choice < 25 || mine.size > OWN_MBLOCKS) return remove();
  if (choice < 35) return hold();
  if (choice < 50) return readOne();
  await store(1 + below(prng, 3));
}

async function store(count: number): Promise<void> {
  const mblocks = await Promise.all(Array.from({ length: count }, () => pool.mblocks.alloc()));
  const ids = mblocks.map(({ id }) => String(id));
  const lengthBytes = 1 + below(prng, 200_000);
  await Promise.all(mblocks.map((mblock) => mblock.write(contentOf(mblock.id, lengthBytes))));
  tell({ what: 'commit', ids, lengthBytes });
  await pool.mblocks.commit(mblocks);
  tell({ what: 'committed', ids });
  for (const { id } of mblocks) mine.set(id, lengthBytes);
}

async function remove(): Promise<void> {
  const id = [...mine.keys()][below(prng, Math.max(mine.size, 1))];
  if (id === undefined) return;
  mine.delete(id);
  tell({ what: 'delete', id: String(id) });
  await pool.mblocks.delete([id]);
  tell({ what: 'deleted', id: String(id) });
}

/** Written and not committed: whoever is killed leaves some of these. */
async function hold(): Promise<void> {
  if (held.length >= HELD_MBLOCKS) {
    await held.shift()!.abort();
    return;
  }
  const mblock = await pool.mblocks.alloc();
  held.push(mblock);
  await mblock.write(contentOf(mblock.id, 100_000));
}

async function readOne(): Promise<void> {
  const [id, lengthBytes] = [...mine][below(prng, Math.max(mine.size, 1))] ?? [];
  if (id === undefined || lengthBytes === undefined) return;
  await unlessDeleted(async () => compare(id, await pool.mblocks.read(id, 0, lengthBytes)));
}

async function mapSome(): Promise<void> {
  const ids = [...mine.keys()].slice(0, 1 + below(prng, 4));
  await sleep(below(prng, 4));
  if (ids.length === 0) return;
  await unlessDeleted(async () => {
    const map = await pool.map(ids);
    for (const [i, id] of ids.entries()) {
      await map.read(i, 0, 1);
      compare(id, Uint8Array.from(map.view(i)));
    }
    await sleep(below(prng, 10));
    await map.unmap();
  });
}

/** Another of this client's loops may have deleted it meanwhile. */
async function unlessDeleted(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) throw error;
  }
}

function compare(id: MblockId, bytes: Uint8Array): void {
  if (Buffer.compare(bytes, contentOf(id, bytes.length)) === 0) return;
  throw new Error(`mblock ${id}: other bytes than were written`);
}

/** The records of one log, numbered; `replace` keeps the last of them. */
class Records<Log extends Mlog | Mdc> {
  readonly name: LogName;
  readonly #open: () => Promise<Log>;
  readonly #replace: (log: Log, records: string[]) => Promise<void>;
  readonly #keep: number;
  #log: Log | undefined;
  #next = 0;

  constructor(
    log: LogName,
    open: () => Promise<Log>,
    keep: number,
    replace: (log: Log, records: string[]) => Promise<void>,
  ) {
    this.name = log;
    this.#open = open;
    this.#keep = keep;
    this.#replace = replace;
  }

  async work(): Promise<void> {
    const log = (this.#log ??= await this.#open());
    try {
      if (below(prng, 40) === 0) await this.#replaceAll(log);
      else await this.#append(log, 1 + below(prng, 6));
    } catch (error) {
      const isFull = isMpoolError(error, 'ERR_MPOOL_LOG_FULL');
      if (isFull) return this.#replaceAll(log);
      // What was ordered went with the daemon: the log takes no more until it is opened again.
      if (!isMpoolError(error, 'ERR_MPOOL_FAILED')) throw error;
      if (!isMpoolError(error.cause, LOST)) throw error;
      tell({ what: 'lost', log: this.name });
      this.#log = undefined;
      await log.close().catch(() => {});
    }
  }

  async #append(log: Log, count: number): Promise<void> {
    const asynchronous = Array.from({ length: count - 1 }, async () => {
      const number = this.#begin();
      await log.append(textOf(number));
      tell({ what: 'ordered', log: this.name, number });
    });
    await Promise.all(asynchronous);
    // For a later sync to cover, unless the daemon dies before it.
    if (below(prng, 3) === 0) {
      await sleep(below(prng, 30));
      return;
    }
    if (below(prng, 3) === 0) {
      await log.sync();
      tell({ what: 'flushed', log: this.name });
      return;
    }
    const number = this.#begin();
    await log.append(textOf(number), { sync: true });
    tell({ what: 'synced', log: this.name, number });
  }

  async #replaceAll(log: Log): Promise<void> {
    const from = Math.max(0, this.#next - this.#keep);
    const end = this.#next;
    tell({ what: 'replace', log: this.name, from, end });
    await this.#replace(
      log,
      Array.from({ length: end - from }, (_, i) => textOf(from + i)),
    );
    tell({ what: 'replaced', log: this.name, from, end });
  }

  #begin(): number {
    const number = this.#next++;
    tell({ what: 'append', log: this.name, number });
    return number;
  }
}

function textOf(number: number): string {
  return `${number} ${'x'.repeat((number * 37) % 300)}`;
}

async function newLogs(of: Pool) {
  const mlog = await of.mlogs.alloc({ capacityBytes: 2 ** 17 });
  await mlog.commit();
  const mdc = await of.mdcs.alloc({ capacityBytes: 2 ** 17 });
  await mdc.commit();
  tell({ what: 'opened', log: 'mlog', ids: [String(mlog.id)] });
  tell({ what: 'opened', log: 'mdc', ids: [String(mdc.id.logA), String(mdc.id.logB)] });
  return {
    mlog: new Records(
      'mlog',
      () => of.mlogs.open(mlog.id),
      0,
      (log) => log.erase(),
    ),
    mdc: new Records(
      'mdc',
      () => of.mdcs.open(mdc.id),
      10,
      (log, records) => log.compact(records),
    ),
  };
}

const isOver = (): boolean => stopping;
const logs = await newLogs(pool);
await Promise.all([
  without(isOver, 'mblocks', storeOrRemove),
  without(isOver, 'mblocks', storeOrRemove),
  without(isOver, 'mblocks', mapSome),
  without(isOver, 'mlog', () => logs.mlog.work()),
  without(isOver, 'mdc', () => logs.mdc.work()),
]);
await pool.close({ force: true });
process.exit(0);
