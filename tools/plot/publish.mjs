// Puts results of the benchmarks into docs/: node tools/plot/publish.mjs
// reads docs/performance.json (Node.js 24) and docs/performance-node20.json, the same two of the daemon, draws
// docs/performance.svg and writes the tables into docs/performance.md. Nothing to install.
import { readFileSync, writeFileSync } from 'node:fs';
import { drawChart } from './chart.mjs';

const docs = new URL('../../docs/', import.meta.url);
const read = (name) => readFileSync(new URL(name, docs), 'utf8');
let page = read('performance.md');
for (const [place, file] of [
  ['results', 'performance'],
  ['daemon', 'daemon-performance'],
]) {
  const result = JSON.parse(read(`${file}.json`));
  const older = JSON.parse(read(`${file}-node20.json`));
  if (place === 'results') writeFileSync(new URL('performance.svg', docs), drawChart(result));
  const [before, , after] = page.split(new RegExp(`<!-- (?:end of )?${place} -->\n`));
  if (after === undefined) throw new Error(`docs/performance.md has no place for: ${place}`);
  page = `${before}<!-- ${place} -->\n${table(result, older)}<!-- end of ${place} -->\n${after}`;
}
writeFileSync(new URL('performance.md', docs), page);

function table(result, older) {
  const olderRows = new Map(older.rows.map((row) => [row.id, row]));
  const lines = result.rows.map((row) => {
    const { work, unit, ours, peer, ratio, target, verdict } = row;
    const old = olderRows.get(row.id);
    const cells = [
      work,
      `${spread(ours)} ${unit}`,
      peer === undefined ? '' : `${peer.name}: ${spread(peer.figures)}`,
      ratio === undefined
        ? ''
        : `**${ratio.median.toFixed(2)}** (${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)})`,
      old === undefined ? '' : (old.ratio?.median.toFixed(2) ?? figure(old.ours.median)),
      target === undefined
        ? ''
        : 'atMost' in target
          ? `≤ ${target.atMost}`
          : `≥ ${target.atLeastRatio} ×`,
      verdict ?? '',
    ];
    return `| ${cells.join(' | ')} |\n`;
  });
  const { machine, date, commit, command, runs } = result;
  return `
${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; Linux ${machine.kernel}; ${machine.fileSystem} on ${machine.disk}; Node.js
${machine.node}, ${machine.fio}; load ${machine.load} when it began. ${date.slice(0, 10)}, commit ${commit}, \`${command}\`, ${runs} runs each.
The column "Node 20" has the same of Node.js ${older.machine.node}: ratios, or figures where there is no peer.

| work | ours | peer | ratio | Node 20 | target | verdict |
|---|--:|--:|--:|--:|--:|---|
${lines.join('')}
`;
}

function spread({ median, min, max }) {
  return min === max ? figure(median) : `${figure(median)} (${figure(min)}–${figure(max)})`;
}

function figure(value) {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en-GB') : value.toPrecision(3);
}
