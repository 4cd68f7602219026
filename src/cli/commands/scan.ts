import type { FoundPool } from '../../pool/api.ts';
import { pathsOf } from '../active-pools.ts';
import { command, type Context } from '../command.ts';
import { describeFailure } from '../failure.ts';
import { jsonDocument } from '../json.ts';
import { sortRows, writeTable } from '../report.ts';
import { checkReadable, isDirectory, pathExists, realPath } from '../system.ts';
import { UsageError } from '../usage-error.ts';
import { toYaml, type YamlMap } from '../yaml.ts';
import { MpoolError } from '../../base/errors.ts';
import { JSON_IS_WHOLE, type KnownPool, knownPools, whyMissing } from './common.ts';
import { tellPlan } from './deed.ts';
import { SCAN_COLUMNS } from './pool-columns.ts';
import { activateAll, deactivateAll } from './scan-deeds.ts';

export const scan = command({
  name: 'scan',
  summary: 'Look for pools on block devices and in files; activate or deactivate them',
  positionals: [
    {
      name: 'PATH',
      meaning: 'file, device, or directory whose files to look at',
      count: 'any',
      candidates: 'file',
    },
  ],
  options: ['activate', 'deactivate', 'dry-run', 'nosuffix', 'yaml'],
  columns: SCAN_COLUMNS,
  details: [
    'Only superblocks are read, so pools that are in use are shown, too. Without PATH it looks ' +
      'in the places of $MPOOL_PATH, or else in the current directory, and at block devices; ' +
      'with PATH only there. HEALTH is faulted when a device of the pool was not among what was ' +
      'looked at. A file without a pool, or one that cannot be read, is an error when it is named.',
    '-a activates those that are not active, and -d deactivates those that are: as mpool ' +
      'activate and mpool deactivate do, one after the other; one that cannot be keeps none ' +
      'of the others from it. -v tells of each.',
    JSON_IS_WHOLE,
  ],
  examples: [
    'mpool scan',
    'mpool scan -av',
    'mpool scan -a -n /var/lib/pools',
    'mpool scan /var/lib/pools /dev/sdb',
    'mpool scan -Hp .',
    'mpool scan -o name,uuid --sort -size',
  ],
  async run(call, context) {
    const doing = call.options.has('activate') || call.options.has('deactivate');
    if (call.options.has('activate') && call.options.has('deactivate')) {
      throw new UsageError('option -a excludes -d, use -h for help');
    }
    if (call.options.has('dry-run') && !doing) {
      throw new UsageError('option -n goes with -a or -d, use -h for help');
    }
    let pools = await look(call.words, context);
    const problems = await unseen(call.words, pools, context);
    for (const problem of problems) context.note(`scan: ${problem}`);
    if (problems.length > 0 && pools.length === 0) return 1;
    const deeds = call.options.has('activate')
      ? await activateAll(pools, call, context)
      : call.options.has('deactivate')
        ? await deactivateAll(pools, call, context)
        : { failed: 0, would: [] };
    const status = problems.length + deeds.failed > 0 ? 1 : 0;
    if (call.options.has('dry-run')) {
      await tellPlan(call, context, 'scan', deeds.would);
      return status;
    }
    if (doing) pools = await look(call.words, context);
    const rows = sortRows(call, SCAN_COLUMNS, pools);
    if (call.options.has('json')) {
      const content = { pools: rows.map(scanJson) };
      await context.out.write(jsonDocument('scan', content));
    } else if (call.options.has('yaml')) {
      await context.out.write(toYaml({ mpools: rows.map(scanYaml) }));
    } else {
      await writeTable(call, context, SCAN_COLUMNS, rows);
    }
    return status;
  },
});

/** Of named paths what is on them; else all that is found, and all that daemons have. */
async function look(paths: readonly string[], context: Context): Promise<KnownPool[]> {
  const here = paths.length > 0;
  const places = here ? paths : context.places;
  const known = await knownPools(context, { places, blockDevices: !here });
  if (!here) return known;
  const store = await context.store();
  const seen = new Set((await store.scan({ places, blockDevices: false })).map(pathOfPool));
  return known.filter(({ found }) => seen.has(pathOfPool(found)));
}

const pathOfPool = (pool: FoundPool): string => pathsOf(pool).capacityPath;

/** What is wrong with paths at which nothing was found; a directory may well be without pools. */
async function unseen(
  paths: readonly string[],
  pools: readonly KnownPool[],
  context: Context,
): Promise<string[]> {
  const seen = new Set(pools.flatMap(({ found }) => found.devices.map(({ path }) => path)));
  const problems: string[] = [];
  for (const path of paths) {
    const real = await realPath(path);
    if (real !== undefined && seen.has(real)) continue;
    if (!(await pathExists(path))) {
      problems.push(describeFailure(new MpoolError('ERR_MPOOL_NOT_FOUND', path), path).text!);
    } else if (await isDirectory(path)) {
      const fault = await checkReadable(path).catch((error: unknown) => error);
      if (fault !== undefined) problems.push(describeFailure(fault, path).text ?? path);
    } else {
      problems.push(await whyMissing(path, context));
    }
  }
  return problems;
}

function scanJson({ found, active }: KnownPool): object {
  return { ...found, active: active !== undefined };
}

function scanYaml({ found, active }: KnownPool): YamlMap {
  const { name, uuid, formatVersion, devices, complete } = found;
  return {
    name,
    active: active !== undefined,
    UUID: uuid,
    format_version: formatVersion,
    health: complete ? 'optimal' : 'faulted',
    devices: devices.map(({ path, mediaClass, sizeBytes }) => ({
      path,
      media_class: mediaClass.toUpperCase(),
      size_bytes: sizeBytes,
    })),
  };
}
