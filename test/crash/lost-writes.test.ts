// Goal: when a device loses what it acknowledged, that is told wherever anything that survived can know it.
// Method: from some step of a script on, a device, or both, only pretend to flush; after some later step the power
//   is cut, and what survives is chosen. Each acknowledged thing is then there; or its loss is told (activation
//   is refused, or health and the object's error say it); or no frame survived that could bear witness of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { viewOf } from '../../src/base/bytes.ts';
import { printObjectId, type MblockId, type MlogId } from '../../src/format/object-id.ts';
import type { Mdc, Mlog } from '../../src/pool/api.ts';
import { mdcOf } from '../../src/pool/mdcs.ts';
import { noneSurvive, randomSurvive, type SimHost } from '../../src/testing/index.ts';
import type { SurvivorPolicy } from '../../src/testing/index.ts';
import { PoolModel } from './model.ts';
import { CAPACITY, contentOf, Rig, STAGING } from './rig.ts';
import { newPool, SEED } from './sweep.ts';
import { closeClean } from './verify.ts';

/** Of all (start, end, devices, survivors) about one in so many is tried; SIM_EVERY=1 tries all. */
const EVERY = Number(process.env['SIM_EVERY'] ?? 12);

/** A frame as it was written. */
interface Written {
  path: string;
  offsetBytes: number;
  bytes: Uint8Array;
  generation: number;
}

/** What was found after the crash. */
interface Sight {
  mblocks: Map<bigint, boolean>;
  /** Generation and records; undefined: it says that something is wrong. */
  logs: Map<bigint, { generation: number; count: number } | undefined>;
  label: number;
  told: Set<string>;
  /** Metadata are told of: whatever is missing may be due to it. */
  toldAll: boolean;
}

interface Acknowledged {
  what: string;
  /** Frames written before it. */
  at: number;
  subject: 'mdc0' | 'mdc1' | 'log';
  /** The object; 0n for the label. */
  id: bigint;
  holds: (sight: Sight, deleted: ReadonlySet<bigint>) => boolean;
}

/** What was done so far, and acknowledged. */
class History {
  readonly written: Written[];
  readonly acknowledged: Acknowledged[];
  readonly deleted: Set<bigint>;
  /** Of log A of each, how many records it holds and where its logs are. */
  readonly logs: Map<bigint, { isMdc: boolean; mediaClass: 'capacity' | 'staging' }>;
  mblocks: Map<bigint, number>;

  constructor(of?: History) {
    this.written = [...(of?.written ?? [])];
    this.acknowledged = [...(of?.acknowledged ?? [])];
    this.deleted = new Set(of?.deleted);
    this.logs = new Map(of?.logs);
    this.mblocks = new Map(of?.mblocks);
  }

  readonly watch = (
    op: string,
    path: string,
    offsetBytes: number,
    _lengthBytes: number,
    bytes?: Uint8Array,
  ): void => {
    if (op !== 'write' || bytes === undefined || bytes.length < 512) return;
    const view = viewOf(bytes);
    if (view.getUint32(0, true) !== 0x464c706d) return;
    const generation = view.getUint32(8, true);
    // Without zeros behind it, which are overwritten.
    const frame = Uint8Array.from(bytes.subarray(0, 64 + view.getUint32(24, true)));
    // One that is written once more, as the end of a log is when it is opened, says what it said before.
    const isKnown = this.written.some(
      (each) =>
        each.path === path &&
        each.offsetBytes === offsetBytes &&
        Buffer.compare(each.bytes, frame) === 0,
    );
    if (!isKnown) this.written.push({ path, offsetBytes, bytes: frame, generation });
  };

  acknowledge(
    what: string,
    subject: Acknowledged['subject'],
    id: bigint,
    holds: Acknowledged['holds'],
  ): void {
    this.acknowledged.push({ what, at: this.written.length, subject, id, holds });
  }
}

type Handle = Mlog | Mdc;
type Step = (work: Work) => Promise<void>;

/** The script's verbs. */
class Work {
  readonly rig: Rig;
  readonly history: History;
  readonly ids: bigint[];
  readonly #open = new Map<bigint, Promise<Handle>>();
  labels = 0;

  constructor(rig: Rig, history: History, ids: readonly bigint[]) {
    this.rig = rig;
    this.history = history;
    this.ids = [...ids];
  }

  handle(id: bigint): Promise<Handle> {
    let open = this.#open.get(id);
    if (open === undefined) {
      const { pool } = this.rig;
      const { isMdc } = this.history.logs.get(id)!;
      open = isMdc ? pool.mdcs.open(mdcOf(id as MlogId)) : pool.mlogs.open(id as MlogId);
      this.#open.set(id, open);
    }
    return open;
  }

  async newLog(mediaClass: 'capacity' | 'staging', isMdc: boolean): Promise<void> {
    const { pool } = this.rig;
    const options = { capacityBytes: 64 * 1024, mediaClass };
    const made = isMdc ? await pool.mdcs.alloc(options) : await pool.mlogs.alloc(options);
    await made.commit();
    const id: bigint = typeof made.id === 'bigint' ? made.id : made.id.logA;
    this.ids.push(id);
    this.history.logs.set(id, { isMdc, mediaClass });
    this.history.acknowledge('a new log', 'mdc1', id, ({ logs }) => logs.has(id));
  }

  async append(which: number, count = 1): Promise<void> {
    const id = this.ids[which]!;
    const log = await this.handle(id);
    for (let i = 1; i < count; i++) await log.append(`record of ${which}`);
    await log.append(`record of ${which}`.repeat(1 + which), { sync: true });
    this.#wasAt(id, log);
  }

  async replace(which: number): Promise<void> {
    const id = this.ids[which]!;
    const log = await this.handle(id);
    if ('erase' in log) await log.erase();
    else await log.compact([`compacted ${which}`, 'and more']);
    this.#wasAt(id, log);
  }

  async closeLog(which: number): Promise<void> {
    const id = this.ids[which]!;
    await (await this.handle(id)).close();
    this.#open.delete(id);
  }

  #wasAt(id: bigint, log: Handle): void {
    const generation = Number(log.generation);
    const count = 'usage' in log ? log.usage.recordCount : log.recordCount;
    this.history.acknowledge(
      `${count} records of generation ${generation}`,
      'log',
      id,
      ({ logs }) => {
        const found = logs.get(id);
        if (found === undefined) return false;
        return (
          found.generation > generation || (found.generation === generation && found.count >= count)
        );
      },
    );
  }

  async mblocks(lengths: number[], mediaClass: 'capacity' | 'staging' = 'capacity'): Promise<void> {
    const made = await Promise.all(lengths.map(() => this.rig.pool.mblocks.alloc({ mediaClass })));
    await Promise.all(made.map((mblock, i) => mblock.write(contentOf(mblock.id, lengths[i]!))));
    await this.rig.pool.mblocks.commit(made);
    const { history } = this;
    for (const { id, writtenBytes } of made) {
      history.mblocks.set(id, writtenBytes);
      const holds: Acknowledged['holds'] = ({ mblocks }, deleted) =>
        mblocks.get(id) === true || deleted.has(id);
      history.acknowledge('a commit', 'mdc1', id, holds);
    }
  }

  async deleteMblock(): Promise<void> {
    const [id] = [...this.history.mblocks.keys()].filter((each) => !this.history.deleted.has(each));
    this.history.deleted.add(id!);
    await this.rig.pool.mblocks.delete([id as MblockId]);
    this.history.acknowledge('a deletion', 'mdc1', id!, ({ mblocks }) => !mblocks.has(id!));
  }

  async label(): Promise<void> {
    const label = ++this.labels;
    await this.rig.pool.setParameters({ label: `label-${label}` });
    this.history.acknowledge('a label', 'mdc0', 0n, (sight) => sight.label >= label);
  }
}

const PREPARE: Step[] = [
  (work) => work.newLog('capacity', false),
  (work) => work.newLog('staging', false),
  (work) => work.newLog('capacity', true),
  (work) => work.newLog('staging', true),
  (work) => work.mblocks([5000, 100]),
  (work) => work.mblocks([9000], 'staging'),
  (work) => work.append(0, 3),
  (work) => work.append(1, 3),
];

/** Logs by number: 0 the root MDC, 1 and 2 mlogs, 3 and 4 MDCs; 2 and 4 on staging; 5 is made here. */
const STEPS: Step[] = [
  (work) => work.append(1),
  (work) => work.append(2),
  (work) => work.mblocks([12_000]),
  (work) => work.append(0, 2),
  (work) => work.mblocks([300, 8192], 'staging'),
  (work) => work.append(3, 4),
  (work) => work.replace(1),
  (work) => work.append(4),
  (work) => work.deleteMblock(),
  (work) => work.append(1, 2),
  (work) => work.label(),
  (work) => work.replace(3),
  (work) => work.append(2, 30),
  (work) => work.newLog('staging', false),
  (work) => work.append(5, 2),
  (work) => work.rig.store.catalog.log.compact(),
  (work) => work.append(3),
  (work) => work.mblocks([4096]),
  (work) => work.closeLog(2),
  (work) => work.rig.store.poolRecords.log.compact(),
  (work) => work.replace(0),
  (work) => work.label(),
  (work) => work.append(4, 2),
  (work) => work.replace(2),
  (work) => work.mblocks([700]),
];

interface Prepared {
  host: SimHost;
  history: History;
  ids: bigint[];
}

async function prepared(sectorBytes: 512 | 4096): Promise<Prepared> {
  const { host, model } = await newPool({ devices: 'both', sizeBytes: 12 * 2 ** 20 }, sectorBytes);
  const history = new History();
  const rig = await Rig.open(host, model, { watch: history.watch });
  history.logs.set(model.root, { isMdc: true, mediaClass: 'capacity' });
  const work = new Work(rig, history, [model.root]);
  for (const step of PREPARE) await step(work);
  await closeClean(rig);
  return { host, history, ids: work.ids };
}

/** The frames of one device, or of some, are there after all. */
function only(name: string, paths: readonly string[]): SurvivorPolicy {
  return { name, survives: ({ disk }) => paths.includes(disk) };
}

function policiesFor(seed: number): SurvivorPolicy[] {
  const latest: SurvivorPolicy = {
    name: 'what was written last',
    survives: ({ index }) => index % 64 >= 40,
  };
  return [
    noneSurvive,
    only('all of the capacity device', [CAPACITY]),
    only('all of the staging device', [STAGING]),
    latest,
    randomSurvive(seed),
    randomSurvive(seed + 1),
  ];
}

async function look(image: SimHost, history: History, readOnly: boolean): Promise<Sight> {
  const told = new Set<string>();
  const sight: Sight = { mblocks: new Map(), logs: new Map(), label: 0, told, toldAll: false };
  let rig: Rig;
  try {
    rig = await Rig.open(image, new PoolModel(), { readOnly });
  } catch (error) {
    assert.ok(isMpoolError(error, 'ERR_MPOOL_CORRUPT'), String(error));
    return { ...sight, toldAll: true };
  }
  const { pool } = rig;
  sight.label = Number(/\d+$/.exec((await pool.parameters()).label)?.[0] ?? 0);
  for (const [id, length] of history.mblocks) {
    try {
      const bytes = await pool.mblocks.read(id as MblockId, 0, length);
      const right = Buffer.compare(bytes, contentOf(id, length)) === 0;
      assert.ok(right, 'other bytes');
      sight.mblocks.set(id, true);
    } catch (error) {
      if (!isMpoolError(error)) throw error;
      if (error.code === 'ERR_MPOOL_NOT_FOUND') continue;
      sight.mblocks.set(id, false);
      told.add(printObjectId(id));
    }
  }
  for (const [id, { isMdc }] of history.logs) {
    try {
      const log: Handle = isMdc
        ? await pool.mdcs.open(mdcOf(id as MlogId))
        : await pool.mlogs.open(id as MlogId);
      const count = 'usage' in log ? log.usage.recordCount : log.recordCount;
      sight.logs.set(id, { generation: Number(log.generation), count });
      await log.close().catch(() => {});
    } catch (error) {
      if (!isMpoolError(error)) throw error;
      if (error.code === 'ERR_MPOOL_NOT_FOUND') continue;
      sight.logs.set(id, undefined);
      told.add(printObjectId(id));
    }
  }
  for (const { kind, object } of rig.store.health.problems) {
    if (kind === 'lost-writes' && object === undefined) sight.toldAll = true;
  }
  await rig.close().catch(() => {});
  assert.equal(image.liveBufferCount, 0, 'every buffer is given back');
  return sight;
}

interface Counts {
  there: number;
  told: number;
  /** No frame that was made later is there at all. */
  unknowable: number;
  /** Frames are, but none that says something of it. */
  unborne: number;
  images: number;
  refused: number;
}

/** Frames that survived and can be read: of logs that there are, and of their generations. */
async function bearers(image: SimHost, history: History): Promise<Map<Written, string>> {
  const found = new Map<Written, string>();
  const rig = await Rig.open(image.clone(), new PoolModel(), { readOnly: true }).catch(
    () => undefined,
  );
  if (rig === undefined) return found;
  const { store } = rig;
  const owners: [path: string, from: number, to: number, name: string, generation: number][] = [];
  const own = (
    path: string,
    page: number,
    pages: number,
    name: string,
    generation: number,
  ): void => {
    owners.push([path, page * 4096, (page + pages) * 4096, name, generation]);
  };
  for (const [log, name] of [
    [store.poolRecords.log, 'mdc0'],
    [store.catalog.log, 'mdc1'],
  ] as const) {
    const { place, generation } = log.pair.active;
    own(CAPACITY, place.extent.pageAddress, place.extent.pageCount, name, generation);
  }
  const sight = await look(image.clone(), history, true);
  for (const [logA, { isMdc, mediaClass }] of history.logs) {
    const generation = sight.logs.get(logA)?.generation;
    if (generation === undefined) continue;
    for (const id of isMdc ? [logA, logA + (1n << 12n)] : [logA]) {
      const index = store.table.findId(id);
      if (index < 0) continue;
      const path = mediaClass === 'capacity' ? CAPACITY : STAGING;
      own(
        path,
        store.table.pageAddress(index),
        store.table.pageCount(index),
        `log ${logA}`,
        generation,
      );
    }
  }
  for (const written of history.written) {
    const { path, offsetBytes, bytes, generation } = written;
    const owner = owners.find(([device, from, to, , of]) => {
      return device === path && of === generation && from <= offsetBytes && offsetBytes < to;
    });
    if (owner === undefined) continue;
    const there = image.disk(path).bytes(offsetBytes, bytes.length);
    if (Buffer.compare(there, bytes) === 0) found.set(written, owner[3]);
  }
  await rig.close();
  return found;
}

/** Whether a frame that was made later can know of it. */
function isBorne(
  history: History,
  there: Map<Written, string>,
  { at, subject, id }: Acknowledged,
): boolean {
  const later = history.written.slice(at).map((written) => there.get(written));
  if (subject === 'log') return later.some((name) => name === `log ${id}` || name === 'mdc1');
  if (subject === 'mdc0') return later.some((name) => name === 'mdc0' || name === 'mdc1');
  return later.some((name) => name !== undefined);
}

async function judge(
  image: SimHost,
  history: History,
  counts: Counts,
  place: string,
): Promise<void> {
  const there = await bearers(image.clone(), history);
  const before = image.operationCount;
  const readOnly = await look(image.clone(), history, true);
  assert.equal(image.operationCount, before);
  const sight = await look(image.clone(), history, false);
  counts.images += 1;
  const isRefused = sight.toldAll && sight.logs.size === 0;
  if (isRefused) counts.refused += 1;
  const seen = isRefused ? readOnly : sight;
  for (const one of history.acknowledged) {
    if (one.holds(seen, history.deleted)) counts.there += 1;
    else if (sight.toldAll || seen.told.has(printObjectId(one.id))) counts.told += 1;
    else {
      const borne = isBorne(history, there, one);
      assert.ok(
        !borne,
        `${place}: ${one.what} of ${printObjectId(one.id)} is lost, and nothing says so`,
      );
      const survived = history.written.slice(one.at).some((written) => there.has(written));
      if (survived) counts.unborne += 1;
      else counts.unknowable += 1;
    }
  }
}

const LIARS: readonly (readonly string[])[] = [[CAPACITY, STAGING], [CAPACITY], [STAGING]];

for (const sectorBytes of [512, 4096] as const) {
  test(`flushes that lie from some point on, sectors of ${sectorBytes}`, async (t) => {
    const start = await prepared(sectorBytes);
    const counts: Counts = { there: 0, told: 0, unknowable: 0, unborne: 0, images: 0, refused: 0 };
    const prng = new SeededPrng(SEED);
    for (const liars of LIARS) {
      for (let from = below(prng, 2); from < STEPS.length; from += EVERY > 1 ? 2 : 1) {
        const host = start.host.clone();
        const history = new History(start.history);
        const rig = await Rig.open(host, new PoolModel(), { watch: history.watch });
        const work = new Work(rig, history, start.ids);
        for (const [index, step] of STEPS.entries()) {
          if (index === from) lie(host, liars);
          await step(work);
          if (index < from) continue;
          for (const policy of policiesFor(SEED + index)) {
            if (below(prng, EVERY) !== 0) continue;
            const image = host.clone().crash({ survivors: policy });
            const place = `${liars.join()} lie from ${from}, cut after ${index}, ${policy.name}, seed ${SEED}`;
            await judge(image, history, counts, place);
          }
        }
        await rig.close();
      }
    }
    t.diagnostic(JSON.stringify(counts));
    assert.ok(counts.there > 0 && counts.told > 0 && counts.unknowable > 0);
  });
}

function lie(host: SimHost, paths: readonly string[]): void {
  for (const disk of paths) {
    host.addFault({ op: 'flush', disk, times: Infinity, effect: { kind: 'lost' } });
    const effect = { kind: 'volatile' } as const;
    host.addFault({ op: 'write', disk, durability: 'durable', times: Infinity, effect });
  }
}
