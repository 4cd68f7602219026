import type { MblockId } from '../../pool/api.ts';
import { printObjectId } from '../../format/object-id.ts';
import { command, type Context } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { Progress } from '../progress.ts';
import { checkReadable, openInput, streamInput, type Input } from '../system.ts';
import { UsageError } from '../usage-error.ts';
import { checkInterrupt, POOL, withPool } from './common.ts';
import { count, tellPlan } from './deed.ts';
import { CLASS } from './parameters.ts';
import { storeFile } from './store-file.ts';

export const mblockPut = command({
  name: 'mblock put',
  summary: 'Store files as mblocks, and print the ids, one a line',
  positionals: [
    POOL,
    {
      name: 'FILE',
      meaning: 'file to store; - is standard input',
      count: 'some',
      candidates: 'file',
    },
  ],
  parameters: { class: { ...CLASS, default: 'capacity' } },
  options: ['dry-run', 'spare'],
  details: [
    'A file longer than an mblock takes several, filled in order. All mblocks of one file are ' +
      'committed in one step, and their ids are printed only then: what is printed is durable. ' +
      'When something fails or Ctrl-C is pressed, the files before stay stored, and the one at ' +
      'work leaves nothing. An empty file makes no mblock.',
    'With -n files and standard input are read to their end, and room is found for them.',
  ],
  examples: [
    'mpool mblock put mp1 segment.sst',
    'mpool mblock put mp1 *.sst class=staging',
    'tar c . | mpool mblock put mp1 - > ids',
  ],
  async run(call, context) {
    const [target = '', ...files] = call.words;
    if (files.filter((file) => file === '-').length > 1) {
      throw new UsageError("'-' may not be specified more than once");
    }
    for (const file of files) {
      // Before the pool is opened: a name mistyped should cost nothing.
      if (file !== '-') await checkReadable(file);
    }
    await withPool(context, target, {}, async (pool) => {
      const stored: { file: string; lengthBytes: number; mblocks: MblockId[] }[] = [];
      const json = call.options.has('json');
      const dryRun = call.options.has('dry-run');
      const options = { mediaClass: call.values.class, spare: call.options.has('spare'), dryRun };
      try {
        for (const file of files) {
          checkInterrupt(context);
          await using input = await inputOf(file, context);
          const progress = new Progress(context.progress, 'bytes');
          const total = input.sizeBytes ?? 0;
          const { mblocks, lengthBytes } = await storeFile(pool, input, options, {
            signal: context.signal,
            onProgress: (done) => progress.update(done, total),
          }).finally(() => progress.end());
          const ids = mblocks.map(({ id }) => id);
          stored.push({ file, lengthBytes, mblocks: ids });
          if (json || dryRun) continue;
          await context.out.write(ids.map((id) => `${printObjectId(id)}\n`).join(''));
          await context.out.flush();
          if (call.verbosity > 0) {
            context.note(`${file}: ${describe(lengthBytes, ids.length)}`);
          }
        }
      } catch (error) {
        if (files.length > 1) {
          const how = dryRun ? 'would be stored' : 'stored';
          context.note(`mblock put: ${stored.length} of ${files.length} files ${how}`);
        }
        throw error;
      } finally {
        const deeds = stored.map(({ file, lengthBytes, mblocks }) => {
          return `store ${file}: ${describe(lengthBytes, mblocks.length)}`;
        });
        if (dryRun) await tellPlan(call, context, 'mblock put', deeds);
        else if (json) await context.out.write(jsonDocument('mblock put', { files: stored }));
      }
    });
  },
});

function describe(lengthBytes: number, mblockCount: number): string {
  return `${count(lengthBytes, 'byte')} in ${count(mblockCount, 'mblock')}`;
}

async function inputOf(file: string, context: Context): Promise<Input> {
  return file === '-' ? streamInput('-', context.input()) : openInput(file);
}
