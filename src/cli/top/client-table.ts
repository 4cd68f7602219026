/** The clients, busiest first, and the ways to sort them. */
import { formatBytes, formatCount } from './numbers.ts';
import type { ClientRates } from './rates.ts';
import type { TableColumn } from './table.ts';

/** What the key s goes through; the highest come first. */
export const CLIENT_SORTS: readonly {
  readonly name: string;
  readonly value: (client: ClientRates) => number;
}[] = [
  { name: 'requests', value: ({ requestsPerSecond }) => requestsPerSecond ?? -1 },
  { name: 'written', value: ({ writtenBytesPerSecond }) => writtenBytesPerSecond ?? -1 },
  { name: 'in flight', value: ({ info }) => info.requestsInFlight },
  { name: 'leases', value: ({ info }) => info.leaseCount },
  { name: 'uncommitted', value: ({ info }) => info.uncommittedCount },
  { name: 'newest', value: ({ info }) => info.connectedMs },
];

/** Equal ones: who asked most so far, then who came first, so that they do not change places. */
export function sortClients(clients: readonly ClientRates[], sort: number): ClientRates[] {
  const { value } = CLIENT_SORTS[sort % CLIENT_SORTS.length]!;
  return clients.toSorted(
    (a, b) =>
      value(b) - value(a) ||
      b.info.requestCount - a.info.requestCount ||
      a.info.connectedMs - b.info.connectedMs ||
      a.info.pid - b.info.pid ||
      a.info.session - b.info.session,
  );
}

export function clientColumns(
  userName: (uid: number) => string,
): readonly TableColumn<ClientRates>[] {
  return [
    { heading: '>PID', priority: 12, columnsMin: 7, cell: ({ info }) => String(info.pid) },
    {
      heading: 'USER',
      priority: 8,
      cut: { from: 6, to: 16 },
      columnsMin: 6,
      cell: ({ info }) => userName(info.uid),
    },
    {
      heading: 'PROGRAM',
      priority: 10,
      cut: { from: 8, to: 40 },
      columnsMin: 8,
      cell: ({ info }) => info.client,
    },
    { heading: 'MPOOL', priority: 7, cut: { from: 6, to: 32 }, cell: ({ info }) => info.pool },
    {
      heading: 'ACCESS',
      priority: 2,
      cell: ({ info }) => (info.exclusive ? `${info.access},excl` : info.access),
    },
    {
      heading: '>REQ/S',
      priority: 11,
      cell: ({ requestsPerSecond }) => formatCount(requestsPerSecond),
    },
    {
      heading: '>WRITTEN/S',
      priority: 9,
      cell: ({ writtenBytesPerSecond }) => formatBytes(writtenBytesPerSecond),
    },
    { heading: '>FLIGHT', priority: 6, cell: ({ info }) => formatCount(info.requestsInFlight) },
    { heading: '>LEASES', priority: 5, cell: ({ info }) => formatCount(info.leaseCount) },
    { heading: '>MAPPED', priority: 3, cell: ({ info }) => formatCount(info.mappedCount) },
    { heading: '>UNCOMM', priority: 4, cell: ({ info }) => formatCount(info.uncommittedCount) },
    { heading: '>LOGS', priority: 1, cell: ({ info }) => formatCount(info.openLogCount) },
  ];
}
