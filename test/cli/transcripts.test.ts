// Goal: what a user sees. Method: transcripts (comment, command, ----, expected output) on real files
// in a directory of their own; what needs a shell as real processes. UPDATE=1 rewrites the output.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadDryStore, loadStore } from '../../src/cli/store.ts';
import { runTool } from './fake.ts';

const TRANSCRIPTS = join(process.cwd(), 'test/cli/transcripts');
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

interface Step {
  /** Comments and blank lines before the command. */
  before: string;
  command: string;
  expected: string;
}

/** A step is comments, a command of one or more lines, `----`, and output up to a blank line. */
function parse(text: string): { steps: Step[]; after: string } {
  const steps: Step[] = [];
  const lines = text.split('\n');
  let before = '';
  while (lines.length > 0) {
    const line = lines.shift()!;
    if (line === '' || line.startsWith('#')) {
      before += lines.length > 0 || line !== '' ? `${line}\n` : '';
      continue;
    }
    const command = [line];
    for (let next = lines.shift(); next !== '----'; next = lines.shift()) {
      assert.ok(next !== undefined, `no ---- after: ${line}`);
      command.push(next);
    }
    const expected: string[] = [];
    while (lines.length > 0 && lines[0] !== '') expected.push(lines.shift()!);
    steps.push({ before, command: command.join('\n'), expected: expected.join('\n') });
    before = '';
  }
  return { steps, after: before };
}

function render(steps: readonly Step[], after: string): string {
  const blocks = steps.map(({ before, command, expected }) => {
    return `${before}${command}\n----\n${expected}${expected === '' ? '' : '\n'}`;
  });
  return blocks.join('') + after;
}

/** A call of the tool, `$(cat FILE)` among its words, its output perhaps to a file. */
const PLAIN = /^mpool((?: +(?:[A-Za-z0-9.,_=/-]+|\$\(cat [a-z]+\)))*)(?: > ([a-z]+))?$/;

/** What needs no shell needs no process of its own either. */
async function perform(command: string, folder: string): Promise<string> {
  const match = PLAIN.exec(command);
  if (match === null) return shell(command, join(folder, 'work'), join(folder, 'bin'));
  let words = match[1] ?? '';
  for (const [text, name = ''] of words.matchAll(/\$\(cat ([a-z]+)\)/g)) {
    words = words.replace(text, await readFile(name, 'utf8'));
  }
  const argv = words.split(/\s+/).filter((word) => word !== '');
  const world = { places: ['.'], dryStore: await loadDryStore() };
  const store = await loadStore();
  const { status, out, err } = await runTool(argv, store, world);
  if (match[2] !== undefined) await writeFile(match[2], out);
  const told = match[2] === undefined ? out + err : err;
  return told + (status === 0 ? '' : `[status ${status}]\n`);
}

/** Standard output, then standard error, then the status unless it is 0. */
async function shell(command: string, folder: string, bin: string): Promise<string> {
  const env: NodeJS.ProcessEnv = { ...process.env, PATH: `${bin}:${process.env['PATH']}` };
  delete env['MPOOL_PATH'];
  return new Promise((resolve) => {
    const options = { cwd: folder, env, maxBuffer: 2 ** 26 };
    execFile('bash', ['-c', command], options, (error, stdout, stderr) => {
      const status = error === null ? '' : `[status ${error.code}]\n`;
      resolve(stdout + stderr + status);
    });
  });
}

const MASKED_UUID = 'xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx';

/** What differs from run to run and disk to disk: places, identities, times, frames in a log. Blank lines would end an output. */
function masked(text: string, folder: string): string {
  return text
    .replaceAll(folder, 'DIR')
    .replace(/(?!0{8}-0{4})[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, MASKED_UUID)
    .replace(/\b0x[0-9a-f]{4,16}\b/g, (id) => `0x${'i'.repeat(id.length - 2)}`)
    .replace(/\d+ frames, \d+ records/g, 'N frames, N records')
    .replace(/\d{4,} records appended before/g, 'N records appended before')
    .replace(/\d+ bytes left/g, 'N bytes left')
    .replace(/process \d+/g, 'process PID')
    .replace(/\d+\.\d\d s\b/g, 'N s')
    .replace(/"durationMs":[\d.]+/g, '"durationMs":N')
    .replace(/"createdMs":\d+/g, '"createdMs":N')
    .replace(/\n$/, '')
    .replace(/\n(?=\n|$)/g, '\n.')
    .replace(/^\n/, '.\n');
}

const names = (await readdir(TRANSCRIPTS)).filter((name) => name.endsWith('.txt')).toSorted();
assert.ok(names.length > 0);
for (const name of names) {
  test(`transcript ${name}`, async () => {
    const path = join(TRANSCRIPTS, name);
    const text = await readFile(path, 'utf8');
    const folder = await realpath(await mkdtemp(join(tmpdir(), 'mpool-cli-')));
    try {
      await makeWorkplace(folder);
      const { steps, after } = parse(text);
      const actual: Step[] = [];
      for (const step of steps) {
        const output = await perform(step.command, folder);
        actual.push({ ...step, expected: masked(output, folder) });
      }
      if (process.env['UPDATE'] === '1') await writeFile(path, render(actual, after));
      else assert.equal(render(actual, after), text);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

/** bin/mpool for the shell, and work/ to work in. */
async function makeWorkplace(folder: string): Promise<void> {
  await mkdir(join(folder, 'bin'));
  await mkdir(join(folder, 'work'));
  const wrapper = join(folder, 'bin/mpool');
  await writeFile(wrapper, `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`);
  await chmod(wrapper, 0o755);
  process.chdir(join(folder, 'work'));
}
