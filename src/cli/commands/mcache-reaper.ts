/** What the daemon tells the reapers of its clients, and what they tell of themselves. */
import { MpoolError } from '../../base/errors.ts';
import type { ReaperChanges, ReaperReport } from '../../client.ts';
import { command, type Call, type Context } from '../command.ts';
import { askEach, manageable, needRunning } from '../daemons.ts';
import { jsonDocument } from '../json.ts';
import { column, reportColumns } from '../report-columns.ts';
import { sortRows, writeTable } from '../report.ts';
import { formatPercent } from '../sizes.ts';
import { integerKind, offsetKind, yesNoKind } from '../values.ts';
import { UsageError } from '../usage-error.ts';
import { given, JSON_IS_WHOLE } from './common.ts';
import { tellPlan } from './deed.ts';

const REAPER_COLUMNS = reportColumns<ReaperReport>({
  always: [
    column('pool', 'MPOOL', 'name of the pool', ({ pool }) => pool),
    column('pid', '>PID', 'process whose reaper it is', ({ pid }) => pid),
    column(
      'pressure',
      '>PRESSURE',
      'how short memory is: at 0 there is enough, at 100% none',
      ({ stats }) => stats.pressure,
      (part) => formatPercent(part, 1),
    ),
    column('cold', '>COLD', 'resident pages of cold maps', (row) => row.stats.residentPages.cold),
    column('warm', '>WARM', 'of warm maps', ({ stats }) => stats.residentPages.warm),
    column('hot', '>HOT', 'of hot maps', ({ stats }) => stats.residentPages.hot),
    column('pinned', '>PINNED', 'of pinned maps', ({ stats }) => stats.residentPages.pinned),
    column('evicted', '>EVICTED', 'mblocks evicted so far', (row) => row.stats.evictedObjects),
    column('refaulted', '>REFAULTED', 'of them, soon read again', (row) => {
      return row.stats.refaultedObjects;
    }),
  ],
  verbose: [column('session', '>SESSION', 'number of its connection', ({ session }) => session)],
});

export const mcacheReaper = command({
  name: 'mcache reaper',
  summary: "Show, or change, what the reapers of the daemon's clients are told",
  parameters: {
    enabled: { kind: yesNoKind, meaning: 'whether they evict anything' },
    mempct: {
      kind: integerKind(5, 100),
      meaning: 'the part of memory, in percent, that maps may take',
    },
    budget: { kind: offsetKind, meaning: 'at most so much of each process; 0 for no limit' },
    ttl: {
      kind: integerKind(1, 2 ** 31),
      meaning: 'milliseconds that an mblock stays unused before it may go',
    },
  },
  columns: REAPER_COLUMNS,
  options: ['dry-run'],
  details: [
    'What is set is told to all clients at once, and to those that come; it lasts until ' +
      'the daemon ends. What is not said stays as each client has it: by the size of its ' +
      'memory, or $MPOOL_REAPER. Clients that map something report every few seconds.',
    'To set something takes the permission to manage the daemon.',
    JSON_IS_WHOLE,
  ],
  examples: [
    'mpool mcache reaper',
    'mpool mcache reaper mempct=60 ttl=5000',
    'mpool mcache reaper enabled=no',
  ],
  async run(call, context) {
    const { enabled, mempct, budget, ttl } = call.values;
    const changes = given({
      enabled,
      memoryPercent: mempct,
      ttlMs: ttl,
      budgetBytes: budget === 0 ? null : budget,
    });
    const changing = Object.keys(changes).length > 0;
    if (call.options.has('dry-run')) {
      await plan(call, context, changes);
      return;
    }
    const all = await needRunning(context.daemons);
    const running = changing ? (await manageable(all)).slice(0, 1) : all;
    if (running.length === 0) throw new MpoolError('ERR_MPOOL_ACCESS', 'the daemon');
    const told = await askEach(
      running,
      (daemon) => (changing ? daemon.reaper(changes) : daemon.reaper()),
      context,
    );
    const rows = sortRows(
      call,
      REAPER_COLUMNS,
      told.flatMap(({ clients }) => clients),
    );
    if (call.options.has('json')) {
      const settings = told.map((each) => each.settings);
      await context.out.write(jsonDocument('mcache reaper', { settings, clients: rows }));
      return;
    }
    await writeTable(call, context, REAPER_COLUMNS, rows);
    for (const { settings } of told) {
      const words = describe(settings);
      if (words !== '') context.note(`all clients are told: ${words}`);
    }
  },
});

async function plan(call: Call, context: Context, changes: ReaperChanges): Promise<void> {
  if (Object.keys(changes).length === 0) {
    throw new UsageError('option -n goes with something to set, use -h for help');
  }
  const [daemon] = await manageable(await needRunning(context.daemons));
  if (daemon === undefined) throw new MpoolError('ERR_MPOOL_ACCESS', 'the daemon');
  await tellPlan(call, context, 'mcache reaper', [`tell all clients: ${describe(changes)}`]);
}

function describe(changes: ReaperChanges): string {
  return Object.entries(changes)
    .map(([key, value]) => `${key} ${value ?? 'none'}`)
    .join(', ');
}
