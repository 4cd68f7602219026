// Makes the manual pages of the verbs' own definitions: mpool.1, one page for each verb (mpool-create.1,
// mpool-mblock-put.1), one for each noun (mpool-mblock.1), and mpoold.8. Run it after a build.
// Usage: node scripts/man.mjs [--list] [folder to write to, man by default] [compiled src/cli]
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = join(import.meta.dirname, '..');
const words = process.argv.slice(2).filter((word) => word !== '--list');
const folder = resolve(words[0] ?? join(root, 'man'));
const compiled = resolve(words[1] ?? join(root, 'build/src/cli'));
const load = (name) => import(pathToFileURL(join(compiled, name)).href);
const { COMMANDS } = await load('commands/index.js');
const { commandGroups } = await load('help.js');
const { optionOf } = await load('command.js');
const manual = await load('manual.js');
const { USAGE } = await load('../daemon/server/options.js');
const { version, description } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const groups = commandGroups(COMMANDS);
const verbs = groups.flatMap(({ commands }) => commands);
const nouns = Object.keys(manual.NOUNS);

/** Text as troff takes it: no hyphen of its own making, nothing that it reads as a request. */
function escaped(text) {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '...')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga')
    .replace(/[^\x20-\x7e]/gu, (letter) => {
      return `\\[u${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`;
    })
    .replace(/^(?=[.'])/, '\\&');
}

/** The same where quotes must stay straight, to be copied into a shell. */
function verbatim(text) {
  return escaped(text).replaceAll("'", '\\(aq').replaceAll('"', '\\(dq');
}

const bold = (text) => `\\fB${escaped(text)}\\fR`;
const italic = (text) => `\\fI${escaped(text)}\\fR`;

function section(title, body) {
  return body === '' ? '' : `.SH ${title}\n${body}`;
}

function paragraphs(texts) {
  return texts.map((text) => `${escaped(text)}\n`).join('.PP\n');
}

/** @param rows terms that are troff already, and meanings that are not */
function terms(rows) {
  return rows.map(([term, meaning]) => `.TP\n${term}\n${escaped(meaning)}\n`).join('');
}

/** The same for short terms: one under the other, all meanings beginning in one column. */
function table(rows) {
  const width = Math.max(...rows.map(([term]) => term.length)) + 2;
  const [first, ...others] = rows.map(([term, meaning]) => {
    return `.TP ${width}\n${bold(term)}\n${escaped(meaning)}\n`;
  });
  return `${first}.PD 0\n${others.join('')}.PD\n`;
}

/** '-o, --output COLUMNS' */
function optionTerm(name) {
  const { short, value } = optionOf(name);
  const long = bold(`--${name}`) + (value === undefined ? '' : ` ${italic(value)}`);
  return short === undefined ? long : `${bold(`-${short}`)}, ${long}`;
}

/** 'size=SIZE' */
function parameterTerm(text) {
  const [name, form] = text.split('=');
  return `${bold(`${name}=`)}${italic(form)}`;
}

/** The usage, with what is typed as it is in bold and what stands for something in italics. */
function synopsis(command) {
  const [tool, name, ...rest] = manual.usageParts(command);
  const parts = rest.map((part) =>
    escaped(part)
      .replace(/(\\-(?:\\-)?[A-Za-z]+(?:\\-[a-z]+)*)/g, '\\fB$1\\fR')
      .replace(/([a-z_]+=)([A-Z]+)/g, '\\fB$1\\fR\\fI$2\\fR')
      .replace(/^(\[?)([A-Z]+)/, '$1\\fI$2\\fR')
      .replace(/ ([A-Z]+)\]/, ' \\fI$1\\fR]')
      // A line is not to be broken within a part.
      .replaceAll(' ', '\\ '),
  );
  return `.HP\n${bold(`${tool} ${name}`)} ${parts.join(' ')}\n`;
}

function references(names) {
  const all = names.map((name) => `.BR ${escaped(name)} (${sectionOf(name)})`);
  return section('SEE ALSO', `${all.join(' ,\n').replaceAll(') ,', '),')}\n`);
}

/** Of the manual: what the system runs is in 8. */
function sectionOf(name) {
  return name === 'mpoold' ? 8 : 1;
}

function page(name, summary, body) {
  const title = `${escaped(name.toUpperCase())} ${sectionOf(name)} "" "mpool ${version}" "mpool manual"`;
  // Left-aligned, and words whole: option names are copied from here.
  return `.\\" Made by scripts/man.mjs.
.TH ${title}
.nh
.ad l
.SH NAME
${escaped(name)} \\- ${escaped(summary)}
${body}`;
}

const pageOf = ({ name }) => `mpool-${name.replace(' ', '-')}`;
const lowered = (text) => text[0].toLowerCase() + text.slice(1);

function verbPage(command) {
  const options = manual
    .optionsOf(command)
    .map((name) => [optionTerm(name), optionOf(name).meaning]);
  const noun = command.name.includes(' ') ? `mpool-${command.name.split(' ')[0]}` : undefined;
  const parameters = manual.parameterRows(command).map(([form, meaning]) => {
    return [parameterTerm(form), meaning];
  });
  const columns = manual.columnRows(command);
  return page(
    pageOf(command),
    lowered(command.summary),
    [
      section('SYNOPSIS', synopsis(command)),
      section('DESCRIPTION', paragraphs([`${command.summary}.`, ...command.details])),
      section(
        'ARGUMENTS',
        terms(command.positionals.map(({ name, meaning }) => [italic(name), meaning])),
      ),
      section('PARAMETERS', terms(parameters)),
      section('OPTIONS', terms(options)),
      columns.length === 0
        ? ''
        : section('COLUMNS', paragraphs([`${manual.COLUMNS_TITLE}:`]) + table(columns)),
      section('EXIT STATUS', table(manual.EXIT_STATUSES)),
      section('EXAMPLES', examples(command.examples)),
      references(['mpool', ...(noun === undefined ? [] : [noun])]),
    ].join(''),
  );
}

function examples(lines) {
  return `.nf\n${lines.map((line) => `${verbatim(line)}\n`).join('')}.fi\n`;
}

function nounPage(noun) {
  const own = verbs.filter(({ name }) => name.startsWith(`${noun} `));
  return page(
    `mpool-${noun}`,
    `commands on ${manual.NOUNS[noun]}`,
    [
      section('SYNOPSIS', own.map(synopsis).join('')),
      section('COMMANDS', table(own.map((each) => [each.name, each.summary]))),
      section('EXAMPLES', examples(own.flatMap((each) => each.examples.slice(0, 1)))),
      references(['mpool', ...own.map(pageOf)]),
    ].join(''),
  );
}

function toolPage() {
  const { GRAMMAR, ENVIRONMENT, EXIT_STATUSES } = manual;
  const usage = `.HP\n${bold('mpool')} ${italic('COMMAND')} [options] [${italic('ARG')}...] [param=value...]
.HP\n${bold('mpool')} ${bold('-h')} [${bold('-v')}] | ${bold('-V')} [${bold('-v')}]\n`;
  const about = [
    `${description}. A pool is made of devices or files; it has mblocks, written once and read from ` +
      'then on, mlogs, to which records are appended, and MDCs, logs that are compacted in one step.',
    GRAMMAR.shortened,
    GRAMMAR.pool,
    `${GRAMMAR.values} ${GRAMMAR.words} ${GRAMMAR.json}`,
    GRAMMAR.dryRun,
  ];
  const commands = groups.map(
    ({ title, commands: own }) =>
      `.SS ${escaped(title.replace(':', ''))}\n${table(own.map((each) => [each.name, each.summary]))}`,
  );
  return page(
    'mpool',
    lowered(description),
    [
      section('SYNOPSIS', usage),
      section('DESCRIPTION', paragraphs(about)),
      section('COMMANDS', commands.join('')),
      section('ENVIRONMENT', terms(ENVIRONMENT.map(([name, text]) => [bold(name), text]))),
      section('EXIT STATUS', table(EXIT_STATUSES)),
      section(
        'EXAMPLES',
        examples([
          'mpool create mp1 mp1.pool size=64m capsz=1',
          'ids=$(mpool mblock put mp1 big.bin)',
          'mpool mblock read mp1 $ids > big.copy',
          'mpool list -o name,used,avail --sort -used',
          'mpool check --data mp1',
        ]),
      ),
      references(['mpoold', ...nouns.map((noun) => `mpool-${noun}`), ...verbs.map(pageOf)]),
    ].join(''),
  );
}

/** Of what `mpoold --help` says: paragraphs, and rows of an option and its meaning. */
function daemonPage() {
  const [usage, ...blocks] = USAGE.trim().split('\n\n');
  const texts = blocks.filter((block) => !block.startsWith(' '));
  const lines = blocks
    .filter((block) => block.startsWith(' '))
    .flatMap((block) => block.split('\n'));
  const rows = [];
  for (const line of lines) {
    const [, term, meaning = ''] = /^ {2}(\S.*?)(?: {2,}(\S.*))?$/.exec(line) ?? [];
    if (term === undefined) rows.at(-1)[1] += ` ${line.trim()}`;
    else rows.push([term, meaning]);
  }
  const synopsisText = usage.replace('usage: mpoold ', '');
  return page(
    'mpoold',
    'serves pools to many processes',
    [
      section('SYNOPSIS', `.HP\n${bold('mpoold')} ${escaped(synopsisText)}\n`),
      section('DESCRIPTION', paragraphs(texts.map((text) => text.replaceAll('\n', ' ')))),
      section('OPTIONS', terms(rows.map(([term, meaning]) => [bold(term), meaning]))),
      references(['mpool', 'mpool-activate', 'mpool-status', 'mpool-top']),
    ].join(''),
  );
}

const pages = new Map([
  ['mpool', toolPage()],
  ['mpoold', daemonPage()],
  ...nouns.map((noun) => [`mpool-${noun}`, nounPage(noun)]),
  ...verbs.map((verb) => [pageOf(verb), verbPage(verb)]),
]);
const fileOf = (name) => `${name}.${sectionOf(name)}`;
const names = [...pages.keys()].toSorted((a, b) => (a < b ? -1 : 1));
if (process.argv.includes('--list')) {
  for (const name of names) console.log(`man/${fileOf(name)}`);
} else {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of names) writeFileSync(join(folder, fileOf(name)), pages.get(name));
}
