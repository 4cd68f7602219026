/** How verbs tell what they found wrong with a pool. */
import type { Call, Context } from '../command.ts';
import type { CheckFinding, CheckReport } from '../store.ts';

/** Findings, one a line, notes with -v only; then what was looked at. */
export async function writeCheckReport(
  call: Pick<Call, 'verbosity'>,
  context: Context,
  target: string,
  report: CheckReport & { complete?: boolean },
): Promise<void> {
  for (const finding of report.findings) {
    if (finding.severity === 'note' && call.verbosity === 0) continue;
    await context.out.write(`${findingLine(finding)}\n`);
  }
  for (const [structure, count] of Object.entries(report.omitted)) {
    await context.out.write(`${structure}: ${count} more findings are not listed\n`);
  }
  const counted = Object.entries(report.counts)
    .map(([name, count]) => `${String(count)} ${words(name)}`)
    .join(', ');
  const found = report.clean ? 'clean' : `NOT clean: ${countFindings(report.severityCounts)}`;
  const state = report.complete === false ? `${found} so far` : found;
  const seconds = (report.durationMs / 1000).toFixed(2);
  await context.out.write(`${target}: ${state}; ${counted}; ${seconds} s\n`);
}

/** 'error: page 0x1101 at /dev/sdb 4096: …'. */
export function findingLine(finding: CheckFinding): string {
  const { severity, structure, location, objectId, message } = finding;
  const id = typeof objectId === 'bigint' ? `0x${objectId.toString(16)}` : objectId;
  const object = id === undefined ? '' : ` ${id}`;
  const place = `${location.device} ${location.offsetBytes}`;
  return `${severity}: ${structure}${object} at ${place}: ${message}`;
}

/** '1 error, 2 warnings'. */
function countFindings(counts: { error: number; warning: number }): string {
  return (['error', 'warning'] as const)
    .map((severity) => {
      const count = counts[severity];
      return count === 0 ? '' : `${count} ${severity}${count === 1 ? '' : 's'}`;
    })
    .filter((text) => text !== '')
    .join(', ');
}

/** 'mblock pages' of 'mblockPages'. */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
