/**
 * What a user may do who cannot open the pool's device: argv is the daemon's directory, the pool, and an mblock's id
 * and content (seed and length). Says what it found as JSON.
 */
import { accessSync, constants } from 'node:fs';
import { connect, isMpoolError, type MblockId } from '../../src/client.ts';
import { pattern } from '../pool/pool-host.ts';

const [rundir, name, path, id, seed, length] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string,
];
const want = pattern(Number(length), Number(seed));
const mblockId = BigInt(id) as MblockId;

async function codeOf(call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
    return 'done';
  } catch (error) {
    return isMpoolError(error) ? error.code : String(error);
  }
}

function canOpen(): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

const daemon = await connect({ rundir });
const found: Record<string, unknown> = {
  canOpen: canOpen(),
  status: await codeOf(() => daemon.status()),
  write: await codeOf(async () => (await daemon.open(name)).close()),
};
const readOnly = await codeOf(async () => {
  const pool = await daemon.open(name, { readOnly: true });
  found['read'] = want.equals(await pool.mblocks.read(mblockId, 0, want.length));
  const map = await pool.map([mblockId]);
  found['mapped'] = want.equals(map.view(0)) && want.equals(await map.read(0, 0, want.length));
  await map.unmap();
  const again = await pool.map([mblockId, mblockId]);
  found['mappedAgain'] = want.equals(again.view(1));
  await again.unmap();
  found['alloc'] = await codeOf(() => pool.mblocks.alloc());
  found['delete'] = await codeOf(() => pool.mblocks.delete([mblockId]));
  await pool.close();
});
process.stdout.write(`${JSON.stringify({ ...found, readOnly })}\n`);
