/** A mistake in what the user typed: exit status 2, before anything was touched. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly errnoName: 'EINVAL' | 'ERANGE';

  constructor(message: string, errnoName: 'EINVAL' | 'ERANGE' = 'EINVAL') {
    super(message);
    this.errnoName = errnoName;
  }
}

/** Whoever read standard output has gone: the program ends quietly, as SIGPIPE would end it. */
export class ClosedOutput extends Error {
  override readonly name = 'ClosedOutput';
}
