// Goal: devices that lie or rot give right data or a typed error, never wrong bytes; damage to what was
// acknowledged is never taken for the end of a log.
// Method: a lie at each place of a tour; a flipped bit, a zeroed and a stale sector in each sector of a small
// pool. After that everything readable is compared with what it ever was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { mdcOf } from '../../src/pool/mdcs.ts';
import type { MlogId } from '../../src/format/object-id.ts';
import type { FaultRule, SimHost } from '../../src/testing/index.ts';
import type { PoolModel } from './model.ts';
import { CAPACITY, Rig } from './rig.ts';
import { newPool, SEED } from './sweep.ts';
import { prepareTour, tour } from './tour.ts';
import { closeClean } from './verify.ts';

const EVERY = Number(process.env['SIM_EVERY'] ?? 2);

interface Sight {
  /** The pool did not open. */
  refused: number;
  /** Objects that gave an error. */
  errors: number;
  /** Objects that are as they should be. */
  right: number;
  /** As they were once, or not there: what a lie about the last write of all can bring about. */
  outdated: number;
}

function assertTyped(error: unknown): void {
  if (!isMpoolError(error)) throw error;
}

/** Compares all that can be read with all that ever was. @throws on anything else */
async function see(host: SimHost, model: PoolModel, readOnly: boolean): Promise<Sight> {
  const sight: Sight = { refused: 0, errors: 0, right: 0, outdated: 0 };
  let rig: Rig;
  try {
    rig = await Rig.open(host, model, { readOnly });
  } catch (error) {
    assertTyped(error);
    assert.equal(host.liveBufferCount, 0, 'a refused activation gives all memory back');
    return { ...sight, refused: 1 };
  }
  const ids = new Set<bigint>([...model.objects.keys(), ...model.past.keys()]);
  for await (const { id } of rig.pool.mblocks.list()) assert.ok(ids.has(id), 'no unknown mblock');
  for (const id of ids) {
    try {
      sight[await seeObject(rig, id)] += 1;
    } catch (error) {
      assertTyped(error);
      const gone = isMpoolError(error, 'ERR_MPOOL_NOT_FOUND');
      sight[gone ? (model.objects.has(id) ? 'outdated' : 'right') : 'errors'] += 1;
    }
  }
  const { label } = await rig.pool.parameters();
  const known = model.labels.includes(label) || model.pastLabels.has(label) || label === 'raw';
  assert.ok(known, `no such label: ${label}`);
  if (!model.labels.includes(label)) sight.outdated += 1;
  await rig.close().catch(assertTyped);
  assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
  return sight;
}

async function seeObject(rig: Rig, id: bigint): Promise<'right' | 'outdated'> {
  const { model, pool } = rig;
  const live = model.objects.get(id);
  const content = live ?? model.past.get(id)!.content;
  if (content.kind === 'mblock') {
    const bytes = content.bytes!;
    const mblock = await pool.mblocks.find(id as Parameters<typeof pool.mblocks.find>[0]);
    assert.equal(mblock.writtenBytes, bytes.length, 'I2: another length');
    const found = await mblock.read(0, bytes.length);
    assert.equal(Buffer.compare(found, bytes), 0, 'I2: other bytes');
    return live === undefined ? 'outdated' : 'right';
  }
  const log = model.logs.get(id) ?? model.past.get(id)!.log!;
  const logA = id as MlogId;
  const isMdc = content.kind === 'mdc';
  const handle = isMdc ? await pool.mdcs.open(mdcOf(logA)) : await pool.mlogs.open(logA);
  const records: Uint8Array[] = [];
  for await (const record of handle.records()) records.push(record);
  await handle.close();
  assert.ok(log.everHeld(records), `I6: ${records.length} records that never were`);
  return live !== undefined && log.problem(records) === undefined ? 'right' : 'outdated';
}

function add(total: Sight, sight: Sight): void {
  for (const name of Object.keys(total) as (keyof Sight)[]) total[name] += sight[name];
}

async function prepared(sectorBytes: 512 | 4096): Promise<{ host: SimHost; model: PoolModel }> {
  const { host, model } = await newPool({ sizeBytes: 8 * 2 ** 20 }, sectorBytes);
  const rig = await Rig.open(host, model);
  await prepareTour(rig);
  await closeClean(rig);
  return { host, model };
}

const LIES: [name: string, rule: FaultRule][] = [
  ['a lost write', { op: 'write', effect: { kind: 'lost' } }],
  [
    'a torn write that is acknowledged',
    { op: 'write', effect: { kind: 'torn', acknowledged: true } },
  ],
  ['a misdirected write', { op: 'write', effect: { kind: 'misdirected' } }],
  ['a bit flipped on its way', { op: 'write', effect: { kind: 'flip' } }],
  ['a flush that lies', { op: 'flush', effect: { kind: 'lost' } }],
  ['a misdirected read', { op: 'read', effect: { kind: 'misdirected' } }],
  ['a stale read', { op: 'read', effect: { kind: 'stale' } }],
  ['a bit flipped in a read', { op: 'read', effect: { kind: 'flip' } }],
];

for (const [index, [name, rule]] of LIES.entries()) {
  test(`${name}, at each place of a tour`, async (t) => {
    const { host, model } = await prepared(index % 2 === 0 ? 512 : 4096);
    const total: Sight = { refused: 0, errors: 0, right: 0, outdated: 0 };
    let places = 0;
    for (let nth = 1 + (SEED % EVERY); ; nth += rule.op === 'flush' ? 1 : EVERY) {
      const lying = host.clone();
      const lied = model.clone();
      const fault = lying.addFault({ ...rule, nth });
      try {
        const rig = await Rig.open(lying, lied);
        await tour(rig);
        if (rule.op === 'read') add(total, await seeAfter(rig, lied));
        await rig.close();
      } catch (error) {
        assertTyped(error);
      }
      if (fault.hits === 0) break;
      places += 1;
      lying.clearFaults();
      add(total, await see(lying.clone(), lied, true));
      add(total, await see(lying.crash(), lied, false));
    }
    t.diagnostic(`${places} places: ${JSON.stringify(total)}`);
    assert.ok(places > 5 && total.right > 0, 'it was tried, and something is right');
    if (rule.op === 'write') assert.ok(total.errors + total.refused > 0, 'and something is not');
  });
}

/** What the running pool itself reads. */
async function seeAfter(rig: Rig, model: PoolModel): Promise<Sight> {
  const sight: Sight = { refused: 0, errors: 0, right: 0, outdated: 0 };
  for (const id of model.idsOf('mblock')) {
    try {
      sight[await seeObject(rig, id)] += 1;
    } catch (error) {
      assertTyped(error);
      sight.errors += 1;
    }
  }
  return sight;
}

/** Sectors of the disk that are not zero, and some that are. */
function sectorsToDamage(host: SimHost, prng: SeededPrng): number[] {
  const disk = host.disk(CAPACITY);
  const sectors: number[] = [];
  for (let at = 0; at < disk.sizeBytes; at += 512) {
    const used = disk.bytes(at, 512).some((byte) => byte !== 0);
    if (used || below(prng, 400) === 0) sectors.push(at);
  }
  return sectors;
}

type Damage = (host: SimHost, at: number, prng: SeededPrng) => void;
const DAMAGES: [name: string, damage: Damage][] = [
  [
    'a flipped bit',
    (host, at, prng) => {
      host.disk(CAPACITY).flipBit(at + below(prng, 512), below(prng, 8));
    },
  ],
  [
    'a zeroed sector',
    (host, at) => {
      host.disk(CAPACITY).poke(at, { fill: 0, lengthBytes: 512 });
    },
  ],
  [
    'a sector of another place',
    (host, at) => {
      const disk = host.disk(CAPACITY);
      disk.poke(at, disk.bytes((at + 4096) % (disk.sizeBytes - 512), 512));
    },
  ],
  [
    'an unreadable sector',
    (host, at) => {
      host.disk(CAPACITY).failSectors(at, 512);
    },
  ],
];

for (const [index, [name, damage]] of DAMAGES.entries()) {
  test(`${name}, in each sector of a closed pool: all is right, or says that it is not`, async (t) => {
    const { host, model } = await prepared(index % 2 === 0 ? 512 : 4096);
    const total: Sight = { refused: 0, errors: 0, right: 0, outdated: 0 };
    const prng = new SeededPrng(SEED + index);
    const sectors = sectorsToDamage(host, prng);
    for (const at of sectors) {
      const rotten = host.clone();
      damage(rotten, at, prng);
      const sight = await see(rotten, model.clone(), at % 1024 === 0);
      assert.equal(sight.outdated, 0, `damage at byte ${at} is taken for something else`);
      add(total, sight);
    }
    t.diagnostic(`${sectors.length} sectors: ${JSON.stringify(total)}`);
    assert.ok(total.right > sectors.length && total.errors > 0 && total.refused > 0);
  });
}
