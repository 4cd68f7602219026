/** Numbers in few columns; '-' for what is not known. */
import { formatSize } from '../sizes.ts';

const THOUSANDS = ['', 'k', 'M', 'G', 'T'];

/** A count or a rate, by thousands: '0', '0.4', '12', '3.4k', '120k'. */
export function formatCount(value: number | undefined): string {
  if (value === undefined) return '-';
  let rest = value;
  let power = 0;
  while (rest >= 999.5 && power < THOUSANDS.length - 1) {
    rest /= 1000;
    power++;
  }
  const isWhole = power === 0 && Number.isInteger(rest);
  // A rate that is there at all is not shown as none.
  if (power === 0 && rest > 0 && rest < 0.05) return '<0.1';
  return `${rest < 9.95 && !isWhole ? rest.toFixed(1) : rest.toFixed(0)}${THOUSANDS[power]}`;
}

/** '0' for nothing, else as sizes are everywhere: '1.16g'. */
export function formatBytes(bytes: number | undefined): string {
  if (bytes === undefined) return '-';
  return bytes < 0.5 ? '0' : formatSize(bytes);
}

/** An upper bound of a latency: '200us', '5ms', '2s'; '>10s' beyond the last. */
export function formatLatency(seconds: number | undefined, lastBoundSeconds: number): string {
  if (seconds === undefined) return '-';
  if (seconds === Infinity) return `>${formatLatency(lastBoundSeconds, Infinity)}`;
  if (seconds < 0.000_999_5) return `${Math.round(seconds * 1e6)}us`;
  return seconds < 0.9995 ? `${Math.round(seconds * 1e3)}ms` : `${Math.round(seconds)}s`;
}

/** '45s', '12m05s', '3h07m', '12d03h' */
export function formatAge(seconds: number | undefined): string {
  if (seconds === undefined) return '-';
  const whole = Math.floor(seconds);
  const [days, hours, minutes] = [whole / 86_400, whole / 3600, whole / 60].map(Math.floor);
  if (days! > 0) return `${days}d${two(hours! % 24)}h`;
  if (hours! > 0) return `${hours}h${two(minutes! % 60)}m`;
  return minutes! > 0 ? `${minutes}m${two(whole % 60)}s` : `${whole}s`;
}

export function formatShare(percent: number | undefined): string {
  if (percent === undefined) return '-';
  return `${percent < 9.95 ? percent.toFixed(1) : percent.toFixed(0)}%`;
}

/** '14:02:33', as this machine's clock shows it. */
export function clockTime(wallMs: number): string {
  const date = new Date(wallMs);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
