// Sows faults into the source, one at a time (test/mutants), and looks whether the tests find them.
// Usage: node scripts/mutants.mjs [--jobs N] [--list] [word…]   only mutants whose file or name has one
// of the words
//
// Each job works in a folder of its own: what is compiled is copied, what is only read is linked. A mutant is
// caught when a test of the files that it names fails, or hangs. Exit status 1 when one survives, or when one
// cannot be sown any more: then the source has changed, and the mutant must follow it.
import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = resolve(import.meta.dirname, '..');
/**
 * Tests of these make loop devices and mounts, which must be taken away again: they are not stopped at
 * their first failure.
 */
const PATIENT = ['device', 'e2e', 'native', 'real'];
/** What a mutant changes; all else is only read. */
const COPIED = new Set(['build', 'native', 'src']);
/** What a mutated test may take: so many times what it takes otherwise, and a pause of the machine. */
const SLOWER = 4;
const PAUSE_MS = 10_000;
const BASELINE_MS = 180_000;
const OUTPUT_KEPT = 4000;

const { values: options, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: 'string', default: String(Math.max(1, Math.min(4, availableParallelism()))) },
    list: { type: 'boolean', default: false },
  },
});
const jobCount = Number(options.jobs);
if (!Number.isSafeInteger(jobCount) || jobCount < 1) {
  console.error('--jobs takes a number from 1');
  process.exit(2);
}

const { MUTANTS } = await import(join(ROOT, 'build/test/mutants/index.js'));
const { sourceOf, staleMutants, testFilesOf } = await import(
  join(ROOT, 'build/test/mutants/stale.js')
);
const chosen = MUTANTS.filter(
  ({ name, file }) =>
    words.length === 0 || words.some((word) => name.includes(word) || file.includes(word)),
);
if (options.list) {
  for (const { name, file, breaks } of chosen) console.log(`${name}\n  ${file}: ${breaks}`);
  process.exit(0);
}

const testFiles = testFilesOf(ROOT);

function filesOf({ tests }) {
  return testFiles.filter((name) => tests.some((word) => name.includes(word)));
}

/** A copy of what is compiled; the rest, which tests only read, is the tree's own. */
class Field {
  #folder;
  #temporary;

  constructor(parent, number) {
    this.#folder = join(parent, `field-${number}`);
    this.#temporary = join(parent, `tmp-${number}`);
    mkdirSync(this.#folder);
    mkdirSync(this.#temporary);
    chmodSync(this.#temporary, 0o1777);
    for (const name of readdirSync(ROOT)) {
      if (COPIED.has(name)) {
        const how = { recursive: true, preserveTimestamps: true };
        cpSync(join(ROOT, name), join(this.#folder, name), how);
      } else if (!name.startsWith('.')) {
        symlinkSync(realpathSync(join(ROOT, name)), join(this.#folder, name));
      }
    }
  }

  /** @returns what gives the source back */
  sow({ file, find, replace }) {
    const isNative = file.startsWith('native/');
    const path = join(this.#folder, sourceOf(file));
    const text = readFileSync(path, 'utf8');
    const compiled = isNative
      ? join(this.#folder, 'native/build/mpool.node')
      : join(this.#folder, 'build/src', file.replace(/\.ts$/, '.js'));
    const before = readFileSync(compiled);
    const back = () => {
      writeFileSync(path, text);
      if (isNative) this.#compileNative();
      else writeFileSync(compiled, before);
    };
    try {
      writeFileSync(path, text.split(find).join(replace));
      if (isNative) this.#compileNative();
      else this.#compile(file);
      if (readFileSync(compiled).equals(before)) throw new Error('what is compiled is the same');
    } catch (error) {
      back();
      throw error;
    }
    return back;
  }

  #compileNative() {
    const run = spawnSync('make', ['-s', '-C', 'native'], { cwd: this.#folder, encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`${run.stdout}${run.stderr}`);
  }

  /** This file alone, types unseen: a tenth of a second. */
  #compile(file) {
    const settings = {
      extends: './tsconfig.json',
      compilerOptions: { noResolve: true, noCheck: true, noLib: true, lib: null, types: [] },
      files: [`src/${file}`],
      include: [],
    };
    const project = join(this.#folder, 'tsconfig.one.json');
    writeFileSync(project, JSON.stringify(settings));
    const tsc = join(ROOT, 'node_modules/.bin/tsc');
    const run = spawnSync(tsc, ['-p', project], { cwd: this.#folder, encoding: 'utf8' });
    // Without a library every global type is missing (TS2318); only syntax counts here.
    const wrong = run.stdout.split('\n').filter((line) => /error TS1\d{3}:/.test(line));
    if (wrong.length > 0) throw new Error(wrong.join('\n'));
  }

  /** @returns 'passed', 'failed' with the first failure, or 'hung' */
  async test(file, limitMs) {
    const mayStop = !PATIENT.includes(dirname(file));
    const started = performance.now();
    const child = spawn(
      process.execPath,
      ['--enable-source-maps', '--test-reporter=tap', join('build/test', file)],
      {
        cwd: this.#folder,
        env: { ...process.env, TMPDIR: this.#temporary, TALLY: '/dev/null' },
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let output = '';
    let failure = '';
    let hung = false;
    const kill = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It is over.
      }
    };
    const timer = setTimeout(() => {
      hung = true;
      kill();
    }, limitMs);
    child.stderr.on('data', (data) => (output = `${output}${data}`.slice(-OUTPUT_KEPT)));
    child.stdout.setEncoding('utf8').on('data', (data) => {
      output = `${output}${data}`.slice(-OUTPUT_KEPT);
      if (failure !== '') return;
      failure = /^ *not ok \d+ - (.*)$/m.exec(output)?.[1] ?? '';
      if (failure !== '' && mayStop) kill();
    });
    const [code, signal] = await new Promise((done) => {
      child.on('close', (...how) => done(how));
    });
    clearTimeout(timer);
    // What a test that was cut off left running.
    kill();
    const ms = Math.round(performance.now() - started);
    if (hung) return { verdict: 'hung', detail: `${file}: more than ${limitMs} ms`, ms, output };
    if (code === 0) return { verdict: 'passed', detail: '', ms, output };
    const detail = `${file}: ${failure || signal || `status ${code}`}`;
    return { verdict: 'failed', detail, ms, output };
  }
}

async function inParallel(fields, items, work) {
  const left = [...items];
  await Promise.all(
    fields.map(async (field) => {
      for (let item = left.shift(); item !== undefined; item = left.shift()) {
        await work(field, item);
      }
    }),
  );
}

/** How long each test file takes on sound source, where it must pass. */
async function baseline(fields, mutants) {
  const files = [...new Set(mutants.flatMap(filesOf))];
  const times = new Map();
  const broken = [];
  await inParallel(fields, files, async (field, file) => {
    let result = await field.test(file, BASELINE_MS);
    // Once more: on a busy machine a test that waits for real processes may have waited in vain.
    if (result.verdict !== 'passed') result = await field.test(file, BASELINE_MS);
    times.set(file, result.ms);
    if (result.verdict !== 'passed') broken.push(`${result.detail}\n${result.output}`);
  });
  return { times, broken };
}

/** Quick test files first: most mutants are found by them. */
async function judge(field, mutant, times) {
  const files = filesOf(mutant).toSorted((a, b) => times.get(a) - times.get(b));
  const back = field.sow(mutant);
  try {
    for (const file of files) {
      const result = await field.test(file, PAUSE_MS + SLOWER * times.get(file));
      if (result.verdict !== 'passed') return result;
    }
    return undefined;
  } finally {
    back();
  }
}

async function main(parent) {
  const fields = Array.from({ length: Math.min(jobCount, chosen.length) }, (_, i) => {
    return new Field(parent, i);
  });
  const startMs = performance.now();
  const { times, broken } = await baseline(fields, chosen);
  if (broken.length > 0) {
    console.error(`tests fail on the source as it is:\n${broken.join('\n')}`);
    return 1;
  }
  console.log(`${times.size} test files pass on the source as it is`);
  const survivors = [];
  const stale = [];
  await inParallel(fields, chosen, async (field, mutant) => {
    const begun = performance.now();
    try {
      const caught = await judge(field, mutant, times);
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      if (caught === undefined) survivors.push(mutant);
      const what = caught === undefined ? 'SURVIVED' : `${caught.verdict}  ${caught.detail}`;
      console.log(`${mutant.name}  (${seconds} s)  ${what}`);
    } catch (error) {
      stale.push(`${mutant.name}: ${error.message}`);
    }
  });
  const seconds = Math.round((performance.now() - startMs) / 1000);
  const killed = chosen.length - survivors.length - stale.length;
  for (const { name, file, breaks, tests } of survivors) {
    console.error(
      `survived: ${name} (${sourceOf(file)}): ${breaks}; not found by ${tests.join(', ')}`,
    );
  }
  for (const problem of stale) console.error(`cannot be sown: ${problem}`);
  const score = Math.floor((1000 * killed) / chosen.length) / 10;
  const counts = { 'faults sown': chosen.length, 'faults found': killed };
  if (process.env['TALLY']) appendFileSync(process.env['TALLY'], `${JSON.stringify(counts)}\n`);
  console.log(`${killed} of ${chosen.length} mutants killed: ${score} %, in ${seconds} s`);
  return killed === chosen.length ? 0 : 1;
}

/** What a test that hung had mounted. */
function unmountUnder(folder) {
  const places = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((place) => place.startsWith(`${folder}/`));
  for (const place of places) spawnSync('umount', ['-l', place]);
}

const problems = staleMutants(ROOT);
if (problems.length > 0 || chosen.length === 0) {
  console.error(problems.length > 0 ? problems.join('\n') : `no mutant has ${words.join(' or ')}`);
  process.exit(1);
}
const parent = mkdtempSync(join(tmpdir(), `${basename(ROOT)}-mutants-`));
// Some tests are also run as other users.
chmodSync(parent, 0o755);
let status = 1;
try {
  status = await main(parent);
} finally {
  unmountUnder(parent);
  rmSync(parent, { recursive: true, force: true });
}
process.exit(status);
