/** A time as people compare it: '2026-11-22T21:30:00Z'. */
export function utcTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
