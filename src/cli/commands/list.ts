import type { Usage } from '../../pool/api.ts';
import { accountName } from '../accounts.ts';
import { command } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { sortRows, writeTable } from '../report.ts';
import { formatSize } from '../sizes.ts';
import { toYaml, type YamlMap } from '../yaml.ts';
import { ALL_THAT_FIT, JSON_IS_WHOLE, POOL, poolJson } from './common.ts';
import { LIST_COLUMNS } from './pool-columns.ts';
import { survey, type SurveyedPool } from './survey.ts';

export const list = command({
  name: 'list',
  summary: 'List pools with the space in them',
  positionals: [{ ...POOL, count: 'any' }],
  options: ['noresolve', 'nosuffix', 'yaml'],
  columns: LIST_COLUMNS,
  details: [
    'HEALTH is optimal, degraded (it serves, but an object is damaged, a device slow or the ' +
      'like), faulted (a device is missing or damaged, or the pool failed), offline (not ' +
      'readable for you) or busy (another process has the pool; only it knows the space). It is ' +
      'told why a pool is degraded or faulted, and with -v why it is offline or busy. Pools ' +
      'that are active in a daemon are shown wherever they are.',
    ALL_THAT_FIT,
    JSON_IS_WHOLE,
  ],
  examples: [
    'mpool list',
    'mpool list -Hp mp1',
    'mpool list -o name,used,written --sort -used',
    'mpool list -Yvv',
    'mpool list --json',
  ],
  async run(call, context) {
    const { pools: surveyed, missing } = await survey(call, context, 'list');
    const pools = sortRows(call, LIST_COLUMNS, surveyed);
    const status = missing.length > 0 ? 1 : 0;
    if (status !== 0 && pools.length === 0) return status;
    if (call.options.has('json')) {
      await context.out.write(jsonDocument('list', { pools: pools.map(listJson) }));
    } else if (call.options.has('yaml')) {
      const resolve = !call.options.has('noresolve');
      const tree = { mpools: pools.map((pool) => poolYaml(pool, call.verbosity, resolve)) };
      await context.out.write(toYaml(tree));
    } else {
      await writeTable(call, context, LIST_COLUMNS, pools);
    }
    return status;
  },
});

function listJson({ found, info, health, note, active }: SurveyedPool): object {
  const { name, uuid, formatVersion } = found;
  const activity = { active: active !== undefined, clientCount: active?.clientCount ?? 0 };
  return info === undefined
    ? { name, uuid, formatVersion, health, fault: note, devices: found.devices, ...activity }
    : { ...poolJson(info), health, ...activity };
}

/** With the keys of the original. */
function poolYaml(pool: SurveyedPool, verbosity: number, resolve: boolean): YamlMap {
  const { found, info, health } = pool;
  const identity = { name: found.name, active: pool.active !== undefined, UUID: found.uuid };
  if (verbosity === 0) return { ...identity, devices: found.devices.map(({ path }) => ({ path })) };
  const devices = found.devices.map(({ path, mediaClass }) => ({
    path,
    media_class: mediaClass.toUpperCase(),
  }));
  if (info === undefined) return { ...identity, health, devices };
  const { uid, gid, mode, label } = info.parameters;
  return {
    ...identity,
    uid: resolve ? accountName('user', uid) : uid,
    gid: resolve ? accountName('group', gid) : gid,
    mode: `0${mode.toString(8)}`,
    label,
    ...spaceYaml(info.usage, verbosity),
    health,
    devices,
    media_classes: info.devices.map((device) => ({
      mclass_name: device.mediaClass.toUpperCase(),
      ...spaceYaml(device.usage, verbosity),
      ...(verbosity < 2
        ? {}
        : {
            dev_type: device.kind,
            engine: device.engine,
            mblock_size: formatSize(device.mblockSizeBytes),
            mblock_size_bytes: device.mblockSizeBytes,
            sector_size: device.sectorBytes,
            unavail_dev: device.status === 'online' ? 0 : 1,
          }),
    })),
  };
}

function spaceYaml(usage: Usage, verbosity: number): YamlMap {
  const space = {
    ...sizeYaml('total_space', usage.totalBytes),
    ...sizeYaml('usable_space', usage.usableBytes),
    ...sizeYaml('allocated_space', usage.usedBytes),
    ...sizeYaml('avail_space', usage.freeUsableBytes),
  };
  if (verbosity < 2) return space;
  return {
    ...space,
    ...sizeYaml('spare_space', usage.spareBytes),
    ...sizeYaml('avail_spare', usage.freeSpareBytes),
    mblock_count: usage.mblockCount,
    mblock_alloc_bytes: usage.mblockAllocatedBytes,
    mblock_written_bytes: usage.mblockWrittenBytes,
    mlog_count: usage.mlogCount,
    mlog_alloc_bytes: usage.mlogAllocatedBytes,
    metadata_bytes: usage.metadataBytes,
    reserved_bytes: usage.reservedBytes,
  };
}

function sizeYaml(key: string, bytes: number): YamlMap {
  return { [key]: formatSize(bytes), [`${key}_bytes`]: bytes };
}
