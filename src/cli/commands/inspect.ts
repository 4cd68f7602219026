/** Verbs that look into a pool without changing it: check, dump, doctor. */
import { command } from '../command.ts';
import { jsonDocument, writeJsonList } from '../json.ts';
import { Progress } from '../progress.ts';
import { formatSize } from '../sizes.ts';
import type { DumpedStructure, EngineReport } from '../store.ts';
import { writeCheckReport } from './check-report.ts';
import { checkInterrupt, POOL } from './common.ts';

export const check = command({
  name: 'check',
  summary: 'Verify every superblock, log and record of a pool; with --data every page too',
  positionals: [POOL],
  options: ['data'],
  details: [
    'Nothing is written, and the pool must not be in use. What is wrong is listed, one finding a ' +
      'line: how grave, which structure, where, and what. Notes are shown with -v only. The exit ' +
      'status is 1 when there is an error or a warning.',
  ],
  examples: ['mpool check mp1', 'mpool check --data /var/lib/mp1.pool', 'mpool check --json mp1'],
  async run(call, context) {
    const [target = ''] = call.words;
    const store = await context.store();
    const data = call.options.has('data');
    const progress = new Progress(context.progress, data ? 'bytes' : 'steps');
    const report = await store
      .check(target, {
        data,
        signal: context.signal,
        searchPlaces: context.places,
        onProgress: (done, total) => progress.update(done, total),
      })
      .finally(() => progress.end());
    if (call.options.has('json')) await context.out.write(jsonDocument('check', report));
    else await writeCheckReport(call, context, target, report);
    return report.clean ? 0 : 1;
  },
});

export const dump = command({
  name: 'dump',
  summary: 'Print the structures of a pool in readable form',
  positionals: [POOL],
  details: [
    'Superblocks, logs and records in the order of docs/format.md, each with its device and byte ' +
      'offset. Nothing is written; a damaged pool is printed as far as it can be read.',
  ],
  examples: ['mpool dump mp1', 'mpool dump --json mp1.pool'],
  async run(call, context) {
    const [target = ''] = call.words;
    const store = await context.store();
    const structures = store.dump(target, { searchPlaces: context.places });
    if (call.options.has('json')) {
      await writeJsonList(context.out, 'dump', 'structures', structures);
      return;
    }
    for await (const structure of structures) {
      checkInterrupt(context);
      await context.out.write(structureText(structure));
    }
  },
});

function structureText({ structure, device, offsetBytes, fields }: DumpedStructure): string {
  const lines = Object.entries(fields).map(([name, value]) => `  ${name}: ${value}\n`);
  return `${structure} at ${device} ${offsetBytes}\n${lines.join('')}`;
}

export const doctor = command({
  name: 'doctor',
  summary: 'Tell which I/O engine is used here, why, and how to get a better one',
  about: 'tool',
  examples: ['mpool doctor', 'mpool doctor --json'],
  async run(call, context) {
    const report = await (await context.store()).diagnose();
    if (call.options.has('json')) await context.out.write(jsonDocument('doctor', report));
    else await context.out.write(doctorText(report, call.verbosity > 0));
  },
});

function doctorText(report: EngineReport, more: boolean): string {
  const { engine, rungs, hugePages, memlockBytes, threadCount, kernel, node, advice } = report;
  let text = `I/O engine: ${engine}\n`;
  for (const rung of rungs) {
    const state = rung.inUse ? 'in use' : rung.usable ? 'usable' : `not usable: ${rung.reason}`;
    text += `  ${rung.name}: ${state}\n`;
  }
  if (more) {
    const memlock = memlockBytes === null ? 'no limit' : formatSize(memlockBytes);
    const used = hugePages.usable ? 'used' : 'not used';
    text += `huge pages: ${hugePages.mode}, ${used} for I/O buffers\n`;
    text += `locked memory: ${memlock}\nthreads: ${threadCount}\n`;
    text += `kernel: ${kernel}\nnode: ${node}\n`;
  }
  const lines = advice.map((line) => `  ${line}\n`).join('');
  return text + (advice.length === 0 ? 'Nothing to improve.\n' : `To improve:\n${lines}`);
}
