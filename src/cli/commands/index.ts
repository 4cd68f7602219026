/** Every verb, in the order of the help. */
import type { Command } from '../command.ts';
import { activate, deactivate } from './activate.ts';
import { clients, status } from './clients.ts';
import { completePools, completionOf } from './completion.ts';
import { create } from './create.ts';
import { get } from './get.ts';
import { check, doctor, dump } from './inspect.ts';
import { list } from './list.ts';
import { add, destroy, grow, rename, set } from './manage.ts';
import { mblockDelete, mblockList, mblockProps } from './mblock.ts';
import { mblockPut } from './mblock-put.ts';
import { mblockRead } from './mblock-read.ts';
import { mcacheEvict, mcacheResidency, mcacheWarm } from './mcache.ts';
import { mcacheReaper } from './mcache-reaper.ts';
import { mdcAlloc, mdcAppend, mdcCompact, mdcDelete, mdcList, mdcRead } from './mdc.ts';
import { repair, scrub } from './mend.ts';
import { mlogAlloc, mlogAppend, mlogDelete, mlogErase, mlogList, mlogRead } from './mlog.ts';
import { scan } from './scan.ts';
import { top } from './top.ts';
import { upgrade } from './upgrade.ts';
import { version } from './version.ts';

export const COMMANDS: readonly Command[] = [
  [create, destroy, scan, list, get, set, rename, add, grow, upgrade, check, scrub, repair, dump],
  [activate, deactivate, status, clients, top],
  [mblockPut, mblockRead, mblockList, mblockProps, mblockDelete],
  [mlogAlloc, mlogAppend, mlogRead, mlogErase, mlogDelete, mlogList],
  [mdcAlloc, mdcAppend, mdcRead, mdcCompact, mdcDelete, mdcList],
  [mcacheWarm, mcacheResidency, mcacheEvict, mcacheReaper],
  [doctor, completionOf(() => COMMANDS), version, completePools],
].flat();
