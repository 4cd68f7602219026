import type { Operation, Requests } from '../operations.ts';
import type { ControlRequests, PoolRequests } from '../protocol.ts';
import type { Incoming, Reply } from '../server-channel.ts';
import type { ControlSession } from './control-session.ts';
import type { Session } from './session.ts';
import type { Check } from './shape.ts';

/** What a client must be allowed to do with the pool. */
export type PoolAccess = 'read' | 'write';
/** 'look': whoever may connect to `ctl`; 'manage': whoever may write there. */
export type ControlAccess = 'look' | 'manage';

/** What is to be done for one operation, and who may ask for it: the only way to it. */
export interface Handler<Access, Asker> {
  readonly operation: Operation;
  readonly access: Access;
  /** Begins in the call, so that requests have their effect in the order in which they came. */
  run(asker: Asker, request: Incoming): Reply | Promise<Reply>;
}

export type PoolHandler = Handler<PoolAccess, Session>;
export type ControlHandler = Handler<ControlAccess, ControlSession>;

/** What is answered: the body of it alone, or with a payload. */
type Answer<Op extends Operation> = { body: Requests[Op][1]; payload?: Reply['payload'] };

type Work<Op extends Operation, Body, Asker> = (
  asker: Asker,
  body: Body,
  request: Incoming,
) => Answer<Op> | Promise<Answer<Op>>;

export function onPool<Op extends keyof PoolRequests, Body>(
  operation: Op,
  access: PoolAccess,
  check: Check<Body>,
  work: Work<Op, Body, Session>,
): PoolHandler {
  return handlerOf(operation, access, check, work);
}

export function onControl<Op extends keyof ControlRequests, Body>(
  operation: Op,
  access: ControlAccess,
  check: Check<Body>,
  work: Work<Op, Body, ControlSession>,
): ControlHandler {
  return handlerOf(operation, access, check, work);
}

function handlerOf<Op extends Operation, Access, Body, Asker>(
  operation: Op,
  access: Access,
  check: Check<Body>,
  work: Work<Op, Body, Asker>,
): Handler<Access, Asker> {
  return {
    operation,
    access,
    run: (asker, request) => {
      const body = check(request.body, operation);
      request.body = NO_BODY;
      return work(asker, body, request);
    },
  };
}

/** By operation. */
export function tableOf<H extends { operation: Operation }>(
  ...groups: readonly (readonly H[])[]
): ReadonlyMap<Operation, H> {
  return new Map(groups.flat().map((handler) => [handler.operation, handler]));
}

const NO_BODY: Readonly<Record<string, never>> = Object.freeze({});

/** Of answers that say nothing but that it is done. */
export const DONE: { body: Record<string, never> } = Object.freeze({ body: Object.freeze({}) });
