// Goal: the object table is a map from ids to fields that never mixes rows up, whatever comes and goes.
// Method: random commands against a Map, a long seeded run over the hash, and the edges by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { InvariantError } from '../../src/base/assert.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { ObjectTable } from '../../src/pool/object-table.ts';
import type { ObjectFields } from '../../src/pool/object-table.ts';

const FIELDS: ObjectFields = {
  mediaClass: 1,
  role: 0,
  pageAddress: 8192,
  pageCount: 256,
  lengthBytes: 5,
  digest: 7,
};

function insertId(table: ObjectTable, id: bigint, fields: ObjectFields = FIELDS): number {
  return table.insert(Number(id >> 32n), Number(id & 0xffffffffn), fields);
}

function fieldsAt(table: ObjectTable, index: number): ObjectFields {
  return {
    mediaClass: table.mediaClass(index),
    role: table.role(index),
    pageAddress: table.pageAddress(index),
    pageCount: table.pageCount(index),
    lengthBytes: table.lengthBytes(index),
    digest: table.digest(index),
  };
}

function allIds(table: ObjectTable, slot?: number, batchSize?: number): bigint[] {
  const options = {
    ...(slot === undefined ? {} : { slot }),
    ...(batchSize === undefined ? {} : { batchSize }),
  };
  return [...table.idBatches(options)].flatMap((batch) => [...batch]);
}

function ascending(ids: Iterable<bigint>): bigint[] {
  return [...BigUint64Array.from(ids).toSorted()];
}

interface Row extends ObjectFields {
  index: number;
  references: number;
}

const u32 = fc.nat(0xffffffff);
const anyId = fc.oneof(fc.bigInt(0n, 40n), fc.bigInt(0n, 2n ** 64n - 1n));
const anyFields: fc.Arbitrary<ObjectFields> = fc.record({
  mediaClass: fc.nat(1),
  role: fc.nat(2),
  pageAddress: fc.nat(2 ** 48 - 1),
  pageCount: u32,
  lengthBytes: u32,
  digest: u32,
});
const anyCommand = fc.oneof(
  fc.record({ kind: fc.constant('insert' as const), id: anyId, fields: anyFields }),
  fc.record({ kind: fc.constant('delete' as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant('remove' as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant('ref' as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant('unref' as const), pick: fc.nat() }),
);
type Command = typeof anyCommand extends fc.Arbitrary<infer T> ? T : never;

/** Rows by id, and those that are deleted but referenced. */
interface Model {
  live: Map<bigint, Row>;
  deleted: Map<bigint, Row>;
}

function pickOf(rows: Map<bigint, Row>, pick: number): [bigint, Row] | undefined {
  return [...rows][pick % Math.max(1, rows.size)];
}

function run(command: Command, table: ObjectTable, { live, deleted }: Model): void {
  if (command.kind === 'insert') {
    if (deleted.has(command.id)) return;
    const index = insertId(table, command.id, command.fields);
    assert.equal(index === -1, live.has(command.id));
    if (index >= 0) live.set(command.id, { ...command.fields, index, references: 0 });
    return;
  }
  const every = new Map([...live, ...deleted]);
  const chosen = pickOf(command.kind.endsWith('ref') ? every : live, command.pick);
  if (chosen === undefined) return;
  const [id, row] = chosen;
  if (command.kind === 'ref') {
    table.ref(row.index);
    row.references++;
  } else if (command.kind === 'unref' && row.references > 0) {
    const last = --row.references === 0 && deleted.has(id);
    assert.equal(table.unref(row.index), last);
    if (last) {
      table.remove(row.index);
      deleted.delete(id);
    }
  } else if (command.kind === 'delete') {
    assert.equal(table.markDeleted(row.index), row.references === 0);
    live.delete(id);
    if (row.references === 0) table.remove(row.index);
    else deleted.set(id, row);
  } else if (command.kind === 'remove' && row.references === 0) {
    table.remove(row.index);
    live.delete(id);
  }
}

function check(table: ObjectTable, { live, deleted }: Model): void {
  assert.equal(table.count, live.size);
  assert.equal(table.deletedCount, deleted.size);
  for (const [id, row] of [...live, ...deleted]) {
    const { index, references, ...fields } = row;
    assert.equal(table.findId(id), live.has(id) ? index : -1);
    assert.equal(table.idAt(index), id);
    assert.deepEqual(fieldsAt(table, index), fields);
    assert.equal(table.references(index), references);
    assert.equal(table.isDeleted(index), deleted.has(id));
  }
  const visited: bigint[] = [];
  for (let i = table.next(-1); i >= 0; i = table.next(i)) visited.push(table.idAt(i));
  assert.deepEqual(ascending(visited), ascending(live.keys()));
  const owners: bigint[] = [];
  for (let i = table.nextOwner(-1); i >= 0; i = table.nextOwner(i)) owners.push(table.idAt(i));
  assert.deepEqual(ascending(owners), ascending([...live.keys(), ...deleted.keys()]));
  assert.deepEqual(allIds(table), ascending(live.keys()));
}

test('any commands leave the table as a Map says', () => {
  fc.assert(
    fc.property(fc.array(anyCommand, { maxLength: 80 }), (commands) => {
      const table = new ObjectTable();
      const model: Model = { live: new Map(), deleted: new Map() };
      for (const each of commands) {
        run(each, table, model);
        check(table, model);
      }
    }),
    { numRuns: 150 },
  );
});

test('the hash survives a long life of inserts and removals', (t) => {
  const seed = 20_260_101;
  t.diagnostic(`seed ${seed}`);
  const prng = new SeededPrng(seed);
  const table = new ObjectTable();
  const live = new Map<bigint, number>();
  const ids: bigint[] = [];
  for (let i = 0; i < 60_000; i++) {
    // The first 30,000 steps mostly grow, the rest mostly shrink.
    if (ids.length === 0 || below(prng, 10) < 7 === i < 30_000) {
      const id = (BigInt(i + 1) << 12n) | BigInt(0x100 + below(prng, 4));
      live.set(id, insertId(table, id, { ...FIELDS, digest: i }));
      ids.push(id);
    } else {
      const at = below(prng, ids.length);
      const id = ids[at]!;
      ids[at] = ids.at(-1)!;
      ids.pop();
      table.remove(live.get(id)!);
      live.delete(id);
      assert.equal(table.findId(id), -1);
    }
  }
  assert.equal(table.count, live.size);
  for (const [id, index] of live) assert.equal(table.findId(id), index);
});

test('a reused row is not taken for the object that had it before', () => {
  const table = new ObjectTable();
  const first = table.insert(0, 0x1101, FIELDS);
  assert.ok(table.holds(first, 0, 0x1101));
  table.remove(first);
  assert.equal(table.holds(first, 0, 0x1101), false);
  assert.equal(table.insert(0, 0x2101, FIELDS), first, 'the row is reused');
  assert.equal(table.holds(first, 0, 0x1101), false);
  assert.ok(table.holds(first, 0, 0x2101));
  assert.equal(table.holds(-1, 0, 0), false);
  assert.equal(table.holds(5, 0, 0), false);
});

test('the last reader of a deleted object learns that it was the last', () => {
  const table = new ObjectTable();
  const index = table.insert(1, 2, FIELDS);
  table.ref(index);
  table.ref(index);
  assert.equal(table.unref(index), false, 'it is not deleted');
  assert.equal(table.markDeleted(index), false, 'it is referenced');
  assert.equal(table.find(1, 2), -1);
  assert.throws(() => table.remove(index), InvariantError);
  assert.equal(table.unref(index), true);
  table.remove(index);
  assert.throws(() => table.unref(index), InvariantError);
  assert.throws(() => table.remove(index), InvariantError);
});

test('bad is remembered until the row is another’s', () => {
  const table = new ObjectTable();
  const index = table.insert(1, 2, FIELDS);
  assert.equal(table.isBad(index), false);
  table.markBad(index);
  assert.equal(table.isBad(index), true);
  assert.deepEqual(fieldsAt(table, index), FIELDS);
  table.remove(index);
  table.insert(1, 3, FIELDS);
  assert.equal(table.isBad(index), false);
});

test('values at their limits are kept; an address beyond 48 bits is a bug', () => {
  const table = new ObjectTable();
  const most: ObjectFields = {
    mediaClass: 1,
    role: 2,
    pageAddress: 2 ** 48 - 1,
    pageCount: 0xffffffff,
    lengthBytes: 0xffffffff,
    digest: 0xffffffff,
  };
  const index = insertId(table, 2n ** 64n - 1n, most);
  assert.deepEqual(fieldsAt(table, index), most);
  assert.equal(table.idAt(index), 2n ** 64n - 1n);
  assert.throws(() => table.insert(0, 1, { ...most, pageAddress: 2 ** 48 }), InvariantError);
  assert.throws(() => table.insert(0, 1, { ...most, role: 3 }), InvariantError);
});

test('ids are listed in order across steps, by slot or all, within 48 bytes an object', () => {
  const table = new ObjectTable();
  const count = 200_000;
  const expected: bigint[] = [];
  for (let i = 0; i < count; i++) {
    // A stride that is coprime to the count: insertion order is far from id order.
    const uniquifier = ((i * 7919) % count) + 2 ** 31;
    const low = (uniquifier % 2 ** 20) * 4096 + 0x100 + (uniquifier % 3);
    const high = Math.floor(uniquifier / 2 ** 20);
    const index = table.insert(high, low, FIELDS);
    if (uniquifier % 3 === 1) expected.push(table.idAt(index));
  }
  assert.deepEqual(allIds(table, 1, 1000), ascending(expected));
  assert.deepEqual(allIds(table, 9), []);
  const all = allIds(table);
  assert.equal(all.length, count);
  assert.deepEqual(all, ascending(all));
  assert.ok(table.bytes / count <= 48, `${table.bytes / count} bytes an object`);
});
