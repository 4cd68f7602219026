/** What a working client tells (see load-child.ts), and what must and may be in the pool then. */
import assert from 'node:assert/strict';
import type { MblockId, MlogId, Pool } from '../../src/client.ts';
import { contentOf } from '../kill/events.ts';

export type LogName = 'mlog' | 'mdc';

/** Before anything is begun, and again when it is acknowledged. Ids are decimal digits. */
export type Told =
  | { what: 'commit'; ids: string[]; lengthBytes: number }
  | { what: 'committed'; ids: string[] }
  | { what: 'delete' | 'deleted'; id: string }
  | { what: 'opened'; log: LogName; ids: string[] }
  | { what: 'append'; log: LogName; number: number }
  | { what: 'ordered' | 'synced'; log: LogName; number: number }
  /** All that was ordered is durable. */
  | { what: 'flushed'; log: LogName }
  /** The content becomes the records from `from` to before `end`. */
  | { what: 'replace'; log: LogName; from: number; end: number }
  | { what: 'replaced'; log: LogName; from: number; end: number }
  /** What was ordered and not synced may be gone. */
  | { what: 'lost'; log: LogName | 'mblocks' };

/** Records are numbers that rise; between them some may be missing of which nobody knew. */
class LogExpectation {
  ids: string[] = [];
  readonly begun = new Set<number>();
  durable = new Set<number>();
  ordered: number[] = [];
  /** Where replacements begin of which nobody knows how they ended: what was before may be gone. */
  replacing: number[] = [];
  /** What was before must be gone. */
  beginsAt = 0;

  flushed(): void {
    for (const number of this.ordered.splice(0)) this.durable.add(number);
  }

  replaced({ from, end }: { from: number; end: number }): void {
    this.ordered = [];
    this.replacing = [];
    this.beginsAt = from;
    this.durable = new Set(Array.from({ length: end - from }, (_, i) => from + i));
  }

  compare(records: readonly string[], name: string): void {
    const numbers = records.map(Number);
    numbers.forEach((number, i) => {
      assert.ok(i === 0 || number > numbers[i - 1]!, `${name}: ${numbers[i - 1]} before ${number}`);
      assert.ok(this.begun.has(number), `${name}: ${number} was appended`);
      assert.ok(number >= this.beginsAt, `${name}: ${number} was replaced for good`);
    });
    const found = new Set(numbers);
    const missing = [...this.durable].filter((number) => !found.has(number));
    // Of a replacement all or nothing counts.
    const ways = [0, ...this.replacing].map((from) => {
      return [...this.durable].filter((number) => number < from);
    });
    assert.ok(
      ways.some((way) => way.join() === missing.join()),
      `${name}: acknowledged records that are not there: ${missing.join(', ')}`,
    );
  }
}

/** Of one client, over as many daemons as it worked with. */
export class Expectation {
  /** Length of every mblock whose commit was begun. */
  readonly begun = new Map<string, number>();
  readonly committed = new Set<string>();
  readonly deleting = new Set<string>();
  readonly deleted = new Set<string>();
  readonly groups: string[][] = [];
  readonly logs = { mlog: new LogExpectation(), mdc: new LogExpectation() };
  /** Of things told, but losses: a client that gets nothing done but lose gets nothing done. */
  count = 0;
  acknowledged = 0;
  lost = 0;

  take(told: Told): void {
    if (told.what !== 'lost') this.count += 1;
    if (told.what === 'lost') {
      this.lost += 1;
      if (told.log !== 'mblocks') this.logs[told.log].ordered = [];
    } else if ('log' in told) this.#takeOfLog(told);
    else this.#takeOfMblocks(told);
  }

  #takeOfMblocks(told: Exclude<Told, { log: unknown }>): void {
    if (told.what === 'commit') {
      for (const id of told.ids) this.begun.set(id, told.lengthBytes);
      this.groups.push(told.ids);
    } else if (told.what === 'committed') {
      for (const id of told.ids) this.committed.add(id);
      this.acknowledged += 1;
    } else if (told.what === 'delete') this.deleting.add(told.id);
    else this.deleted.add(told.id);
  }

  #takeOfLog(told: Exclude<Extract<Told, { log: LogName }>, { what: 'lost' }>): void {
    const log = this.logs[told.log];
    if (told.what === 'opened') log.ids = told.ids;
    else if (told.what === 'append') log.begun.add(told.number);
    else if (told.what === 'replace') log.replacing.push(told.from);
    else if (told.what === 'replaced') log.replaced(told);
    else {
      if (told.what !== 'flushed') log.ordered.push(told.number);
      if (told.what === 'ordered') return;
      log.flushed();
      this.acknowledged += 1;
    }
  }
}

/** All that is in the pool is what these clients left there, byte for byte; and `others`, of that length. */
export async function comparePool(
  pool: Pool,
  expectations: readonly Expectation[],
  others: ReadonlyMap<string, number> = new Map(),
): Promise<void> {
  const found = new Map<string, number>();
  for await (const { id, writtenBytes } of pool.mblocks.list()) found.set(String(id), writtenBytes);
  const known = new Map(others);
  for (const { begun } of expectations) for (const entry of begun) known.set(...entry);
  for (const [id, lengthBytes] of found) {
    assert.equal(lengthBytes, known.get(id), `mblock ${id} is known, with its length`);
    const bytes = await pool.mblocks.read(BigInt(id) as MblockId, 0, lengthBytes);
    assert.equal(Buffer.compare(bytes, contentOf(BigInt(id), lengthBytes)), 0, `bytes of ${id}`);
  }
  for (const id of others.keys()) assert.ok(found.has(id), `mblock ${id} is nobody else's`);
  for (const expected of expectations) {
    compareMblocks(found, expected);
    await compareLogs(pool, expected);
  }
}

function compareMblocks(found: ReadonlyMap<string, number>, expected: Expectation): void {
  const { committed, deleting, deleted, groups } = expected;
  for (const id of committed) {
    if (!deleting.has(id)) assert.ok(found.has(id), `mblock ${id} was acknowledged`);
  }
  for (const id of deleted) assert.ok(!found.has(id), `mblock ${id} stays deleted`);
  for (const ids of groups) {
    if (ids.some((id) => deleting.has(id))) continue;
    const there = ids.filter((id) => found.has(id)).length;
    assert.ok(there === 0 || there === ids.length, `mblocks ${ids.join(', ')} are all or none`);
  }
}

async function compareLogs(pool: Pool, { logs }: Expectation): Promise<void> {
  const [id] = logs.mlog.ids.map((digits) => BigInt(digits) as MlogId);
  if (id !== undefined) {
    await using mlog = await pool.mlogs.open(id);
    logs.mlog.compare(await textsOf(mlog), `mlog ${id}`);
  }
  const [logA, logB] = logs.mdc.ids.map((digits) => BigInt(digits) as MlogId);
  if (logA === undefined || logB === undefined) return;
  await using mdc = await pool.mdcs.open({ logA, logB });
  logs.mdc.compare(await textsOf(mdc), `MDC ${logA}`);
}

async function textsOf(log: { records(): AsyncIterable<Uint8Array> }): Promise<string[]> {
  const all: string[] = [];
  // The number; the rest makes the records different in length.
  for await (const record of log.records()) all.push(Buffer.from(record).toString().split(' ')[0]!);
  return all;
}
