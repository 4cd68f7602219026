import type { LogWitness } from '../format/log-frame.ts';

/**
 * Of an active pool, up to where its own MDCs are durable: what frames of other logs say when they are made.
 * Users' logs and MDC 0 speak of MDC 1, and MDC 1 of MDC 0.
 */
export class Witnesses {
  readonly mdc0: LogWitness = { generation: 0, endBytes: 0 };
  readonly mdc1: LogWitness = { generation: 0, endBytes: 0 };
}
