import type { Mdc, MdcId, MdcProperties, Pool } from '../../pool/api.ts';
import { command, type Context } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { sortRows, writeTable } from '../report.ts';
import { checkInterrupt, JSON_IS_WHOLE, POOL, withPool } from './common.ts';
import { count, tell, tellPlan } from './deed.ts';
import { printMdcId, readMdcId } from './ids.ts';
import { MDC_COLUMNS } from './object-columns.ts';
import {
  allocOptions,
  appendRecords,
  inputRecords,
  LOG_PARAMETERS,
  RECORDS_FILE,
  withLog,
  writeRecords,
} from './records.ts';

const ID = { name: 'MDC', meaning: 'id of an MDC, 0x…,0x… as alloc prints it, or root' } as const;

function openMdc(pool: Pool, id: MdcId | 'root'): Promise<Mdc> {
  return id === 'root' ? pool.mdcs.root() : pool.mdcs.open(id);
}

export const mdcAlloc = command({
  name: 'mdc alloc',
  summary: 'Make an empty MDC, committed, and print its id',
  positionals: [POOL],
  parameters: LOG_PARAMETERS,
  options: ['dry-run', 'spare'],
  details: ['An MDC is two logs of the size; its id is the ids of both.'],
  examples: ['mdc=$(mpool mdc alloc mp1 size=256k)'],
  async run(call, context) {
    const [target = ''] = call.words;
    await withPool(context, target, {}, async (pool) => {
      const allocation = await pool.mdcs.alloc(allocOptions(call.values, call.options));
      await allocation.commit();
      if (call.options.has('dry-run')) {
        return tellPlan(call, context, 'mdc alloc', ['make an empty MDC of two logs']);
      }
      const text = call.options.has('json')
        ? jsonDocument('mdc alloc', { id: printMdcId(allocation.id) })
        : `${printMdcId(allocation.id)}\n`;
      await context.out.write(text);
    });
  },
});

export const mdcAppend = command({
  name: 'mdc append',
  summary: 'Append lines, each as a record, to an MDC',
  positionals: [POOL, ID, RECORDS_FILE],
  options: ['dry-run', 'raw', 'sync'],
  details: ['As mlog append. When the MDC is full, mdc compact makes room.'],
  examples: ['echo schema=3 | mpool mdc append mp1 root'],
  async run(call, context) {
    const [target = '', text = '', file] = call.words;
    const id = readMdcId(text);
    await withPool(context, target, {}, async (pool) => {
      await withLog(openMdc(pool, id), async (mdc) => {
        const records = inputRecords(file, call.options, context);
        await appendRecords(call, context, 'mdc append', mdc, records);
      });
    });
  },
});

export const mdcRead = command({
  name: 'mdc read',
  summary: 'Print the records of an MDC, one a line',
  positionals: [POOL, ID],
  options: ['raw'],
  details: ['As mlog read.'],
  examples: ['mpool mdc read mp1 root'],
  async run(call, context) {
    const [target = '', text = ''] = call.words;
    const id = readMdcId(text);
    await withPool(context, target, { readOnly: true }, async (pool) => {
      await withLog(openMdc(pool, id), (mdc) =>
        writeRecords(call, context, 'mdc read', mdc.records()),
      );
    });
  },
});

export const mdcCompact = command({
  name: 'mdc compact',
  summary: 'Replace the content of an MDC in one durable step',
  positionals: [
    POOL,
    ID,
    {
      name: 'FILE',
      meaning: 'new records; - is input',
      count: 'optional',
      candidates: 'file',
    },
  ],
  options: ['dry-run', 'raw'],
  details: [
    'With FILE its lines (with --raw the whole of it) become the content; without, the records ' +
      'that are there are written anew. When it fails or is interrupted, the old content stands.',
  ],
  examples: [
    'mpool mdc read mp1 root | sort -u | mpool mdc compact mp1 root -',
    'mpool mdc compact mp1 root',
  ],
  async run(call, context) {
    const [target = '', text = '', file] = call.words;
    const id = readMdcId(text);
    // Before the pool is opened: the records may come through a pipe from a `mpool mdc read` that
    // has the pool until it ends.
    const given =
      file === undefined
        ? undefined
        : await collect(inputRecords(file, call.options, context), context);
    await withPool(context, target, {}, async (pool) => {
      await withLog(openMdc(pool, id), async (mdc) => {
        const before = mdc.usage.recordCount;
        const records = given ?? (await collect(mdc.records(), context));
        await mdc.compact(records);
        const what = count(records.length, 'record');
        const content = { written: records.length };
        const deed = {
          done: `${what} written`,
          would: `write ${what} in place of ${before}`,
        };
        await tell(call, context, 'mdc compact', content, deed);
      });
    });
  },
});

async function collect(
  records: AsyncIterable<Uint8Array>,
  context: Context,
): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const record of records) {
    checkInterrupt(context);
    // A line is a view of a chunk that is shared or reused.
    all.push(Buffer.from(record));
  }
  return all;
}

export const mdcDelete = command({
  name: 'mdc delete',
  summary: 'Delete an MDC with both its logs',
  positionals: [POOL, { name: 'MDC', meaning: 'id of an MDC, 0x…,0x… as alloc prints it' }],
  options: ['dry-run'],
  examples: ['mpool mdc delete mp1 0x1201,0x2201'],
  async run(call, context) {
    const [target = '', text = ''] = call.words;
    const id = readMdcId(text);
    await withPool(context, target, {}, async (pool) => {
      await pool.mdcs.delete(id === 'root' ? (await pool.info()).rootMdc : id);
    });
    const content = { deleted: [text] };
    const deed = {
      done: `mdc ${text} deleted`,
      would: `delete mdc ${text}`,
    };
    await tell(call, context, 'mdc delete', content, deed);
  },
});

export const mdcList = command({
  name: 'mdc list',
  summary: 'List the MDCs of a pool',
  positionals: [POOL],
  options: ['nosuffix'],
  columns: MDC_COLUMNS,
  details: [JSON_IS_WHOLE],
  examples: ['mpool mdc list mp1'],
  async run(call, context) {
    const [target = ''] = call.words;
    await withPool(context, target, { readOnly: true }, async (pool) => {
      const all: MdcProperties[] = [];
      for await (const mdc of pool.mdcs.list()) all.push(mdc);
      const found = sortRows(call, MDC_COLUMNS, all);
      if (call.options.has('json')) {
        const mdcs = found.map((mdc) => ({ ...mdc, id: printMdcId(mdc.id) }));
        await context.out.write(jsonDocument('mdc list', { mdcs }));
        return;
      }
      await writeTable(call, context, MDC_COLUMNS, found);
    });
  },
});
