import { mdcRequests, mlogRequests } from './allocated-log-requests.ts';
import { controlRequests } from './control-requests.ts';
import { tableOf } from './handler.ts';
import { logRequests } from './log-requests.ts';
import { mblockRequests } from './mblock-requests.ts';
import { poolRequests } from './pool-requests.ts';

/** All that a client of a pool can ask for. */
export const poolHandlers = tableOf(
  poolRequests,
  mblockRequests,
  mlogRequests,
  logRequests,
  mdcRequests,
);

/** All that a client of `ctl` can ask for. */
export const controlHandlers = tableOf(controlRequests);
