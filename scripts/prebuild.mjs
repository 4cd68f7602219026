// Puts the addon where the published package carries it: users need no compiler.
import { cpSync, mkdirSync } from 'node:fs';

const directory = `prebuilds/linux-${process.arch}`;
mkdirSync(directory, { recursive: true });
cpSync('native/build/mpool.node', `${directory}/mpool.node`);
