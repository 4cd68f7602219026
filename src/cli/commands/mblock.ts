import type { MblockProperties } from '../../pool/api.ts';
import { command, type Call, type Context } from '../command.ts';
import { writeJsonList } from '../json.ts';
import { sortRows, writeTable } from '../report.ts';
import { checkInterrupt, JSON_IS_WHOLE, POOL, withPool } from './common.ts';
import { count, tell } from './deed.ts';
import { MBLOCK_IDS, readMblockId } from './ids.ts';
import { MBLOCK_COLUMNS } from './object-columns.ts';
import { CLASS } from './parameters.ts';

export const mblockList = command({
  name: 'mblock list',
  summary: 'List the committed mblocks of a pool',
  positionals: [POOL],
  parameters: { class: { ...CLASS, default: 'both' } },
  options: ['nosuffix'],
  columns: MBLOCK_COLUMNS,
  details: [JSON_IS_WHOLE],
  examples: ['mpool mblock list mp1', 'mpool mblock list -Hp mp1 class=staging'],
  async run(call, context) {
    const [target = ''] = call.words;
    await withPool(context, target, { readOnly: true }, async (pool) => {
      await writeProperties(
        call,
        context,
        'mblock list',
        pool.mblocks.list({
          mediaClass: call.values.class,
        }),
      );
    });
  },
});

export const mblockProps = command({
  name: 'mblock props',
  summary: 'Show the properties of mblocks',
  positionals: [POOL, MBLOCK_IDS],
  options: ['nosuffix'],
  columns: MBLOCK_COLUMNS,
  details: [JSON_IS_WHOLE],
  examples: ['mpool mblock props mp1 0x1101'],
  async run(call, context) {
    const [target = '', ...texts] = call.words;
    const ids = texts.map(readMblockId);
    await withPool(context, target, { readOnly: true }, async (pool) => {
      const found: MblockProperties[] = [];
      for (const id of ids) found.push((await pool.mblocks.find(id)).properties());
      await writeProperties(call, context, 'mblock props', found);
    });
  },
});

async function writeProperties(
  call: Call,
  context: Context,
  verb: string,
  items: Iterable<MblockProperties> | AsyncIterable<MblockProperties>,
): Promise<void> {
  const json = call.options.has('json');
  if (json && call.columns?.sort.length === 0) {
    await writeJsonList(context.out, verb, 'mblocks', items);
    return;
  }
  const all: MblockProperties[] = [];
  for await (const item of items) {
    checkInterrupt(context);
    all.push(item);
  }
  const sorted = sortRows(call, MBLOCK_COLUMNS, all);
  if (json) await writeJsonList(context.out, verb, 'mblocks', sorted);
  else await writeTable(call, context, MBLOCK_COLUMNS, sorted);
}

export const mblockDelete = command({
  name: 'mblock delete',
  summary: 'Delete mblocks',
  positionals: [POOL, MBLOCK_IDS],
  options: ['dry-run'],
  details: ['All ids are looked up first: when one is wrong, none is deleted.'],
  examples: ['mpool mblock delete mp1 0x1101 0x2101'],
  async run(call, context) {
    const [target = '', ...texts] = call.words;
    const ids = texts.map(readMblockId);
    await withPool(context, target, {}, (pool) => pool.mblocks.delete(ids));
    const what = count(ids.length, 'mblock');
    const content = { deleted: ids };
    const deed = {
      done: `${what} deleted`,
      would: `delete ${what}`,
    };
    await tell(call, context, 'mblock delete', content, deed);
  },
});
