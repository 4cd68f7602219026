import { MIB } from '../../base/units.ts';
import type { MediaClass, PoolInfo } from '../../pool/api.ts';
import { accountName } from '../accounts.ts';
import { formatTable, makeColumns } from '../columns.ts';
import { command } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { ALL_THAT_FIT, POOL } from './common.ts';
import { survey } from './survey.ts';

export const get = command({
  name: 'get',
  summary: 'Show parameters of pools',
  positionals: [{ ...POOL, count: 'any' }],
  options: ['noheadings', 'noresolve'],
  details: [
    'RA is pages to read ahead, STGSZ and CAPSZ the mblock sizes in MiB, STGSP and CAPSP the ' +
      'spare percent of the classes. With -v also VMA (log2 of a mapped region) and TYPE (utype).',
    'Pools that another process has, or that cannot be opened, are left out, which -v tells; ' +
      'when they were named, it is an error.',
    ALL_THAT_FIT,
  ],
  examples: ['mpool get', 'mpool get -HN mp1', 'mpool get --json mp1'],
  async run(call, context) {
    const { pools: surveyed, missing } = await survey(call, context, 'get');
    const pools = surveyed.flatMap(({ info }) => (info === undefined ? [] : [info]));
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
    const more = call.verbosity > 0;
    const columns = makeColumns(
      'MPOOL',
      '>LABEL',
      '>UID',
      '>GID',
      '>MODE',
      '>RA',
      '>STGSZ',
      '>CAPSZ',
      '>STGSP',
      '>CAPSP',
      ...(more ? ['>VMA', '>TYPE'] : []),
    );
    const rows = pools.map((info) => row(info, !call.options.has('noresolve'), more));
    const headings = !call.options.has('noheadings') && rows.length > 0;
    await context.out.write(formatTable(columns, rows, { headings }));
    return status;
  },
});

function row(info: PoolInfo, resolve: boolean, more: boolean): string[] {
  const { parameters } = info;
  const { uid, gid, mode } = parameters;
  const staging = info.devices.some((device) => device.mediaClass === 'staging');
  return [
    info.name,
    parameters.label,
    resolve ? accountName('user', uid) : String(uid),
    resolve ? accountName('group', gid) : String(gid),
    mode === 0 ? '0' : `0${mode.toString(8)}`,
    String(parameters.readAheadPages),
    zoneMib(info, 'staging'),
    zoneMib(info, 'capacity'),
    staging ? String(parameters.sparePercentStaging) : '-',
    String(parameters.sparePercentCapacity),
    ...(more ? [String(parameters.mappedRegionLog2), parameters.utype] : []),
  ];
}

function zoneMib(info: PoolInfo, mediaClass: MediaClass): string {
  const device = info.devices.find((each) => each.mediaClass === mediaClass);
  return device === undefined ? '-' : String(device.mblockSizeBytes / MIB);
}
