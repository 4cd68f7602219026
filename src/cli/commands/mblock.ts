import type { Mblock, MblockId, MblockProperties } from '../../pool/api.ts';
import { printObjectId } from '../../format/object-id.ts';
import { MIB } from '../../base/units.ts';
import { formatTable, makeColumns } from '../columns.ts';
import { command, type Call, type Context } from '../command.ts';
import { jsonDocument, writeJsonList } from '../json.ts';
import { Progress } from '../progress.ts';
import { checkReadable, openInput, streamInput, type Input } from '../system.ts';
import { UsageError } from '../usage-error.ts';
import { classKind, offsetKind } from '../values.ts';
import { checkInterrupt, POOL, readMblockId, sizeFormatter, tell, withPool } from './common.ts';
import { storeFile } from './store-file.ts';

const CLASS = { kind: classKind, meaning: 'capacity or staging' } as const;
const IDS = { name: 'ID', meaning: 'id of an mblock, 0x…', count: 'some' } as const;
const READ_PIECE_BYTES = 4 * MIB;

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

export const mblockRead = command({
  name: 'mblock read',
  summary: 'Write the bytes of mblocks to standard output, verified',
  positionals: [POOL, IDS],
  parameters: {
    off: { kind: offsetKind, meaning: 'first byte', default: '0' },
    len: { kind: offsetKind, meaning: 'how many bytes', default: 'to the end' },
  },
  details: [
    'Several ids give their bytes one after the other. off and len are for one id only. ' +
      'With --json the bytes are base64.',
  ],
  examples: [
    'mpool mblock read mp1 0x1101 > segment.sst',
    'mpool mblock read mp1 0x1101 off=4k len=100 | xxd',
    'mpool mblock read mp1 $(cat ids) | tar x',
  ],
  async run(call, context) {
    const [target = '', ...texts] = call.words;
    const ids = texts.map(readMblockId);
    const { off = 0, len } = call.values;
    if (ids.length > 1 && ('off' in call.values || 'len' in call.values)) {
      throw new UsageError("'off' and 'len' are for one mblock only");
    }
    const json = call.options.has('json');
    await withPool(context, target, { readOnly: true }, async (pool) => {
      // All of them before the first byte: a wrong id should not give half an output.
      const mblocks: Mblock[] = [];
      for (const id of ids) mblocks.push(await pool.mblocks.find(id));
      const read = mblocks.map((mblock) => ({
        mblock,
        offsetBytes: off,
        lengthBytes: len ?? Math.max(0, mblock.writtenBytes - off),
      }));
      for (const { mblock, offsetBytes, lengthBytes } of read) {
        if (offsetBytes + lengthBytes <= mblock.writtenBytes) continue;
        throw new UsageError(
          `${printObjectId(mblock.id)} has ${mblock.writtenBytes} bytes: off or len is beyond them`,
          'ERANGE',
        );
      }
      if (json) {
        await writeJsonList(context.out, 'mblock read', 'mblocks', readAsBase64(read));
        return;
      }
      for (const { mblock, offsetBytes, lengthBytes } of read) {
        for await (const bytes of pieces(mblock, offsetBytes, lengthBytes)) {
          checkInterrupt(context);
          await context.out.write(bytes);
        }
      }
    });
  },
});

/** Reads ahead by one piece: the device works while the reader takes the last one. */
async function* pieces(
  mblock: Mblock,
  offsetBytes: number,
  lengthBytes: number,
): AsyncGenerator<Uint8Array> {
  const end = offsetBytes + lengthBytes;
  const start = (offset: number): Promise<Uint8Array> => {
    const piece = mblock.read(offset, Math.min(READ_PIECE_BYTES, end - offset));
    piece.catch(() => undefined);
    return piece;
  };
  if (lengthBytes === 0) return;
  let next: Promise<Uint8Array> | undefined = start(offsetBytes);
  for (let offset = offsetBytes; next !== undefined;) {
    const bytes: Uint8Array = await next;
    offset += bytes.length;
    next = offset < end ? start(offset) : undefined;
    yield bytes;
  }
}

async function* readAsBase64(
  ranges: readonly { mblock: Mblock; offsetBytes: number; lengthBytes: number }[],
): AsyncGenerator<object> {
  for (const { mblock, offsetBytes, lengthBytes } of ranges) {
    const bytes = await mblock.read(offsetBytes, lengthBytes);
    const base64 = Buffer.from(bytes).toString('base64');
    yield { id: mblock.id, offsetBytes, lengthBytes, base64 };
  }
}

export const mblockList = command({
  name: 'mblock list',
  summary: 'List the committed mblocks of a pool',
  positionals: [POOL],
  parameters: { class: { ...CLASS, default: 'both' } },
  options: ['noheadings', 'nosuffix'],
  examples: ['mpool mblock list mp1', 'mpool mblock list -Hp mp1 class=staging'],
  async run(call, context) {
    const [target = ''] = call.words;
    await withPool(context, target, { readOnly: true }, async (pool) => {
      await writeProperties(
        call,
        context,
        'mblock list',
        pool.mblocks.list({
          mediaClass: call.values.class,
        }),
      );
    });
  },
});

export const mblockProps = command({
  name: 'mblock props',
  summary: 'Show the properties of mblocks',
  positionals: [POOL, IDS],
  options: ['noheadings', 'nosuffix'],
  examples: ['mpool mblock props mp1 0x1101'],
  async run(call, context) {
    const [target = '', ...texts] = call.words;
    const ids = texts.map(readMblockId);
    await withPool(context, target, { readOnly: true }, async (pool) => {
      const found: MblockProperties[] = [];
      for (const id of ids) found.push((await pool.mblocks.find(id)).properties());
      await writeProperties(call, context, 'mblock props', found);
    });
  },
});

async function writeProperties(
  call: Call,
  context: Context,
  verb: string,
  items: Iterable<MblockProperties> | AsyncIterable<MblockProperties>,
): Promise<void> {
  if (call.options.has('json')) {
    await writeJsonList(context.out, verb, 'mblocks', items);
    return;
  }
  const size = sizeFormatter(call.options);
  const rows: string[][] = [];
  for await (const item of items) {
    checkInterrupt(context);
    rows.push([
      printObjectId(item.id),
      item.mediaClass,
      size(item.writtenBytes),
      size(item.capacityBytes),
      size(item.allocatedBytes),
    ]);
  }
  const columns = makeColumns('MBLOCK', 'CLASS', '>WRITTEN', '>CAPACITY', '>ALLOC');
  const headings = !call.options.has('noheadings') && rows.length > 0;
  await context.out.write(formatTable(columns, rows, { headings }));
}

export const mblockDelete = command({
  name: 'mblock delete',
  summary: 'Delete mblocks',
  positionals: [POOL, IDS],
  details: ['All ids are looked up first: when one is wrong, none is deleted.'],
  examples: ['mpool mblock delete mp1 0x1101 0x2101'],
  async run(call, context) {
    const [target = '', ...texts] = call.words;
    const ids = texts.map(readMblockId);
    await withPool(context, target, {}, (pool) => pool.mblocks.delete(ids));
    const sentence = `${count(ids.length, 'mblock')} deleted`;
    await tell(call, context, 'mblock delete', { deleted: ids }, sentence);
  },
});

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
