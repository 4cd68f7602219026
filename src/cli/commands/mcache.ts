/** Verbs of the page cache that all processes of the machine share: what of a pool is in it. */
import { PAGE_BYTES } from '../../base/units.ts';
import { printObjectId } from '../../format/object-id.ts';
import type { MblockId, MblockMap, Pool } from '../../pool/api.ts';
import { formatTable, makeColumns } from '../columns.ts';
import { command, type Call, type Context, type Positional } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { Progress } from '../progress.ts';
import { formatPercent } from '../sizes.ts';
import { integerKind, offsetKind } from '../values.ts';
import {
  checkInterrupt,
  given,
  POOL,
  readMblockId,
  sizeFormatter,
  tell,
  withPool,
} from './common.ts';

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
      const content = { mblockCount: map.objectCount, bytes: total };
      const sentence = `${map.objectCount} mblocks read, ${total} bytes`;
      await tell(call, context, 'mcache warm', content, sentence);
    });
  },
});

export const mcacheResidency = command({
  name: 'mcache residency',
  summary: 'Show how much of mblocks is in the page cache',
  positionals: [POOL, IDS],
  options: ['noheadings', 'nosuffix'],
  details: [WHO_SHARES],
  examples: ['mpool mcache residency mp1', 'mpool mcache residency -Hp mp1 0x1101'],
  async run(call, context) {
    await withMap(call, context, async (map) => {
      const { objects, virtualPages, residentPages } = await map.residency();
      if (call.options.has('json')) {
        const mblocks = objects.map((object, i) => ({ id: map.ids[i], ...object }));
        const content = { virtualPages, residentPages, mblocks };
        await context.out.write(jsonDocument('mcache residency', content));
        return;
      }
      const size = sizeFormatter(call.options);
      const row = (name: string, virtual: number, resident: number): string[] => [
        name,
        size(virtual * PAGE_BYTES),
        size(resident * PAGE_BYTES),
        formatPercent(resident, virtual),
      ];
      const rows = objects.map((object, i) =>
        row(printObjectId(map.ids[i]!), object.virtualPages, object.residentPages),
      );
      rows.push(row('total', virtualPages, residentPages));
      const columns = makeColumns('MBLOCK', '>SIZE', '>RESIDENT', '>PART');
      const headings = !call.options.has('noheadings');
      await context.out.write(formatTable(columns, rows, { headings }));
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
      const before = await map.residency();
      await map.purge();
      const after = await map.residency();
      const pages = before.residentPages - after.residentPages;
      const content = { mblockCount: map.objectCount, evictedPages: pages };
      const sentence = `${map.objectCount} mblocks, ${pages} pages evicted`;
      await tell(call, context, 'mcache evict', content, sentence);
    });
  },
});

/** A map of the mblocks that the words name, or of all; nothing is done when a pool has none. */
async function withMap(
  call: Pick<Call, 'words'>,
  context: Context,
  body: (map: MblockMap) => Promise<void>,
): Promise<void> {
  const [target = '', ...texts] = call.words;
  const named = texts.map(readMblockId);
  await withPool(context, target, { readOnly: true }, async (pool) => {
    const ids = texts.length > 0 ? named : await allOf(pool);
    if (ids.length === 0) {
      context.note(`${pool.name} has no mblocks`);
      return;
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
