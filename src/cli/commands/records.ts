/** Records of mlogs and MDCs, as lines or whole: what the two nouns share. */
import { MIB } from '../../base/units.ts';
import type { Pool } from '../../pool/api.ts';
import type { Call, Context, OptionName, Positional } from '../command.ts';
import { writeJsonList } from '../json.ts';
import { chunksOf, gather, splitLines } from '../lines.ts';
import { openInput } from '../system.ts';
import { logSizeKind } from '../values.ts';
import { checkInterrupt } from './common.ts';
import { count, tell } from './deed.ts';
import { CLASS } from './parameters.ts';

export const RECORDS_FILE: Positional = {
  name: 'FILE',
  meaning: 'file to take records from; standard input when left out, or -',
  count: 'optional',
  candidates: 'file',
};

export const LOG_PARAMETERS = {
  size: { kind: logSizeKind, meaning: 'what the log can take, rounded up', default: '1m' },
  class: { ...CLASS, default: 'capacity' },
} as const;

const LOG_SIZE_DEFAULT_BYTES = MIB;

/** What mlogs and MDCs have in common for appending. */
interface Appendable {
  append(record: Uint8Array, options: { sync: boolean }): Promise<void>;
  sync(): Promise<void>;
}

/** Lines of the input, or with --raw all of it as one record. */
export async function* inputRecords(
  file: string | undefined,
  options: ReadonlySet<OptionName>,
  context: Context,
): AsyncGenerator<Uint8Array> {
  await using input = file === undefined || file === '-' ? undefined : await openInput(file);
  const chunks = input === undefined ? context.input() : chunksOf(input);
  if (options.has('raw')) yield await gather(chunks);
  else yield* splitLines(chunks);
}

/**
 * Appends all records, durable when it resolves: with --sync one by one, else with one sync at the
 * end. When it fails in the middle, the records before are kept and counted on standard error.
 */
export async function appendRecords(
  call: Call,
  context: Context,
  verb: string,
  log: Appendable,
  records: AsyncIterable<Uint8Array>,
): Promise<void> {
  const sync = call.options.has('sync');
  let appended = 0;
  try {
    for await (const record of records) {
      checkInterrupt(context);
      await log.append(record, { sync });
      appended++;
    }
  } catch (error) {
    await log.sync();
    if (appended > 0) {
      const how = call.options.has('dry-run') ? 'would be appended' : 'appended';
      context.note(`${verb}: ${count(appended, 'record')} ${how} before it stopped`);
    }
    throw error;
  }
  await log.sync();
  const what = count(appended, 'record');
  const content = { appended };
  const deed = {
    done: `${what} appended`,
    would: `append ${what}`,
  };
  await tell(call, context, verb, content, deed);
}

/** Prints records as lines, with --raw without newlines, with --json as text or base64. */
export async function writeRecords(
  call: Call,
  context: Context,
  verb: string,
  records: AsyncIterable<Uint8Array>,
): Promise<void> {
  if (call.options.has('json')) {
    await writeJsonList(context.out, verb, 'records', recordsAsJson(records));
    return;
  }
  const raw = call.options.has('raw');
  for await (const record of records) {
    checkInterrupt(context);
    await context.out.write(record);
    if (!raw) await context.out.write('\n');
  }
}

async function* recordsAsJson(records: AsyncIterable<Uint8Array>): AsyncGenerator<object> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  for await (const record of records) {
    const lengthBytes = record.length;
    try {
      yield { lengthBytes, text: decoder.decode(record) };
    } catch {
      yield { lengthBytes, base64: Buffer.from(record).toString('base64') };
    }
  }
}

/** Opens a log or MDC, hands it over and closes it, whatever happens. */
export async function withLog<L extends { close(): Promise<void> }>(
  opening: Promise<L>,
  body: (log: L) => Promise<void>,
): Promise<void> {
  const log = await opening;
  try {
    await body(log);
  } catch (error) {
    await log.close().catch(() => undefined);
    throw error;
  }
  await log.close();
}

/** The class is checked by the pool; only what was given is handed on. */
export function allocOptions(
  values: { size?: number; class?: 'capacity' | 'staging' },
  options: ReadonlySet<OptionName>,
): Parameters<Pool['mlogs']['alloc']>[0] {
  return {
    capacityBytes: values.size ?? LOG_SIZE_DEFAULT_BYTES,
    mediaClass: values.class,
    spare: options.has('spare'),
  };
}
