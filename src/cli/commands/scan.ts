import type { FoundPool } from '../../pool/api.ts';
import { command, type Context } from '../command.ts';
import { describeFailure } from '../failure.ts';
import { jsonDocument } from '../json.ts';
import { sortRows, writeTable } from '../report.ts';
import { checkReadable, isDirectory, pathExists, realPath } from '../system.ts';
import { toYaml } from '../yaml.ts';
import { MpoolError } from '../../base/errors.ts';
import { JSON_IS_WHOLE, whyMissing } from './common.ts';
import { SCAN_COLUMNS } from './pool-columns.ts';

export const scan = command({
  name: 'scan',
  summary: 'Look for pools on block devices and in files',
  positionals: [
    {
      name: 'PATH',
      meaning: 'file, device, or directory whose files to look at',
      count: 'any',
      candidates: 'file',
    },
  ],
  options: ['nosuffix', 'yaml'],
  columns: SCAN_COLUMNS,
  details: [
    'Only superblocks are read, so pools that are in use are shown, too. Without PATH it looks ' +
      'in the places of $MPOOL_PATH, or else in the current directory, and at block devices; ' +
      'with PATH only there. HEALTH is faulted when a device of the pool was not among what was ' +
      'looked at. A file without a pool, or one that cannot be read, is an error when it is named.',
    JSON_IS_WHOLE,
  ],
  examples: [
    'mpool scan',
    'mpool scan /var/lib/pools /dev/sdb',
    'mpool scan -Hp .',
    'mpool scan -o name,uuid --sort -size',
  ],
  async run(call, context) {
    const store = await context.store();
    const here = call.words.length > 0;
    const places = here ? call.words : context.places;
    const found = await store.scan({ places, blockDevices: !here });
    const pools = sortRows(call, SCAN_COLUMNS, found);
    const problems = await unseen(call.words, pools, context);
    for (const problem of problems) context.note(`scan: ${problem}`);
    const status = problems.length > 0 ? 1 : 0;
    if (status !== 0 && pools.length === 0) return status;
    if (call.options.has('json')) {
      await context.out.write(jsonDocument('scan', { pools }));
    } else if (call.options.has('yaml')) {
      await context.out.write(toYaml({ mpools: pools.map(scanYaml) }));
    } else {
      await writeTable(call, context, SCAN_COLUMNS, pools);
    }
    return status;
  },
});

/** What is wrong with paths at which nothing was found; a directory may well be without pools. */
async function unseen(
  paths: readonly string[],
  pools: readonly FoundPool[],
  context: Context,
): Promise<string[]> {
  const seen = new Set(pools.flatMap(({ devices }) => devices.map(({ path }) => path)));
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

function scanYaml({ name, uuid, formatVersion, devices, complete }: FoundPool): {
  [key: string]: string | number | boolean | { [key: string]: string | number }[];
} {
  return {
    name,
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
