/** Verbs that look for damage of media and mend it: scrub, repair. */
import { command, type Context } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { Progress } from '../progress.ts';
import type { RepairStep } from '../store.ts';
import { cursorKind, rateKind } from '../values.ts';
import { findingLine, writeCheckReport } from './check-report.ts';
import { checkInterrupt, given, POOL } from './common.ts';
import { count, tellPlan } from './deed.ts';

export const scrub = command({
  name: 'scrub',
  summary: 'Verify every page and record of a pool, at a bounded rate',
  positionals: [POOL],
  parameters: {
    rate: { kind: rateKind, meaning: 'bytes to read in a second, at most', default: '100m' },
    from: { kind: cursorKind, meaning: 'where an earlier scrub ended', default: 'the beginning' },
  },
  details: [
    'Nothing is written. Others may read the pool meanwhile, and must not be kept waiting: so it ' +
      'reads at a rate, where check --data reads as fast as it can, and checks less what the ' +
      'records say of each other. It may be interrupted with Ctrl-C, and then says where to go ' +
      'on. What is wrong is listed as by check; the exit status is 1 when there is an error or a ' +
      'warning. An active pool is scrubbed by its daemon, if you may manage it: one scrub at a time, ' +
      'which ends with this command.',
  ],
  examples: ['mpool scrub mp1', 'mpool scrub mp1 rate=1g', 'mpool scrub mp1 from=0x1101+256'],
  async run(call, context) {
    const [target = ''] = call.words;
    const { rate, from } = call.values;
    const store = await context.store();
    const progress = new Progress(context.progress, 'bytes');
    const report = await store
      .scrub(target, {
        ...given({ bytesPerSecond: rate, from }),
        signal: context.signal,
        searchPlaces: context.places,
        onProgress: ({ doneBytes, totalBytes }) => progress.update(doneBytes, totalBytes),
      })
      .finally(() => progress.end());
    if (call.options.has('json')) await context.out.write(jsonDocument('scrub', report));
    else await writeCheckReport(call, context, target, report);
    if (report.complete) return report.clean ? 0 : 1;
    context.note(`scrub ended early: go on with from=${report.cursor}`);
    checkInterrupt(context);
    return 1;
  },
});

export const repair = command({
  name: 'repair',
  summary: 'Restore of a pool what something else on media still tells',
  positionals: [POOL],
  options: ['data', 'dry-run', 'force'],
  details: [
    'The pool must not be in use. Superblocks are restored from their copies, metadata from their ' +
      'other log and from the frames around what is damaged, checksums from the data they are of. ' +
      'A page of data, and a record of a log of yours, have no spare: they stay as they are, and ' +
      'refuse to be read; the rest of the pool is not touched by them.',
    'What would give up records that were acknowledged is not done without -f: it is told with what ' +
      'would be lost. With -f logs are cut where they are damaged.',
    'Say -n first. An interrupted repair has lost nothing: run it again. The exit status is 0 when ' +
      'nothing is left, and nothing is withheld.',
  ],
  examples: ['mpool repair -n mp1', 'mpool repair mp1', 'mpool repair --data /var/lib/mp1.pool'],
  async run(call, context) {
    const [target = ''] = call.words;
    const store = await context.store();
    const data = call.options.has('data');
    const progress = new Progress(context.progress, data ? 'bytes' : 'steps');
    const { dryRun: _, ...report } = await store
      .repair(target, {
        data,
        force: call.options.has('force'),
        signal: context.signal,
        searchPlaces: context.places,
        onProgress: (done, total) => progress.update(done, total),
      })
      .finally(() => progress.end());
    const { steps, withheld, left, clean } = report;
    const deeds = steps.map((step) => `repair ${stepText(step)}`);
    const plan = deeds.length === 0 && clean ? [`leave mpool ${target} as it is`] : deeds;
    if (call.options.has('dry-run')) await tellPlan(call, context, 'repair', plan);
    else if (call.options.has('json')) await context.out.write(jsonDocument('repair', report));
    else {
      for (const step of steps) await context.out.write(`repaired ${stepText(step)}\n`);
      const state = clean ? 'nothing is wrong' : `${count(left.length, 'finding')} left`;
      await context.out.write(`${target}: ${count(steps.length, 'repair')}, ${state}\n`);
    }
    tellRest(context, withheld);
    for (const finding of left) context.note(findingLine(finding));
    return clean ? 0 : 1;
  },
});

/** What was not done, and why. */
function tellRest(context: Context, withheld: readonly RepairStep[]): void {
  for (const step of withheld) {
    const why =
      step.losses.length === 0 ? 'there is no space for it' : `it loses ${step.losses.join('; ')}`;
    context.note(`withheld: ${stepText(step)}: ${why}`);
  }
}

/** 'superblock at /dev/sdb 0: copy 0 written again, of generation 3'. */
function stepText({ structure, objectId, location, message }: RepairStep): string {
  const object = objectId === undefined ? '' : ` ${objectId}`;
  return `${structure}${object} at ${location.device} ${location.offsetBytes}: ${message}`;
}
