/** One call of the program, from its words to its exit status, with no process around it. */
import { COMMANDS } from './commands/index.ts';
import type { Command, Context } from './command.ts';
import { describeFailure, EXIT_INTERRUPTED } from './failure.ts';
import { writeColumns } from './report.ts';
import { findCommand, parseCall, parseGlobal } from './grammar.ts';
import { commandHelp, globalHelp, nounHelp } from './help.ts';
import { writeVersion } from './commands/version.ts';
import { UsageError } from './usage-error.ts';

/** @returns the exit status; every error has been told on `context.note` */
export async function run(argv: readonly string[], context: Context): Promise<number> {
  let verb = '';
  let what = '';
  try {
    const status = await dispatch(argv, context, (command, words) => {
      verb = `${command.name}: `;
      what = words[0] ?? '';
    });
    await context.out.flush();
    return context.signal.aborted ? EXIT_INTERRUPTED : status;
  } catch (error) {
    // What was printed so far is true and may be all that a script learns of half-done work.
    await context.out.flush().catch(() => undefined);
    const failure = describeFailure(error, what);
    if (failure.text !== undefined) context.note(`${verb}${failure.text}`);
    return failure.status;
  }
}

async function dispatch(
  argv: readonly string[],
  context: Context,
  onCommand: (command: Command, words: readonly string[]) => void,
): Promise<number> {
  const { options, rest } = parseGlobal(argv);
  const verbosity = options.filter((option) => option === 'verbose').length;
  if (options.includes('help') && options.includes('version')) {
    throw new UsageError('option -h excludes -V, use -h for help');
  }
  if (options.includes('version')) {
    await writeVersion({ verbosity, json: false }, context);
    return 0;
  }
  if (options.includes('help') || rest.length === 0) {
    await context.out.write(globalHelp(COMMANDS, verbosity > 0));
    return 0;
  }
  const found = findCommand(rest, COMMANDS);
  if ('noun' in found) return noun(found.noun, found.rest, context);
  const { command } = found;
  onCommand(command, []);
  const call = parseCall(command, found.rest);
  onCommand(command, call.words);
  if (call.options.has('help') && call.options.has('version')) {
    throw new UsageError('option -h excludes -V, use -h for help');
  }
  if (call.options.has('help')) {
    await context.out.write(commandHelp(command, call.verbosity > 0));
    return 0;
  }
  if (call.options.has('version')) {
    await writeVersion({ verbosity: call.verbosity, json: call.options.has('json') }, context);
    return 0;
  }
  if (call.columns?.help) {
    await writeColumns(call, context, command.name, command.columns);
    return 0;
  }
  const world = call.options.has('dry-run') ? dryWorld(context) : context;
  return (await command.run(call, world)) ?? 0;
}

/** Where verbs are none the wiser: the store they get writes nothing. */
function dryWorld(context: Context): Context {
  let loaded: ReturnType<Context['store']> | undefined;
  return { ...context, store: () => (loaded ??= context.store({ dryRun: true })) };
}

/** 'mpool mblock' alone is a mistake; 'mpool mblock -h' asks for the list. */
async function noun(name: string, rest: readonly string[], context: Context): Promise<number> {
  if (rest.every((word) => /^(-[hv]+|--help|--verbose)$/.test(word)) && rest.length > 0) {
    await context.out.write(nounHelp(name, COMMANDS));
    return 0;
  }
  const verbs = COMMANDS.filter((each) => each.name.startsWith(`${name} `));
  const names = verbs.map((each) => each.name.slice(name.length + 1)).join(', ');
  throw new UsageError(`${name}: insufficient arguments, one of ${names}, use -h for help`);
}
