// Goal: MDC 1 moves, compacts and recovers all or nothing, hands out no id twice, and refuses records that
// contradict each other.
// Method: catalogs with logs of a few pages, power cuts at every operation, and hand-written records.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { DeviceDescriptor } from '../../src/format/device-descriptor.ts';
import { makeObjectId } from '../../src/format/object-id.ts';
import {
  blankObjectRecord,
  encodeDeletionRecord,
  encodeIdCheckpoint,
  encodeObjectRecord,
  type ObjectRecord,
} from '../../src/format/records.ts';
import { Catalog, newIdHalves } from '../../src/pool/catalog.ts';
import { logPlace } from '../../src/pool/log-place.ts';
import { Media } from '../../src/pool/media.ts';
import { PARAMETER_DEFAULTS, toProperties } from '../../src/pool/parameters.ts';
import { PoolRecords } from '../../src/pool/pool-records.ts';
import { Witnesses } from '../../src/pool/witnesses.ts';
import { survivorPolicies, sweepCrashes, type SimHost } from '../../src/testing/index.ts';
import { DISK, logHost } from '../crash/log-rig.ts';
import { tallySweep } from '../tally.ts';

const UUID = new Uint8Array(16).fill(3);
const ZONE_PAGES = 256;
const POLICIES = Number(process.env['SIM_POLICIES'] ?? 4);

interface Opened {
  media: Media;
  catalog: Catalog;
}

function mediaOn(device: Parameters<typeof logPlace>[0], sectorBytes: number): Media {
  const descriptor: DeviceDescriptor = {
    uuid: new Uint8Array(16).fill(4),
    mediaClass: 'capacity',
    kind: 'block',
    sectorBytes,
    zonePages: ZONE_PAGES,
    sizeBytes: 8 * ZONE_PAGES * PAGE_BYTES,
    zoneCount: 8,
  };
  return new Media(descriptor, device, 0, null);
}

const EXTENT_0A = { pageAddress: 32, pageCount: 4 };
const EXTENT_0B = { pageAddress: 36, pageCount: 4 };
const FIRST = {
  slot: 1,
  logA: { pageAddress: 40, pageCount: 4 },
  logB: { pageAddress: 44, pageCount: 4 },
};

async function mdc0(media: Media, witnesses: Witnesses) {
  const place = (extent: typeof EXTENT_0A, n: number) =>
    logPlace(
      media.device,
      extent,
      UUID,
      { low: 0x200 + n * 4096, high: 0 },
      media.descriptor.sectorBytes,
      witnesses.mdc1,
    );
  for (const extent of [EXTENT_0A, EXTENT_0B]) assert.ok(media.space.markUsed(extent));
  return [place(EXTENT_0A, 0), place(EXTENT_0B, 1)] as const;
}

async function create(host: SimHost): Promise<Opened> {
  const device = await host.openDevice(DISK, { access: 'write' });
  const media = mediaOn(device, device.sectorBytes);
  const rootMdc = { logA: makeObjectId(1, 2, 1), logB: makeObjectId(2, 2, 1) };
  const properties = toProperties(PARAMETER_DEFAULTS, rootMdc);
  const witnesses = new Witnesses();
  const places = await mdc0(media, witnesses);
  for (const extent of [FIRST.logA, FIRST.logB]) assert.ok(media.space.markUsed(extent));
  const records = await PoolRecords.create(
    places,
    media.gate,
    host.prng,
    properties,
    FIRST,
    witnesses.mdc0,
  );
  const own = Catalog.places(media, UUID, FIRST, witnesses);
  const catalog = await Catalog.create(own, media, host.prng, records, witnesses);
  await media.gate.flush();
  return { media, catalog };
}

async function open(host: SimHost): Promise<Opened> {
  const device = await host.openDevice(DISK, { access: 'write' });
  const media = mediaOn(device, device.sectorBytes);
  const witnesses = new Witnesses();
  const zero = await mdc0(media, witnesses);
  const records = await PoolRecords.open(zero, media.gate, host.prng, false, witnesses.mdc0);
  const [mdc] = records.mdcs;
  for (const extent of [mdc!.logA, mdc!.logB]) assert.ok(media.space.markUsed(extent));
  const places = Catalog.places(media, UUID, mdc!, witnesses);
  const catalog = await Catalog.open(places, media, host.prng, false, records, witnesses);
  return { media, catalog };
}

async function close({ media, catalog }: Opened): Promise<void> {
  await catalog.log.close();
  await media.device.close();
}

function recordOf(uniquifier: number): ObjectRecord {
  const { low, high } = newIdHalves(uniquifier, 1);
  return {
    ...blankObjectRecord(),
    mediaClass: 1,
    idLow: low,
    idHigh: high,
    pageAddress: 3 * ZONE_PAGES,
    pageCount: ZONE_PAGES,
    lengthBytes: uniquifier,
  };
}

interface Model {
  handedOut: Set<number>;
  there: Map<number, 'yes' | 'maybe'>;
  groups: number[][];
}

async function commit(catalog: Catalog, model: Model, count: number): Promise<void> {
  const made: number[] = [];
  for (let i = 0; i < count; i++) {
    const uniquifier = await catalog.newUniquifier();
    assert.ok(!model.handedOut.has(uniquifier), `I5: ${uniquifier} was handed out before`);
    model.handedOut.add(uniquifier);
    made.push(uniquifier);
  }
  model.groups.push(made);
  for (const each of made) model.there.set(each, 'maybe');
  await catalog.commit(made.map(recordOf));
  for (const each of made) model.there.set(each, 'yes');
}

async function remove(catalog: Catalog, model: Model, uniquifiers: number[]): Promise<void> {
  const indices = uniquifiers.map((each) => {
    const { low, high } = newIdHalves(each, 1);
    return catalog.table.find(high, low);
  });
  model.groups.push(uniquifiers);
  for (const each of uniquifiers) model.there.set(each, 'maybe');
  await catalog.delete(indices, (index) => {
    catalog.table.markDeleted(index);
    catalog.table.remove(index);
  });
  for (const each of uniquifiers) model.there.delete(each);
}

function judge(catalog: Catalog, model: Model): void {
  const { table } = catalog;
  const found = new Set<number>();
  for (let index = table.next(-1); index >= 0; index = table.next(index)) {
    const uniquifier = table.lengthBytes(index);
    assert.ok(model.there.has(uniquifier), `${uniquifier} is there and should not`);
    found.add(uniquifier);
  }
  for (const [uniquifier, there] of model.there) {
    assert.ok(there === 'maybe' || found.has(uniquifier), `${uniquifier} is gone`);
  }
  for (const group of model.groups) {
    if (!group.every((each) => model.there.get(each) === 'maybe')) continue;
    const count = group.filter((each) => found.has(each)).length;
    assert.ok(count === 0 || count === group.length, `${count} of a group of ${group.length}`);
  }
}

for (const sectorBytes of [512, 4096] as const) {
  test(`a catalog that fills, compacts and moves, sectors of ${sectorBytes}`, async (t) => {
    let prepared: Model;
    let moves = 0;
    const result = await sweepCrashes<Model>({
      seed: 3,
      policies: (volatile, seed) => survivorPolicies(volatile, { limit: POLICIES, seed }),
      async prepare() {
        prepared = { handedOut: new Set(), there: new Map(), groups: [] };
        const host = logHost({ sectorBytes });
        const opened = await create(host);
        // All that lives hardly fits: the next commits move it to larger logs.
        for (let i = 0; i < 11; i++) await commit(opened.catalog, prepared, 13);
        await close(opened);
        return host;
      },
      context: () => ({
        handedOut: new Set(prepared.handedOut),
        there: new Map(prepared.there),
        groups: [],
      }),
      async scenario(host, model) {
        const opened = await open(host);
        const { catalog } = opened;
        const before = catalog.log.pair.places[0].extent.pageCount;
        await Promise.all([1, 7, 3, 5].map((count) => commit(catalog, model, count)));
        await remove(catalog, model, [...model.there.keys()].slice(0, 30));
        await Promise.all([catalog.log.compact(), commit(catalog, model, 2)]);
        await commit(catalog, model, 4);
        if (catalog.log.pair.places[0].extent.pageCount > before) moves += 1;
        await close(opened);
      },
      async verify(image, model) {
        const opened = await open(image);
        judge(opened.catalog, model);
        const copy = { ...model, handedOut: new Set(model.handedOut), there: new Map(model.there) };
        await commit(opened.catalog, copy, 3);
        await opened.catalog.log.compact();
        await close(opened);
        const again = await open(image);
        judge(again.catalog, copy);
        await close(again);
        assert.equal(image.liveBufferCount, 0);
      },
    });
    tallySweep(result);
    t.diagnostic(`${result.operations} operations, ${result.images} images`);
    assert.ok(moves >= 1, 'the whole run moved it');
  });
}

test('the old logs are free after a move, and not before', async () => {
  const host = logHost();
  const { media, catalog } = await create(host);
  const model: Model = { handedOut: new Set(), there: new Map(), groups: [] };
  const isFree = (): boolean => {
    const free = media.space.markUsed(FIRST.logA);
    if (free) media.space.free(FIRST.logA);
    return free;
  };
  for (let i = 0; i < 11; i++) await commit(catalog, model, 13);
  // MDC 0's record names the new logs: while it is under way the old ones count.
  const held = host.addFault({
    op: 'write',
    range: { offsetBytes: EXTENT_0A.pageAddress * PAGE_BYTES, lengthBytes: 4 * PAGE_BYTES },
    effect: { kind: 'hold' },
  });
  const moving = commit(catalog, model, 16);
  await host.clock.advance(20);
  assert.equal(held.hits, 1, 'the record is under way');
  assert.equal(isFree(), false);
  held.release();
  await moving;
  assert.equal(isFree(), true);
});

test('a move that fails before its record gives the new space back, when nothing writes to it', async () => {
  const host = logHost();
  const { media, catalog } = await create(host);
  const model: Model = { handedOut: new Set(), there: new Map(), groups: [] };
  for (let i = 0; i < 11; i++) await commit(catalog, model, 13);
  const { usedPages } = media.space.usage();
  host.addFault({
    op: 'write',
    range: { offsetBytes: 48 * PAGE_BYTES, lengthBytes: 16 * PAGE_BYTES },
    effect: { kind: 'error' },
  });
  await assert.rejects(commit(catalog, model, 16));
  assert.equal(media.space.usage().usedPages, usedPages);
  assert.equal(host.inFlightCount, 0);
  await commit(catalog, model, 16);
  assert.ok(media.space.usage().usedPages > usedPages, 'and the next one succeeds');
});

test('records that contradict each other are corruption, unknown ones of a newer version', async () => {
  const object = encodeObjectRecord(recordOf(9));
  const { low, high } = newIdHalves(8, 1);
  const cases: [string, Uint8Array[], code?: string][] = [
    ['an object twice', [object, object]],
    ['the deletion of nothing', [encodeDeletionRecord(low, high)]],
    ['a checkpoint that goes back', [encodeIdCheckpoint(9000), encodeIdCheckpoint(8000)]],
    ['a checkpoint below an object', [object, encodeIdCheckpoint(5)]],
    ['an unknown record', [Uint8Array.of(99, 1, 0, 0)], 'ERR_MPOOL_VERSION'],
    ['half a record', [object.subarray(0, 20)]],
    [
      'an unknown version',
      [Uint8Array.from(object, (byte, i) => (i === 1 ? 9 : byte))],
      'ERR_MPOOL_VERSION',
    ],
    ['an object of another MDC', [encodeObjectRecord({ ...recordOf(9), idLow: 0x9102 })]],
  ];
  for (const [name, records, code = 'ERR_MPOOL_CORRUPT'] of cases) {
    const host = logHost();
    const { media, catalog } = await create(host);
    for (const record of records) void catalog.log.pair.active.append(record);
    await catalog.log.pair.active.close();
    await media.device.close();
    await assert.rejects(open(host), { code }, name);
  }
});
