import type { MblockId } from '../../pool/api.ts';
import { printObjectId } from '../../format/object-id.ts';
import { command, type Context } from '../command.ts';
import { jsonDocument } from '../json.ts';
import { Progress } from '../progress.ts';
import { checkReadable, openInput, streamInput, type Input } from '../system.ts';
import { UsageError } from '../usage-error.ts';
import { checkInterrupt, count, POOL, withPool } from './common.ts';
import { CLASS } from './parameters.ts';
import { storeFile } from './store-file.ts';

export const mblockPut = command({
  name: 'mblock put',
  summary: 'Store files as mblocks, and print the ids, one a line',
  positionals: [
    POOL,
    { name: 'FILE', meaning: 'file to store; - is standard input', count: 'some' },
  ],
  parameters: { class: { ...CLASS, default: 'capacity' } },
  options: ['spare'],
  details: [
    'A file longer than an mblock takes several, filled in order. All mblocks of one file are ' +
      'committed in one step, and their ids are printed only then: what is printed is durable. ' +
      'When something fails or Ctrl-C is pressed, the files before stay stored, and the one at ' +
      'work leaves nothing. An empty file makes no mblock.',
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
      const stored: { file: string; bytes: number; mblocks: MblockId[] }[] = [];
      const json = call.options.has('json');
      const options = { mediaClass: call.values.class, spare: call.options.has('spare') };
      try {
        for (const file of files) {
          checkInterrupt(context);
          await using input = await inputOf(file, context);
          const progress = new Progress(context.progress, 'bytes');
          const total = input.sizeBytes ?? 0;
          const { mblocks, bytes } = await storeFile(pool, input, options, {
            signal: context.signal,
            onProgress: (done) => progress.update(done, total),
          }).finally(() => progress.end());
          const ids = mblocks.map(({ id }) => id);
          stored.push({ file, bytes, mblocks: ids });
          if (json) continue;
          await context.out.write(ids.map((id) => `${printObjectId(id)}\n`).join(''));
          await context.out.flush();
          if (call.verbosity > 0) {
            context.note(`${file}: ${bytes} bytes in ${count(ids.length, 'mblock')}`);
          }
        }
      } catch (error) {
        if (files.length > 1) {
          context.note(`mblock put: ${stored.length} of ${files.length} files stored`);
        }
        throw error;
      } finally {
        if (json) await context.out.write(jsonDocument('mblock put', { files: stored }));
      }
    });
  },
});

async function inputOf(file: string, context: Context): Promise<Input> {
  return file === '-' ? streamInput('-', context.input()) : openInput(file);
}
