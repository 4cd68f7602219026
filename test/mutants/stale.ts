import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MUTANTS } from './index.ts';

/** Compiled test files, relative to the folder of tests. */
export function testFilesOf(root: string): string[] {
  return readdirSync(join(root, 'build/test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.js'))
    .sort();
}

/** From the root: the addon's source is beside the other. */
export function sourceOf(file: string): string {
  return file.startsWith('native/') ? file : `src/${file}`;
}

/** Mutants that cannot be sown any more, or that no test file is named for; a sentence each. */
export function staleMutants(root: string): string[] {
  const problems: string[] = [];
  const names = new Set<string>();
  const testFiles = testFilesOf(root);
  for (const { name, file, find, replace, tests } of MUTANTS) {
    const path = join(root, sourceOf(file));
    const count = existsSync(path) ? readFileSync(path, 'utf8').split(find).length - 1 : -1;
    if (names.has(name)) problems.push(`${name}: the name is another's too`);
    names.add(name);
    if (count < 0) problems.push(`${name}: there is no ${sourceOf(file)}`);
    else if (count !== 1) problems.push(`${name}: its text is ${count} times in ${sourceOf(file)}`);
    if (find === replace) problems.push(`${name}: changes nothing`);
    for (const word of tests) {
      if (testFiles.some((each) => each.includes(word))) continue;
      problems.push(`${name}: no test file has '${word}' in its path`);
    }
  }
  return problems;
}
