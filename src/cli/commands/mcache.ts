/** Verbs of the page cache that all processes of the machine share: what of a pool is in it. */
import type { MapResidency, MblockId, MblockMap, Pool } from '../../pool/api.ts';
import { command, type Call, type Context, type Positional } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { Progress } from '../progress.ts';
import { sortRows, writeTable } from '../report.ts';
import { integerKind, offsetKind } from '../values.ts';
import { checkInterrupt, given, JSON_IS_WHOLE, POOL, withPool } from './common.ts';
import { count, tell } from './deed.ts';
import { readMblockId } from './ids.ts';
import { RESIDENCY_COLUMNS, type ResidencyRow } from './object-columns.ts';

const IDS: Positional = {
  name: 'ID',
  meaning: 'id of an mblock, 0x…; all committed ones when there is none',
  count: 'any',
};
const READ_PIECE_BYTES = 4 * 2 ** 20;
const WHO_SHARES =
  'The page cache is shared: what is resident is so for every process that maps the pool.';

export const mcacheWarm = command({
  name: 'mcache warm',
  summary: 'Read mblocks into the page cache, verified',
  positionals: [POOL, IDS],
  parameters: {
    mempct: {
      kind: integerKind(5, 100),
      meaning: 'the part of memory, in percent, that they may take',
      default: 'by the size of the memory; $MPOOL_REAPER',
    },
    budget: { kind: offsetKind, meaning: 'at most so much of them', default: 'no limit' },
    ttl: {
      kind: integerKind(1, 2 ** 31),
      meaning: 'milliseconds that one stays unused before it may go again',
      default: '10000',
    },
  },
  details: [
    'For a program that is about to map them. Ends with an error at the first page that is ' +
      'damaged. When memory is short, what was read first goes again.',
    WHO_SHARES,
  ],
  examples: ['mpool mcache warm mp1', 'mpool mcache warm mp1 0x1101 0x2101 budget=2g'],
  async run(call, context) {
    const { mempct, budget, ttl } = call.values;
    const store = await context.store();
    store.reaper.configure(given({ memoryPercent: mempct, budgetBytes: budget, ttlMs: ttl }));
    await withMap(call, context, async (map) => {
      const mblockCount = map?.objectCount ?? 0;
      const readBytes = map === undefined ? 0 : await readAll(map, context);
      const content = { mblockCount, readBytes };
      const deed = {
        done: `${count(mblockCount, 'mblock')} read, ${readBytes} bytes`,
      };
      await tell(call, context, 'mcache warm', content, deed);
    });
  },
});

/** @returns how many bytes there were */
async function readAll(map: MblockMap, context: Context): Promise<number> {
  const total = map.ids.reduce((sum, _, i) => sum + map.lengthBytes(i), 0);
  const progress = new Progress(context.progress, 'bytes');
  let done = 0;
  try {
    for (let i = 0; i < map.objectCount; i++) {
      for (let at = 0; at < map.lengthBytes(i); at += READ_PIECE_BYTES) {
        checkInterrupt(context);
        const length = Math.min(READ_PIECE_BYTES, map.lengthBytes(i) - at);
        await map.read(i, at, length);
        done += length;
        progress.update(done, total);
      }
    }
  } finally {
    progress.end();
  }
  return total;
}

export const mcacheResidency = command({
  name: 'mcache residency',
  summary: 'Show how much of mblocks is in the page cache',
  positionals: [POOL, IDS],
  options: ['nosuffix'],
  columns: RESIDENCY_COLUMNS,
  details: [WHO_SHARES, 'The sum of all is last, however they are sorted.', JSON_IS_WHOLE],
  examples: [
    'mpool mcache residency mp1',
    'mpool mcache residency -Hp mp1 0x1101',
    'mpool mcache residency --sort -resident mp1',
  ],
  async run(call, context) {
    await withMap(call, context, async (map) => {
      const found = await map?.residency();
      const { objects, virtualPages, residentPages } = found ?? NOTHING;
      const rows: ResidencyRow[] = objects.map((object, i) => ({ id: map?.ids[i], ...object }));
      const mblocks = sortRows(call, RESIDENCY_COLUMNS, rows);
      if (call.options.has('json')) {
        const content = { virtualPages, residentPages, mblocks };
        await context.out.write(jsonDocument('mcache residency', content));
      } else if (map !== undefined) {
        const sum = { id: undefined, virtualPages, residentPages };
        await writeTable(call, context, RESIDENCY_COLUMNS, [...mblocks, sum]);
      }
    });
  },
});

export const mcacheEvict = command({
  name: 'mcache evict',
  summary: 'Drop mblocks from the page cache',
  positionals: [POOL, IDS],
  details: [
    'Changes nothing on the device. Pages that another process has in use stay.',
    WHO_SHARES,
  ],
  examples: ['mpool mcache evict mp1', 'mpool mcache evict mp1 0x1101'],
  async run(call, context) {
    await withMap(call, context, async (map) => {
      const mblockCount = map?.objectCount ?? 0;
      const before = (await map?.residency()) ?? NOTHING;
      await map?.purge();
      const after = (await map?.residency()) ?? NOTHING;
      const evictedPages = before.residentPages - after.residentPages;
      const content = { mblockCount, evictedPages };
      const deed = {
        done: `${count(mblockCount, 'mblock')}, ${evictedPages} pages evicted`,
      };
      await tell(call, context, 'mcache evict', content, deed);
    });
  },
});

const NOTHING: MapResidency = { objects: [], virtualPages: 0, residentPages: 0 };

/** A map of the mblocks that the words name, or of all; undefined when a pool has none. */
async function withMap(
  call: Pick<Call, 'words'>,
  context: Context,
  body: (map: MblockMap | undefined) => Promise<void>,
): Promise<void> {
  const [target = '', ...texts] = call.words;
  const named = texts.map(readMblockId);
  await withPool(context, target, { readOnly: true }, async (pool) => {
    const ids = texts.length > 0 ? named : await allOf(pool);
    if (ids.length === 0) {
      context.note(`${pool.name} has no mblocks`);
      return body(undefined);
    }
    const map = await pool.map(ids);
    try {
      await body(map);
    } finally {
      await map.unmap();
    }
  });
}

async function allOf(pool: Pool): Promise<MblockId[]> {
  const ids: MblockId[] = [];
  for await (const { id } of pool.mblocks.list()) ids.push(id);
  return ids;
}
