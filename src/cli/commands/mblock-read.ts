import type { Mblock } from '../../pool/api.ts';
import { printObjectId } from '../../format/object-id.ts';
import { MIB } from '../../base/units.ts';
import { command } from '../command.ts';
import { writeJsonList } from '../json.ts';
import { UsageError } from '../usage-error.ts';
import { offsetKind } from '../values.ts';
import { checkInterrupt, POOL, withPool } from './common.ts';
import { MBLOCK_IDS, readMblockId } from './ids.ts';

const READ_PIECE_BYTES = 4 * MIB;

export const mblockRead = command({
  name: 'mblock read',
  summary: 'Write the bytes of mblocks to standard output, verified',
  positionals: [POOL, MBLOCK_IDS],
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
