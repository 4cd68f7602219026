/**
 * Kinds of parameter values: how each is written, read and checked. A reader answers with the
 * value, 'EINVAL' for text that is no such value, or 'ERANGE' for one beyond its limits.
 */
import { isPowerOfTwo, MIB } from '../base/units.ts';
import { parseUuid } from '../base/bytes.ts';
import type { MediaClass } from '../pool/api.ts';
import { accountId, type AccountKind } from './accounts.ts';
import { parseSize } from './sizes.ts';
import { UsageError } from './usage-error.ts';

export interface Kind<T> {
  /** What stands for the value in the help: 'SIZE'. */
  readonly form: string;
  /** @throws UsageError when a sentence of its own tells more than the two codes */
  read(text: string, name: string): T | 'EINVAL' | 'ERANGE';
}

/** Bytes, more than none. */
export const sizeKind: Kind<number> = {
  form: 'SIZE',
  read: (text) => checkedSize(parseSize(text)),
};

/** Bytes, from none. */
export const offsetKind: Kind<number> = {
  form: 'SIZE',
  read: (text) => (parseSize(text) === 0 ? 0 : checkedSize(parseSize(text))),
};

/** Bytes of a zone; plain numbers are MiB. */
export const zoneSizeKind: Kind<number> = {
  form: 'MIB',
  read(text, name) {
    const bytes = checkedSize(parseSize(text, MIB));
    if (typeof bytes !== 'number') return bytes;
    if (isPowerOfTwo(bytes) && bytes >= MIB && bytes <= 64 * MIB) return bytes;
    throw new UsageError(`${name} must be power-of-2 in [1..64]`);
  },
};

export const textKind: Kind<string> = {
  form: 'TEXT',
  read: (text) => text,
};

export const pathKind: Kind<string> = {
  form: 'PATH',
  read: (text) => (text === '' ? 'EINVAL' : text),
};

export const modeKind: Kind<number> = {
  form: 'OCTAL',
  read(text) {
    if (!/^[0-7]{1,11}$/.test(text)) return 'EINVAL';
    const mode = Number.parseInt(text, 8);
    return mode <= 0o777 ? mode : 'ERANGE';
  },
};

export const classKind: Kind<MediaClass> = {
  form: 'CLASS',
  read(text) {
    const found = (['capacity', 'staging'] as const).find((name) => name.startsWith(text));
    return text === '' ? 'EINVAL' : (found ?? 'EINVAL');
  },
};

export const uuidKind: Kind<string> = {
  form: 'UUID',
  read: (text) => (parseUuid(text) === undefined ? 'EINVAL' : text.toLowerCase()),
};

export function integerKind(min: number, max: number): Kind<number> {
  return {
    form: 'N',
    read(text) {
      if (!/^(0x[0-9a-f]+|\d+)$/i.test(text)) return 'EINVAL';
      const value = Number(text);
      return value >= min && value <= max ? value : 'ERANGE';
    },
  };
}

/** A name of the machine's, or a number. */
export function accountKind(kind: AccountKind): Kind<number> {
  return {
    form: kind === 'user' ? 'USER' : 'GROUP',
    read(text) {
      if (!/^\d+$/.test(text)) return accountId(kind, text) ?? 'EINVAL';
      // The highest number means 'no one' to chown(2).
      return Number(text) < 0xffff_ffff ? Number(text) : 'ERANGE';
    },
  };
}

function checkedSize(bytes: number | undefined): number | 'EINVAL' | 'ERANGE' {
  if (bytes === undefined || bytes === 0) return 'EINVAL';
  return Number.isNaN(bytes) ? 'ERANGE' : bytes;
}
