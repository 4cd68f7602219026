import { isMpoolError } from '../../base/errors.ts';
import { printObjectId } from '../../format/object-id.ts';
import { command } from '../command.ts';
import { jsonDocument, writeJsonList } from '../json.ts';
import { needsColumn, sortRows, writeTable } from '../report.ts';
import { formatSize } from '../sizes.ts';
import { checkInterrupt, JSON_IS_WHOLE, POOL, withPool } from './common.ts';
import { count, tell, tellPlan } from './deed.ts';
import { readMlogId } from './ids.ts';
import { MLOG_COLUMNS, OPENED_MLOG_COLUMNS, type MlogRow } from './object-columns.ts';
import { CLASS } from './parameters.ts';
import {
  allocOptions,
  appendRecords,
  inputRecords,
  LOG_PARAMETERS,
  RECORDS_FILE,
  withLog,
  writeRecords,
} from './records.ts';

const ID = { name: 'ID', meaning: 'id of an mlog, 0x…' } as const;

export const mlogAlloc = command({
  name: 'mlog alloc',
  summary: 'Make an empty mlog, committed, and print its id',
  positionals: [POOL],
  parameters: LOG_PARAMETERS,
  options: ['dry-run', 'spare'],
  examples: ['mpool mlog alloc mp1', 'log=$(mpool mlog alloc mp1 size=32m class=staging)'],
  async run(call, context) {
    const [target = ''] = call.words;
    await withPool(context, target, {}, async (pool) => {
      const allocation = await pool.mlogs.alloc(allocOptions(call.values, call.options));
      await allocation.commit();
      const { id, capacityBytes } = allocation;
      if (call.options.has('dry-run')) {
        const deed = `make an empty mlog of ${formatSize(capacityBytes)}`;
        return tellPlan(call, context, 'mlog alloc', [deed]);
      }
      const text = call.options.has('json')
        ? jsonDocument('mlog alloc', { id, capacityBytes })
        : `${printObjectId(id)}\n`;
      await context.out.write(text);
    });
  },
});

export const mlogAppend = command({
  name: 'mlog append',
  summary: 'Append lines, each as a record, to an mlog',
  positionals: [POOL, ID, RECORDS_FILE],
  options: ['dry-run', 'raw', 'sync'],
  details: [
    'Records are appended one after the other and made durable together at the end; with --sync ' +
      'each one before the next. With --raw the whole input is one record, its newlines ' +
      'included. When the log is full, the records before stay, and how many there were is told.',
  ],
  examples: [
    'echo started | mpool mlog append mp1 0x1201',
    'mpool mlog append mp1 0x1201 events.ndjson',
    'mpool mlog append --raw mp1 0x1201 picture.png',
  ],
  async run(call, context) {
    const [target = '', text = '', file] = call.words;
    const id = readMlogId(text);
    await withPool(context, target, {}, async (pool) => {
      await withLog(pool.mlogs.open(id), async (log) => {
        const records = inputRecords(file, call.options, context);
        await appendRecords(call, context, 'mlog append', log, records);
      });
    });
  },
});

export const mlogRead = command({
  name: 'mlog read',
  summary: 'Print the records of an mlog, one a line',
  positionals: [POOL, ID],
  options: ['raw', 'salvage'],
  details: [
    'With --raw nothing is put between the records. With --json each record has its length and ' +
      'its text, or base64 when it is no UTF-8.',
    'A damaged log is refused. With --salvage its records up to the damage are printed, then it is ' +
      'told where the damage is; the exit status is 1.',
  ],
  examples: ['mpool mlog read mp1 0x1201 | tail', 'mpool mlog read --json mp1 0x1201'],
  async run(call, context) {
    const [target = '', text = ''] = call.words;
    const id = readMlogId(text);
    await withPool(context, target, { readOnly: true }, async (pool) => {
      const salvage = call.options.has('salvage');
      await withLog(pool.mlogs.open(id, salvage ? { salvage } : {}), async (log) => {
        const damage: unknown[] = [];
        const records = salvage ? upToDamage(log.records(), damage) : log.records();
        await writeRecords(call, context, 'mlog read', records);
        if (damage.length > 0) throw damage[0];
      });
    });
  },
});

/** Ends where the damage is, so that what is printed of it is whole. */
async function* upToDamage(
  records: AsyncIterable<Uint8Array>,
  damage: unknown[],
): AsyncGenerator<Uint8Array> {
  try {
    yield* records;
  } catch (error) {
    if (!isMpoolError(error, 'ERR_MPOOL_CORRUPT')) throw error;
    damage.push(error);
  }
}

export const mlogErase = command({
  name: 'mlog erase',
  summary: 'Empty an mlog',
  positionals: [POOL, ID],
  options: ['dry-run'],
  examples: ['mpool mlog erase mp1 0x1201'],
  async run(call, context) {
    const [target = '', text = ''] = call.words;
    const id = readMlogId(text);
    await withPool(context, target, {}, async (pool) => {
      await withLog(pool.mlogs.open(id), async (log) => {
        const lost = count(log.recordCount, 'record');
        await log.erase();
        const content = { id, generation: Number(log.generation) };
        await tell(call, context, 'mlog erase', content, {
          done: `mlog ${text} erased`,
          would: `erase mlog ${text}, with ${lost} in it`,
        });
      });
    });
  },
});

export const mlogDelete = command({
  name: 'mlog delete',
  summary: 'Delete mlogs',
  positionals: [POOL, { ...ID, count: 'some' }],
  options: ['dry-run'],
  details: ['All ids are looked up first: when one is wrong, none is deleted.'],
  examples: ['mpool mlog delete mp1 0x1201'],
  async run(call, context) {
    const [target = '', ...texts] = call.words;
    const ids = texts.map(readMlogId);
    await withPool(context, target, {}, (pool) => pool.mlogs.delete(ids));
    const what = count(ids.length, 'mlog');
    const content = { deleted: ids };
    const deed = {
      done: `${what} deleted`,
      would: `delete ${what}`,
    };
    await tell(call, context, 'mlog delete', content, deed);
  },
});

export const mlogList = command({
  name: 'mlog list',
  summary: 'List the mlogs of a pool; with -v what is in them, too',
  positionals: [POOL],
  parameters: { class: { ...CLASS, default: 'both' } },
  options: ['nosuffix'],
  columns: MLOG_COLUMNS,
  details: [
    'The logs of MDCs are not among them. To see how much of a log is used it is opened: with ' +
      '-v, or when a column that tells it is asked for.',
    JSON_IS_WHOLE,
  ],
  examples: ['mpool mlog list mp1', 'mpool mlog list -v mp1', 'mpool mlog list mp1 -O -used'],
  async run(call, context) {
    const [target = ''] = call.words;
    const opened = call.verbosity > 0 || needsColumn(call, OPENED_MLOG_COLUMNS);
    await withPool(context, target, { readOnly: true }, async (pool) => {
      const logs: MlogRow[] = [];
      for await (const found of pool.mlogs.list({ mediaClass: call.values.class })) {
        checkInterrupt(context);
        const { id, mediaClass, allocatedBytes } = found;
        const row: MlogRow = { id, mediaClass, allocatedBytes };
        logs.push(row);
        if (!opened) continue;
        await withLog(pool.mlogs.open(id), async ({ generation, usedBytes, recordCount }) => {
          Object.assign(row, { generation: Number(generation), usedBytes, recordCount });
        });
      }
      const sorted = sortRows(call, MLOG_COLUMNS, logs);
      if (call.options.has('json')) await writeJsonList(context.out, 'mlog list', 'mlogs', sorted);
      else await writeTable(call, context, MLOG_COLUMNS, sorted);
    });
  },
});
