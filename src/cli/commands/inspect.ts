/** Verbs that look into a pool without changing it: check, dump, doctor. */
import { command } from '../command.ts';
import { jsonDocument, writeJsonList } from '../json.ts';
import { Progress } from '../progress.ts';
import { formatSize } from '../sizes.ts';
import type { CheckFinding, DumpedStructure, EngineReport } from '../store.ts';
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
    if (call.options.has('json')) {
      await context.out.write(jsonDocument('check', report));
    } else {
      for (const finding of report.findings) {
        if (finding.severity === 'note' && call.verbosity === 0) continue;
        await context.out.write(`${findingLine(finding)}\n`);
      }
      for (const [structure, count] of Object.entries(report.omitted)) {
        await context.out.write(`${structure}: ${count} more findings are not listed\n`);
      }
      const counted = Object.entries(report.counts)
        .map(([name, count]) => `${String(count)} ${words(name)}`)
        .join(', ');
      const state = report.clean ? 'clean' : `NOT clean: ${countFindings(report.severityCounts)}`;
      const seconds = (report.durationMs / 1000).toFixed(2);
      await context.out.write(`${target}: ${state}; ${counted}; ${seconds} s\n`);
    }
    return report.clean ? 0 : 1;
  },
});

function findingLine(finding: CheckFinding): string {
  const { severity, structure, location, objectId, message } = finding;
  const id = typeof objectId === 'bigint' ? `0x${objectId.toString(16)}` : objectId;
  const object = id === undefined ? '' : ` ${id}`;
  const place = `${location.device} ${location.offsetBytes}`;
  return `${severity}: ${structure}${object} at ${place}: ${message}`;
}

/** '1 error, 2 warnings'. */
function countFindings(counts: { error: number; warning: number }): string {
  return (['error', 'warning'] as const)
    .map((severity) => {
      const count = counts[severity];
      return count === 0 ? '' : `${count} ${severity}${count === 1 ? '' : 's'}`;
    })
    .filter((text) => text !== '')
    .join(', ');
}

/** 'mblock pages' of 'mblockPages'. */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

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
