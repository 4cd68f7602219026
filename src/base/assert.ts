/** A bug in mpool itself. Never caught, except to mark the pool failed. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Checks an invariant, in production too: going on with a broken one is how data is lost. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
