import { DAEMON } from './daemon.ts';
import { DEVICE } from './device.ts';
import { FAILURES } from './failures.ts';
import { FORMAT } from './format.ts';
import { LOGS } from './logs.ts';
import { MCACHE } from './mcache.ts';
import type { Mutant } from './mutant.ts';
import { NATIVE } from './native.ts';
import { OBJECTS } from './objects.ts';
import { WITNESSES } from './witnesses.ts';
import { VERSIONS } from './versions.ts';

export const MUTANTS: readonly Mutant[] = [
  ...FORMAT,
  ...LOGS,
  ...OBJECTS,
  ...DEVICE,
  ...MCACHE,
  ...DAEMON,
  ...NATIVE,
  ...WITNESSES,
  ...FAILURES,
  ...VERSIONS,
];
