/** Opens a pool, uses everything once, and just ends: argv is the daemon's directory and the pool. */
import { connect } from '../../src/client.ts';

const [rundir, name] = process.argv.slice(2) as [string, string];
const daemon = await connect({ rundir });
const pool = await daemon.open(name);
const mblock = await pool.mblocks.alloc();
await mblock.write(Buffer.alloc(100_000, 1));
await mblock.commit();
await mblock.read(0, 100_000);
const map = await pool.map([mblock.id]);
map.view(0);
const root = await pool.mdcs.root();
await root.append('x', { sync: true });
process.stdout.write('done\n');
