// Makes docs/errors.md of the table in src/base/errors.ts. Run it after a build; a test sees when it is old.
// Usage: node scripts/errors-doc.mjs [--print [compiled errors.js]]
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = join(import.meta.dirname, '..');
const print = process.argv[2] === '--print';
const compiled = resolve(process.argv[3] ?? join(root, 'build', 'src', 'base', 'errors.js'));
const { errorTable } = await import(pathToFileURL(compiled).href);

const rows = errorTable().map(
  ([code, errno, meaning]) => `| \`${code}\` | ${errno} | ${meaning} |`,
);
const text = `# Errors

Every operating error is an \`MpoolError\`: \`code\` below never changes its meaning, \`errno\` is negative
as in Node's own system errors (the kernel's answer where there was one), \`message\` is for people and
may change in any release. \`cause\` is the first cause of a failed pool or object; \`syscall\` and \`path\`
are there where a system call failed. \`isMpoolError(error, code)\` tells them apart.

A bad argument is a \`RangeError\` or \`TypeError\` with the code \`ERR_MPOOL_INVALID_ARG\`, before any I/O.

| code | errno | meaning |
|---|---|---|
${rows.join('\n')}
`;
if (print) process.stdout.write(text);
else writeFileSync(join(root, 'docs', 'errors.md'), text);
