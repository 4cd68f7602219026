// Puts into the published package what its users then do not need: the built addon, so that no compiler is,
// and the headers, so that a compiler alone can build it where the prebuilt one does not fit.
import { cpSync, mkdirSync } from 'node:fs';

const directory = `prebuilds/linux-${process.arch}`;
mkdirSync(directory, { recursive: true });
cpSync('native/build/mpool.node', `${directory}/mpool.node`);
cpSync('node_modules/node-api-headers/include', 'native/include', { recursive: true });
