// Puts results about maps and the reaper into docs/: node tools/plot/publish-mcache.mjs
// reads docs/mcache-access.json (of store-bench) and docs/mcache-zipf.json (of mcache-zipf), draws
// docs/mcache.svg and writes the tables into docs/mcache-performance.md. Nothing to install.
import { readFileSync, writeFileSync } from 'node:fs';
import { drawChart } from './chart.mjs';

const docs = new URL('../../docs/', import.meta.url);
const read = (name) => readFileSync(new URL(name, docs), 'utf8');
const access = JSON.parse(read('mcache-access.json'));
const zipf = JSON.parse(read('mcache-zipf.json'));
const chart = drawChart(
  { ...zipf, rows: [...access.rows, ...zipf.rows] },
  {
    title: 'Maps and the reaper: speed, or shortness of the tail, relative to the peer (logarithmic)',
    legend: 'Red: the target, or what was published. Thin line: least to most. Orange: short of it.',
  },
);
writeFileSync(new URL('mcache.svg', docs), chart);
let page = read('mcache-performance.md');
page = filled(page, 'access', rowTable(access));
page = filled(page, 'zipf', `${rowTable(zipf)}\n${runTable(zipf)}`);
writeFileSync(new URL('mcache-performance.md', docs), page);

function filled(text, name, content) {
  const [begin, end] = [`<!-- ${name} -->\n`, `<!-- end of ${name} -->\n`];
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`docs/mcache-performance.md has no place for ${name}`);
  return `${before}${begin}${content}${end}${after}`;
}

function rowTable({ rows, machine, date, commit, command }) {
  const lines = rows.map(({ work, unit, ours, peer, ratio, target, verdict }) => {
    const cells = [
      work,
      `${spread(ours)} ${unit}`,
      peer === undefined ? '' : `${peer.name}: ${spread(peer.figures)}`,
      ratio === undefined ? '' : `**${figure(ratio.median)}** (${figure(ratio.min)}–${figure(ratio.max)})`,
      target === undefined ? '' : goal(target),
      verdict ?? '',
    ];
    return `| ${cells.join(' | ')} |\n`;
  });
  return `
${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; Linux ${machine.kernel}; ${machine.fileSystem} on ${machine.disk};
Node.js ${machine.node}; load ${machine.load} when it began. ${date.slice(0, 10)}, commit ${commit}, \`${command}\`.

| work | ours | peer | ratio | target | verdict |
|---|--:|--:|--:|--:|---|
${lines.join('')}
`;
}

function goal(target) {
  return 'atMost' in target ? `≤ ${target.atMost}` : `≥ ${figure(target.atLeastRatio)} ×`;
}

/** What each of them did, with the reaper and without. */
function runTable({ details }) {
  const columns = [
    ['reads/s', (run) => run.readsPerSecond],
    ['p50 µs', (run) => run.p50],
    ['p99 µs', (run) => run.p99],
    ['p99.9 µs', (run) => run.p999],
    ['p99.99 µs', (run) => run.p9999],
    ['limit hits', (run) => run.limitHits],
    ['evicted MiB', (run) => (run.reaperAfter.evictedPages - run.reaperBefore.evictedPages) / 256],
    ['cores busy', (run) => run.cpuShare],
  ];
  const lines = Object.entries(details).flatMap(([name, runs]) =>
    ['off', 'on'].map((state) => {
      const cells = columns.map(([, of]) => spread(spreadOf(runs[state].map(of))));
      return `| ${name} | ${state} | ${cells.join(' | ')} |\n`;
    }),
  );
  return `| mix | reaper | ${columns.map(([name]) => name).join(' | ')} |
|---|---|${columns.map(() => '--:').join('|')}|
${lines.join('')}
`;
}

function spreadOf(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

function spread({ median, min, max }) {
  return min === max ? figure(median) : `${figure(median)} (${figure(min)}–${figure(max)})`;
}

function figure(value) {
  if (value === 0) return '0';
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en-GB') : value.toPrecision(3);
}
