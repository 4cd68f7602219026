// Runs every compiled test file under node:test (a glob in `node --test` finds nothing on Node 20).
// Usage: node scripts/test.mjs [substring…]   only files whose path contains one of the words
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

const words = process.argv.slice(2);
const files = readdirSync('build/test', { recursive: true })
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
  .map((name) => join('build/test', name))
  .sort();
if (files.length === 0) {
  console.error(`no test file has ${words.join(' or ')} in its path under test/`);
  process.exit(1);
}
/**
 * They see the whole machine's loop devices, mounts and processes, each other's too: one after the other.
 * The rest have machines of their own, simulated ones.
 */
const ONE_AT_A_TIME = [
  'cli',
  'contract',
  'daemon',
  'device',
  'e2e',
  'kill',
  'mcache',
  'native',
  'real',
];
const isAlone = (file) => ONE_AT_A_TIME.includes(relative('build/test', file).split(sep)[0]);

function run(chosen, options) {
  if (chosen.length === 0) return 0;
  const how = ['--enable-source-maps', '--test', '--test-timeout=300000', '--test-reporter=spec'];
  const { status } = spawnSync(process.execPath, [...how, ...options, ...chosen], {
    stdio: 'inherit',
  });
  return status ?? 1;
}

const others = run(
  files.filter((file) => !isAlone(file)),
  [],
);
const alone = run(files.filter(isAlone), ['--test-concurrency=1']);
process.exit(others || alone);
