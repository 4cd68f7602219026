/** How verbs tell what they did, or in a dry run would do. */
import { assert } from '../../base/assert.ts';
import type { Call, Context } from '../command.ts';
import { jsonDocument } from '../json.ts';

/** What was done, or in a dry run would be: `done` 'mpool mp1 created', `would` 'create mpool mp1'. */
export interface Deed {
  readonly done: string;
  /** Of verbs that have dry runs. */
  readonly would?: string;
}

/**
 * Prints `content` as the verb's JSON document, or with -v what was done, or nothing; in a dry run what
 * would be done.
 */
export async function tell(
  call: Pick<Call, 'options' | 'verbosity'>,
  context: Context,
  verb: string,
  content: object,
  deed: Deed,
): Promise<void> {
  if (call.options.has('dry-run')) {
    assert(deed.would !== undefined, `${verb} says what it would do`);
    await tellPlan(call, context, verb, [deed.would]);
  } else if (call.options.has('json')) await context.out.write(jsonDocument(verb, content));
  else if (call.verbosity > 0) await context.out.write(`${deed.done}\n`);
}

/** What would be done, one deed a line. */
export async function tellPlan(
  call: Pick<Call, 'options'>,
  context: Context,
  verb: string,
  deeds: readonly string[],
): Promise<void> {
  const json = call.options.has('json');
  const text = json
    ? jsonDocument(verb, { dryRun: true, would: deeds })
    : deeds.map((deed) => `would ${deed}\n`).join('');
  await context.out.write(text);
}

/** '1 record', '2 records'. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
