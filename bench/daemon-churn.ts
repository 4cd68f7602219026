// A process of its own: one client of a daemon. Says that it is ready, waits for the word, makes mblocks
// durable and deletes them, and tells how many a second.
import { once } from 'node:events';
import { connect } from '../src/client.ts';
import { churnMblocks } from './workloads/churn.ts';

const WARM_UP_SECONDS = 0.3;

const [rundir, poolName, seconds, inFlight] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
];
await using daemon = await connect({ rundir });
await using pool = await daemon.open(poolName);
// Its code is compiled then, as that of the benchmark's own process is.
await churnMblocks(pool, WARM_UP_SECONDS, Number(inFlight));
process.send!('ready');
await once(process, 'message');
process.send!(await churnMblocks(pool, Number(seconds), Number(inFlight)));
process.disconnect();
