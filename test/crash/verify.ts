// Looks at what a crash left, as a user of the pool would, and compares it with the model. The numbers are
// those of the invariants: I1 recovery, I2 content, I3 uncommitted, I4 owners, I5 ids, I6 logs, I8 read-only,
// I13 delete, I14 counters, I16 all or nothing.
import assert from 'node:assert/strict';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { checkPool } from '../../src/pool/check.ts';
import { mdcOf } from '../../src/pool/mdcs.ts';
import type { MlogId } from '../../src/format/object-id.ts';
import type { SimHost } from '../../src/testing/index.ts';
import type { PoolModel } from './model.ts';
import { CAPACITY, FILE, isRefusal, Rig, STAGING } from './rig.ts';

/** All that a pool holds. */
export interface Found {
  name: string;
  label: string;
  sizeBytes: number;
  staging: boolean;
  mblocks: Map<bigint, Uint8Array>;
  logs: Map<bigint, Uint8Array[]>;
}

/** Of pools with very many logs, those that hold something are opened, and a few others. */
const LOGS_MANY = 100;
const LOGS_SAMPLED_EVERY = 60n;

export async function look(rig: Rig): Promise<Found> {
  const { pool, model } = rig;
  const many = rig.store.table.count > LOGS_MANY;
  const info = await pool.info();
  const found: Found = {
    name: info.name,
    label: info.parameters.label,
    sizeBytes: info.devices[0]!.sizeBytes,
    staging: info.devices.length === 2,
    mblocks: new Map(),
    logs: new Map(),
  };
  for await (const { id, writtenBytes } of pool.mblocks.list()) {
    found.mblocks.set(id, await pool.mblocks.read(id, 0, writtenBytes));
  }
  const recordsOf = async (id: bigint, isMdc: boolean): Promise<void> => {
    const logA = id as MlogId;
    const isEmpty = model.logs.get(id)?.records.length === 0;
    if (many && isEmpty && (id >> 12n) % LOGS_SAMPLED_EVERY !== 0n) {
      found.logs.set(id, []);
      return;
    }
    const log = isMdc ? await pool.mdcs.open(mdcOf(logA)) : await pool.mlogs.open(logA);
    const records: Uint8Array[] = [];
    for await (const record of log.records()) records.push(record);
    found.logs.set(id, records);
    await log.close();
  };
  for await (const { id } of pool.mlogs.list()) await recordsOf(id, false);
  for await (const { id } of pool.mdcs.list()) await recordsOf(id.logA, true);
  await checkUsage(rig);
  const alarms = rig.store.health.problems.filter(({ kind }) => kind === 'lost-writes');
  assert.deepEqual(alarms, [], 'no device lost anything');
  return found;
}

/** I4 and I14: the counters agree with each other and with a recount. */
export async function checkUsage({ pool, store }: Rig): Promise<void> {
  for (const media of store.allMedia) {
    const usage = await pool.usage(media.mediaClass);
    const what = `usage of ${media.mediaClass}`;
    const { totalBytes, usedBytes, freeUsableBytes, freeSpareBytes } = usage;
    assert.equal(usedBytes + freeUsableBytes + freeSpareBytes, totalBytes, `I4: ${what}`);
    assert.equal(totalBytes + usage.reservedBytes, media.descriptor.sizeBytes, `I4: ${what}`);
    let mblockBytes = 0;
    let mblockCount = 0;
    for await (const mblock of pool.mblocks.list({ mediaClass: media.mediaClass })) {
      mblockBytes += mblock.allocatedBytes;
      mblockCount += 1;
    }
    let logBytes = 0;
    for await (const log of pool.mlogs.list({ mediaClass: media.mediaClass })) {
      logBytes += log.allocatedBytes;
    }
    for await (const mdc of pool.mdcs.list()) {
      if (mdc.mediaClass === media.mediaClass) logBytes += mdc.allocatedBytes;
    }
    assert.equal(usage.mblockCount, mblockCount, `I14: ${what}`);
    assert.equal(usage.mblockAllocatedBytes, mblockBytes, `I14: ${what}`);
    assert.equal(usage.mlogAllocatedBytes, logBytes, `I14: ${what}`);
    const owned = mblockBytes + logBytes + usage.metadataBytes;
    assert.equal(usedBytes, owned, `I3, I4: ${what}: used is what objects and metadata own`);
  }
}

/** What was found is what may be there. */
export function judge(model: PoolModel, found: Found): void {
  assert.ok(
    model.names.includes(found.name),
    `I16: name ${found.name}, not of ${model.names.join()}`,
  );
  assert.ok(
    model.labels.includes(found.label),
    `I16: label ${found.label}, not of ${model.labels.join()}`,
  );
  if (model.sizes.length > 0) {
    assert.ok(model.sizes.includes(found.sizeBytes), `I16: size ${found.sizeBytes}`);
  }
  if (model.staging !== 'maybe')
    assert.equal(found.staging, model.staging === 'yes', 'I16: staging');
  const there = (id: bigint): boolean => found.mblocks.has(id) || found.logs.has(id);
  for (const [id, object] of model.objects) {
    const name = `${object.kind} 0x${id.toString(16)}`;
    if (object.there === 'yes') assert.ok(there(id), `I1: ${name} was acknowledged and is gone`);
    if (!there(id)) continue;
    if (object.kind === 'mblock') {
      const bytes = found.mblocks.get(id);
      assert.ok(bytes !== undefined, `${name} is a log`);
      assert.equal(Buffer.compare(bytes, object.bytes!), 0, `I2: other bytes in ${name}`);
    } else {
      const problem = model.logs.get(id)!.problem(found.logs.get(id)!);
      assert.equal(problem, undefined, `I6: ${name}: ${problem}`);
    }
  }
  for (const id of [...found.mblocks.keys(), ...found.logs.keys()]) {
    assert.ok(model.objects.has(id), `I3: 0x${id.toString(16)} was not committed, or was deleted`);
  }
  for (const { ids } of model.groups) {
    const count = ids.filter(there).length;
    assert.ok(count === 0 || count === ids.length, `I16: ${count} of ${ids.length} of a group`);
  }
}

function settle(model: PoolModel, found: Found): void {
  model.settle(new Set([...found.mblocks.keys(), ...found.logs.keys()]));
  for (const [id, records] of found.logs) model.logs.get(id)!.settle(records);
  model.names = [found.name];
  model.labels = [found.label];
  model.sizes = [found.sizeBytes];
  model.staging = found.staging ? 'yes' : 'no';
}

export interface VerifyOptions {
  /** Also goes on using the pool, and reads it twice more: the most telling and the dearest part. */
  goOn?: boolean;
}

/** Verifies an image; what it holds becomes what the model says. */
export async function verifyPool(
  image: SimHost,
  model: PoolModel,
  options: VerifyOptions = {},
): Promise<void> {
  const before = image.operationCount;
  const readOnly = await lookOnce(image, model, { readOnly: true });
  assert.equal(image.operationCount, before, 'I8: a read-only open writes nothing');
  judge(model, readOnly);
  const rig = await Rig.open(image, model);
  const found = await look(rig);
  assert.deepEqual(found, readOnly, 'I1: read-only and read-write find the same');
  settle(model, found);
  if (options.goOn !== false) await goOn(rig);
  await closeClean(rig);
  await checkClean(image, found.staging);
  if (options.goOn === false) return;
  const again = await lookOnce(image, model, {});
  judge(model, again);
}

/** As verifyPool(), in one look; the pool is closed again. */
export async function settleOn(image: SimHost, model: PoolModel): Promise<void> {
  const rig = await Rig.open(image, model);
  const found = await look(rig);
  judge(model, found);
  settle(model, found);
  await closeClean(rig);
}

async function lookOnce(
  host: SimHost,
  model: PoolModel,
  options: { readOnly?: boolean },
): Promise<Found> {
  const rig = await Rig.open(host, model, options);
  const found = await look(rig);
  await closeClean(rig);
  return found;
}

export async function closeClean(rig: Rig): Promise<void> {
  await rig.close();
  assert.equal(rig.host.inFlightCount, 0, 'nothing is in flight after close');
  assert.equal(rig.host.liveBufferCount, 0, 'every buffer is given back at close');
}

const LOGS_USED_MAX = 6;

/** The pool is not only right: it works. */
async function goOn(rig: Rig): Promise<void> {
  const { model } = rig;
  const { freeUsableBytes } = await rig.pool.usage('capacity');
  const zoneBytes = rig.store.capacity.mblockPages * PAGE_BYTES;
  const [mblock] = model.idsOf('mblock');
  if (freeUsableBytes >= 2 * zoneBytes) await rig.mblocks([3 * PAGE_BYTES + 5]);
  for (const [id, log] of [...model.logs].slice(0, LOGS_USED_MAX)) {
    const record = `after the crash ${log.records.length}`;
    await rig.append(id, record, true).catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
    });
    await rig.closeLog(id);
  }
  // I13: works when the pool is full.
  if (mblock !== undefined) await rig.deleteMblocks([mblock]);
  await rig.setLabel('after');
  judge(model, await look(rig));
}

/** The independent checker finds nothing at all wrong with a pool that was closed. */
export async function checkClean(host: SimHost, staging: boolean): Promise<void> {
  const path = host.paths.includes(CAPACITY) ? CAPACITY : FILE;
  const capacity = await host.openDevice(path, { access: 'read' });
  const second = staging ? await host.openDevice(STAGING, { access: 'read' }) : undefined;
  const report = await checkPool({ capacity, staging: second }, { data: true, clock: host.clock });
  await capacity.close();
  await second?.close();
  const bad = report.findings.filter(({ severity }) => severity !== 'note');
  assert.deepEqual(bad, [], 'the checker finds nothing');
  assert.equal(host.liveBufferCount, 0, 'the checker gives every buffer back');
}
