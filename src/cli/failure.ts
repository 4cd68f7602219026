/** How errors are told: `mpool: VERB: what: why (ERRNO)` on standard error, and an exit status. */
import { errnoName, errorTable, isMpoolError } from '../base/errors.ts';
import { ClosedOutput, UsageError } from './usage-error.ts';

const EXIT_OPERATING = 1;
const EXIT_USAGE = 2;
/** 128 + SIGINT and 128 + SIGPIPE: what a shell reports of a program that the signal ended. */
export const EXIT_INTERRUPTED = 130;
export const EXIT_CLOSED_OUTPUT = 141;

export interface Failure {
  /** 'what: why (ERRNO)'; undefined when there is nothing to tell. */
  text: string | undefined;
  status: number;
}

/** @param what is named when the error itself does not say what it is about */
export function describeFailure(error: unknown, what: string): Failure {
  if (error instanceof UsageError) {
    return { text: `${error.message} (${error.errnoName})`, status: EXIT_USAGE };
  }
  if (error instanceof ClosedOutput) return { text: undefined, status: EXIT_CLOSED_OUTPUT };
  if (isMpoolError(error, 'ERR_MPOOL_ABORTED') || isAbort(error)) {
    return { text: 'interrupted (ECANCELED)', status: EXIT_INTERRUPTED };
  }
  if (isMpoolError(error)) {
    const meaning = errorTable().find(([code]) => code === error.code)?.[2];
    if (error.code === 'ERR_MPOOL_NOT_BLANK' && meaning !== undefined) {
      // Here it is the switch that forces, not an option called so.
      const text = error.message.replace(meaning, '-f overwrites it');
      return { text: `${text} (${errnoName(error.errno)})`, status: EXIT_OPERATING };
    }
    const message = error.message === meaning ? prefixed(what, error.message) : error.message;
    return { text: `${message} (${errnoName(error.errno)})`, status: EXIT_OPERATING };
  }
  if (isInvalidArgument(error)) {
    return { text: `${error.message} (EINVAL)`, status: EXIT_USAGE };
  }
  return { text: systemText(error) ?? internalText(error), status: EXIT_OPERATING };
}

function prefixed(what: string, why: string): string {
  return what === '' ? why : `${what}: ${why}`;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

function isInvalidArgument(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && error.code === 'ERR_MPOOL_INVALID_ARG';
}

/** Node words a system's error "ENOENT: no such file or directory, open 'x'". */
function systemText(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { path } = error as NodeJS.ErrnoException;
  const match = /^(E[A-Z0-9]+): ([^,]+)/.exec(error.message);
  if (match) return `${path === undefined ? '' : `${path}: `}${match[2]} (${match[1]})`;
  const short = /^\w+ (E[A-Z0-9]+)$/.exec(error.message);
  return short ? `${path ?? 'input'}: ${error.message} (${short[1]})` : undefined;
}

function internalText(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `internal error, please report it: ${text}`;
}
