import { command } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { sortRows, writeTable } from '../report.ts';
import { ALL_THAT_FIT, JSON_IS_WHOLE, POOL } from './common.ts';
import { GET_COLUMNS } from './pool-columns.ts';
import { survey } from './survey.ts';

export const get = command({
  name: 'get',
  summary: 'Show parameters of pools',
  positionals: [{ ...POOL, count: 'any' }],
  options: ['noresolve'],
  columns: GET_COLUMNS,
  details: [
    'Pools that another process has, or that cannot be opened, are left out, which -v tells; ' +
      'when they were named, it is an error.',
    ALL_THAT_FIT,
    JSON_IS_WHOLE,
  ],
  examples: ['mpool get', 'mpool get -HN mp1', 'mpool get -Ho label mp1', 'mpool get --json mp1'],
  async run(call, context) {
    const { pools: surveyed, missing } = await survey(call, context, 'get');
    const opened = surveyed.flatMap(({ info }) => (info === undefined ? [] : [info]));
    const pools = sortRows(call, GET_COLUMNS, opened);
    const named = call.words.length > 0;
    const status = named && missing.length + surveyed.length > pools.length ? 1 : 0;
    if (status !== 0 && pools.length === 0) return status;
    if (call.options.has('json')) {
      const content = pools.map(({ name, uuid, parameters, devices }) => ({
        name,
        uuid,
        parameters,
        mblockSizeBytes: Object.fromEntries(
          devices.map((device) => [device.mediaClass, device.mblockSizeBytes]),
        ),
      }));
      await context.out.write(jsonDocument('get', { pools: content }));
      return status;
    }
    await writeTable(call, context, GET_COLUMNS, pools);
    return status;
  },
});
