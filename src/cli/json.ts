/**
 * What --json prints: one document, `{"schema":"mpool/1","verb":…}`, sizes as numbers of bytes, ids
 * as '0x…' strings.
 */
import type { Output } from './output.ts';

const JSON_SCHEMA = 'mpool/1';

/** The document with its newline. Every bigint in it is an id. */
export function jsonDocument(verb: string, content: object): string {
  return `${JSON.stringify({ schema: JSON_SCHEMA, verb, ...content }, bigintAsHex)}\n`;
}

/**
 * The same document for lists too long to hold: `items` are written as they come, as the member
 * `name`. When they fail before the first, nothing is written; later, what came before is a whole
 * document.
 */
export async function writeJsonList(
  out: Output,
  verb: string,
  name: string,
  items: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<void> {
  const opening = JSON.stringify({ schema: JSON_SCHEMA, verb });
  const head = `${opening.slice(0, -1)},${JSON.stringify(name)}:[`;
  let before = head;
  try {
    for await (const item of items) {
      await out.write(before + JSON.stringify(item, bigintAsHex));
      before = ',';
    }
  } catch (error) {
    // The first error is the one to tell, also when it is the output that failed.
    if (before !== head) await out.write(']}\n').catch(() => undefined);
    throw error;
  }
  await out.write(before === head ? `${head}]}\n` : ']}\n');
}

function bigintAsHex(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : value;
}
