import { readTextOrNothing } from './system.ts';

export type AccountKind = 'user' | 'group';

const FILES = { user: '/etc/passwd', group: '/etc/group' } as const;

/** The number of a user or group named so, from text as in passwd(5) or group(5). */
export function findAccountId(text: string, name: string): number | undefined {
  const fields = lines(text).find((line) => line[0] === name);
  return fields === undefined ? undefined : Number(fields[2]);
}

/** The first name that has the number. */
export function findAccountName(text: string, id: number): string | undefined {
  return lines(text).find((line) => line[2] !== '' && Number(line[2]) === id)?.[0];
}

/** The machine's number for a name. */
export function accountId(kind: AccountKind, name: string): number | undefined {
  return findAccountId(readTextOrNothing(FILES[kind]), name);
}

/** The machine's name for a number, or the number itself as text. */
export function accountName(kind: AccountKind, id: number): string {
  return findAccountName(readTextOrNothing(FILES[kind]), id) ?? String(id);
}

function lines(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .filter((fields) => fields.length >= 3);
}
