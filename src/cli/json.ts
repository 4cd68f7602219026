/**
 * What --json prints: one document, `{"schemaVersion":1,"verb":…}`, sizes as numbers of bytes, ids as
 * '0x…' strings. docs/cli.schema.json has the members of each.
 */
import type { Output } from './output.ts';

/** Rises when a member goes away or changes its meaning; not when one is added. */
const SCHEMA_VERSION = 1;

/** The document with its newline. Every bigint in it is an id. */
export function jsonDocument(verb: string, content: object): string {
  return `${JSON.stringify({ ...head(verb), ...content }, bigintAsHex)}\n`;
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
  const opening = `${JSON.stringify(head(verb)).slice(0, -1)},${JSON.stringify(name)}:[`;
  let before = opening;
  try {
    for await (const item of items) {
      await out.write(before + JSON.stringify(item, bigintAsHex));
      before = ',';
    }
  } catch (error) {
    // The first error is the one to tell, also when it is the output that failed.
    if (before !== opening) await out.write(']}\n').catch(() => undefined);
    throw error;
  }
  await out.write(before === opening ? `${opening}]}\n` : ']}\n');
}

function head(verb: string): object {
  return { schemaVersion: SCHEMA_VERSION, verb };
}

function bigintAsHex(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : value;
}
