import type { Contract } from './contract.ts';
import { mapsContract } from './maps.ts';
import { mblockContract } from './mblock.ts';
import { mblocksContract } from './mblocks.ts';
import { mdcContract } from './mdc.ts';
import { mlogContract } from './mlog.ts';
import { poolContract } from './pool.ts';

/** All that a pool must do, as tests. */
export function poolContracts(contract: Contract): void {
  mblockContract(contract);
  mblocksContract(contract);
  mlogContract(contract);
  mdcContract(contract);
  mapsContract(contract);
  poolContract(contract);
}
