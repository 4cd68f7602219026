// The chart: bars of ours over the peer's on a logarithmic axis, in plain SVG, readable on light and
// dark pages.

const WIDTH = 960;
const LABEL = 400;
const RIGHT = 70;
const ROW = 26;
const TOP = 64;
const TICKS = [0.5, 1, 2, 4, 8, 16, 32];

/** Where a ratio lies on the axis; what is beyond an end is drawn at that end. */
function at(ratio) {
  const [first, last] = [TICKS[0], TICKS.at(-1)].map(Math.log2);
  const place = (Math.log2(Math.max(ratio, 1e-9)) - first) / (last - first);
  return LABEL + Math.min(1, Math.max(0, place)) * (WIDTH - LABEL - RIGHT);
}

const ABOUT_SPEED = {
  title: 'Speed relative to the peer (1× is as fast; logarithmic)',
  legend: 'Red: the target. Thin line: least to most. Orange: short of the target.',
};

/** @returns the SVG of what one run of the benchmarks found */
export function drawChart(result, { title, legend } = ABOUT_SPEED) {
  const { machine, date, runs } = result;
  const rows = result.rows.filter((row) => row.ratio !== undefined && row.target !== undefined);
  const height = TOP + rows.length * ROW + 44;
  const bottom = TOP + rows.length * ROW;
  const fio = machine.fio === null ? '' : `, ${machine.fio}`;
  const about = `${machine.cores} cores, Linux ${machine.kernel}, Node.js ${machine.node}${fio}, medians of ${runs}, ${date.slice(0, 10)}`;
  const ticks = TICKS.map((tick) => {
    const x = at(tick).toFixed(1);
    const kind = tick === 1 ? 'one' : 'grid';
    return `<line class="${kind}" x1="${x}" x2="${x}" y1="${TOP - 6}" y2="${bottom + 4}"/>
<text class="small" x="${x}" y="${bottom + 20}" text-anchor="middle">${tick}×</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(title)}">
<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .grid { stroke: #d1d9e0; }
  .one { stroke: #59636e; }
  .met { fill: #2f81f7; }
  .missed { fill: #d4730c; }
  .range { stroke: #1f2328; stroke-width: 1.5; }
  .target { stroke: #cf222e; stroke-width: 2.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .one { stroke: #9198a1; }
    .range { stroke: #e6edf3; }
    .target { stroke: #ff7b72; }
  }
</style>
<text class="title" x="12" y="24">${escape(title)}</text>
<text class="small" x="12" y="44">${escape(about)}. ${escape(legend)}</text>
${ticks.join('\n')}
${rows.map(drawRow).join('\n')}
</svg>
`;
}

function drawRow(row, i) {
  const y = TOP + i * ROW;
  const middle = y + ROW / 2;
  const { median, min, max } = row.ratio;
  const [from, to] = [at(1), at(median)].toSorted((a, b) => a - b);
  const wanted = at(row.target.atLeastRatio).toFixed(1);
  const end = Math.max(at(max), to) + 6;
  return `<g><title>${escape(`${row.work}: against ${row.peer.name}`)}</title>
<text x="${LABEL - 10}" y="${middle + 4}" text-anchor="end">${escape(shortened(row.work))}</text>
<rect class="${row.verdict}" x="${from.toFixed(1)}" y="${y + 6}" width="${Math.max(1, to - from).toFixed(1)}" height="${ROW - 12}"/>
<line class="range" x1="${at(min).toFixed(1)}" x2="${at(max).toFixed(1)}" y1="${middle}" y2="${middle}"/>
<line class="target" x1="${wanted}" x2="${wanted}" y1="${y + 3}" y2="${y + ROW - 3}"/>
<text class="small" x="${end.toFixed(1)}" y="${middle + 4}">${median.toFixed(2)}</text></g>`;
}

function shortened(work) {
  return work
    .replace(
      'mblock alloc + write 4 KiB + commit + delete, 32 in flight',
      'mblock life cycle, 32 in flight',
    )
    .replace(', one sync at the end', '')
    .replace(', 1 MiB chunks, queue depth 4', ', 1 MiB chunks')
    .replace('into reused buffers', 'verified');
}

function escape(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
