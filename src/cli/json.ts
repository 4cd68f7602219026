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
 * `name`.
 */
export async function writeJsonList(
  out: Output,
  verb: string,
  name: string,
  items: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<void> {
  const head = JSON.stringify({ schema: JSON_SCHEMA, verb });
  await out.write(`${head.slice(0, -1)},${JSON.stringify(name)}:[`);
  let separator = '';
  for await (const item of items) {
    await out.write(separator + JSON.stringify(item, bigintAsHex));
    separator = ',';
  }
  await out.write(']}\n');
}

function bigintAsHex(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : value;
}
