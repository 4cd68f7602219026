// Makes docs/json.md of docs/cli.schema.json. A test sees when it is old.
// Usage: node scripts/json-doc.mjs [--print]
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const docs = join(import.meta.dirname, '..', 'docs');
const schema = JSON.parse(readFileSync(join(docs, 'cli.schema.json'), 'utf8'));
const definitions = schema.$defs;
/** Definitions that are documents of their own. */
const documents = schema.anyOf.map(({ $ref }) => nameOf($ref));

function nameOf($ref) {
  return $ref.replace('#/$defs/', '');
}

/** What a value looks like, in words. */
function shapeOf({ $ref, type, items, enum: values, const: value, anyOf, additionalProperties }) {
  if ($ref !== undefined) return linkTo(nameOf($ref));
  if (value !== undefined) return `\`${JSON.stringify(value)}\``;
  if (values !== undefined) return values.map((each) => `\`"${each}"\``).join(' or ');
  if (anyOf !== undefined) return anyOf.map(shapeOf).join(' or ');
  if (items !== undefined) return `list of ${shapeOf(items)}`;
  if (additionalProperties !== undefined) return `map to ${shapeOf(additionalProperties)}`;
  return [type].flat().join(' or ');
}

/** Objects have a section; what is simpler is named by its form. */
function linkTo(name) {
  const { properties } = definitions[name];
  const simple = { Count: 'integer', Id: 'id', MdcId: 'MDC id', Uuid: 'UUID' };
  if (properties !== undefined) return `[${name}](#${name.toLowerCase()})`;
  return simple[name] ?? shapeOf(definitions[name]);
}

function section(name) {
  const { description, properties, required } = definitions[name];
  const rows = Object.entries(properties)
    .filter(([member]) => member !== 'schemaVersion' && member !== 'verb')
    .map(([member, value]) => {
      const shape = shapeOf(value).replaceAll('|', '\\|');
      const optional = required.includes(member) ? '' : ' (not always)';
      return `| \`${member}\` | ${shape}${optional} | ${value.description} |`;
    });
  const title = documents.includes(name) ? titleOf(name) : name;
  return `### ${title}\n\n${description}\n\n| member | | |\n|---|---|---|\n${rows.join('\n')}\n`;
}

function titleOf(name) {
  const own = { dryRun: 'With -n', columns: 'With -o help' };
  return own[name] ?? `mpool ${name.replace('-', ' ')}`;
}

const shared = Object.keys(definitions).filter(
  (name) => !documents.includes(name) && definitions[name].properties !== undefined,
);
const text = `# What \`mpool --json\` prints

Every command takes \`--json\` and then prints one JSON document on standard output, on one line. Errors
are told on standard error as ever, and by the exit status (0 done, 1 an operating error, 2 a mistake in
usage): a command that fails prints no document, or a whole one of what was done before it failed.
[cli.schema.json](cli.schema.json) is the same as a JSON Schema (draft 2020-12); this page is made of it.

| member of every document | |
|---|---|
| \`schemaVersion\` | \`1\`; rises when a member goes away or changes its meaning |
| \`verb\` | the command as \`mpool -h\` lists it, never shortened: \`"list"\`, \`"mblock put"\` |

Members may be added without a new version: pass over those you do not know. Sizes are numbers of bytes,
whatever \`-p\` says. Ids are strings \`"0x…"\`, since they do not fit into a double, and an MDC's is two
of them with a comma: all as commands take them. \`-o\` and \`-H\` change nothing; \`--sort\` orders the
list of a document.

\`\`\`sh
mpool list --json | jq -r '.pools[] | select(.health != "optimal") | .name'
mpool mblock read mp1 $(mpool mblock list --json mp1 -O -written | jq -r '.mblocks[0].id')
\`\`\`

## Documents

${documents.map(section).join('\n')}
## Parts of documents

${shared.map(section).join('\n')}`;
if (process.argv[2] === '--print') process.stdout.write(text);
else writeFileSync(join(docs, 'json.md'), text);
