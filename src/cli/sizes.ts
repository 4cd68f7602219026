/** Sizes as LVM reads and writes them: suffixes k m g t p e, each 1,024 times the one before. */

const SUFFIXES = ['', 'k', 'm', 'g', 't', 'p', 'e'];

/**
 * Bytes of '4g', '1.5m', '0x1000' or '4096'; undefined when it is no size, NaN when it is no whole
 * number of bytes or too large to count exactly.
 * @param plainUnitBytes what a number without a suffix counts
 */
export function parseSize(text: string, plainUnitBytes = 1): number | undefined {
  const match = /^(0x[0-9a-f]+|\d+(?:\.\d+)?)([kmgtpe]?)(?:i?b)?$/i.exec(text);
  if (!match) return undefined;
  const [, digits = '', suffix = ''] = match;
  // The 'b' and 'e' of a hexadecimal number are digits, so it takes no suffix.
  const hexadecimal = /^0x/i.test(text);
  if (hexadecimal && digits.length !== text.length) return undefined;
  const unit = suffix === '' ? plainUnitBytes : 1024 ** SUFFIXES.indexOf(suffix.toLowerCase());
  const bytes = Number(digits) * unit;
  if (!digits.includes('.')) return Number.isSafeInteger(bytes) ? bytes : Number.NaN;
  return bytes <= Number.MAX_SAFE_INTEGER ? Math.round(bytes) : Number.NaN;
}

/** '1.16g', '972g', '0.00': two decimals below ten units, none above, as in the original. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let power = 0;
  while (value >= 1023.5 && power < SUFFIXES.length - 1) {
    value /= 1024;
    power++;
  }
  return `${value < 9.995 ? value.toFixed(2) : value.toFixed(0)}${SUFFIXES[power]}`;
}

/** '0.12%' of part and whole; 0 of nothing is 0. */
export function formatPercent(part: number, whole: number): string {
  return `${(whole === 0 ? 0 : (part / whole) * 100).toFixed(2)}%`;
}
