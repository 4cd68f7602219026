// Goal: what a user sees. Method: transcripts (comment, command, ----, expected output) run as real
// processes on real files in a directory of their own. UPDATE=1 rewrites the expected output.
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

/** Standard output, then standard error, then the status unless it is 0. */
async function shell(command: string, folder: string): Promise<string> {
  const env = { ...process.env, PATH: `${folder}/bin:${process.env['PATH']}`, HOME: folder };
  delete (env as NodeJS.ProcessEnv)['MPOOL_PATH'];
  delete (env as NodeJS.ProcessEnv)['NODE_OPTIONS'];
  return new Promise((resolve) => {
    const options = { cwd: join(folder, 'work'), env, maxBuffer: 2 ** 26 };
    execFile('bash', ['-c', command], options, (error, stdout, stderr) => {
      const status = error === null ? '' : `[status ${error.code}]\n`;
      resolve(masked(stdout + stderr + status, folder));
    });
  });
}

/** What differs from run to run: places, identities, times. Blank lines would end an output. */
function masked(text: string, folder: string): string {
  return text
    .replaceAll(folder, 'DIR')
    .replace(/(?!0{8}-0{4})[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
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
      await shellSetup(folder);
      const { steps, after } = parse(text);
      const actual: Step[] = [];
      for (const step of steps) {
        actual.push({ ...step, expected: await shell(step.command, folder) });
      }
      if (process.env['UPDATE'] === '1') await writeFile(path, render(actual, after));
      else assert.equal(render(actual, after), text);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

async function shellSetup(folder: string): Promise<void> {
  await mkdir(join(folder, 'bin'));
  await mkdir(join(folder, 'work'));
  const wrapper = join(folder, 'bin/mpool');
  await writeFile(wrapper, `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`);
  await chmod(wrapper, 0o755);
}
