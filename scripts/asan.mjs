// Runs the tests of the native and device rooms on an addon built with AddressSanitizer.
// Usage: node scripts/asan.mjs [folder of compiled tests, build/test by default]
// Leaks are not looked for: Node itself never frees all it has.
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

execFileSync('make', ['-s', '-C', 'native', 'SAN=address'], { stdio: 'inherit' });
const compiler = process.env['CC'] ?? 'cc';
const library = execFileSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' });
const folder = process.argv[2] ?? 'build/test';
const files = ['native', 'device'].flatMap((room) =>
  readdirSync(join(folder, room))
    .filter((name) => name.endsWith('.test.js'))
    .sort()
    .map((name) => join(folder, room, name)),
);
if (files.length === 0) throw new Error(`no compiled tests in ${folder}: run npm run build`);
const run = spawnSync(
  process.execPath,
  ['--enable-source-maps', '--test', '--test-reporter=spec', ...files],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      MPOOL_NATIVE: resolve('native/build-asan/mpool.node'),
      LD_PRELOAD: library.trim(),
      // SIGBUS as without it: tests look how processes die of it.
      ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:handle_sigbus=0',
    },
  },
);
process.exit(run.status ?? 1);
