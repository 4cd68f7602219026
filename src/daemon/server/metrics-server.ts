import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { MpoolError } from '../../base/errors.ts';
import { pathError } from '../../device/io-error.ts';
import { checkReplaceable } from '../rundir.ts';
import type { DaemonMetrics } from './daemon-metrics.ts';
import { OPEN_METRICS_TYPE, openMetricsText } from './open-metrics.ts';

const CONNECTIONS_MAX = 32;
const TIMEOUT_MS = 10_000;
const LOOPBACK = '127.0.0.1';
/** Whoever may read the figures of all pools: the daemon's user and group. */
const SOCKET_MODE = 0o660;

/**
 * GET /metrics (OpenMetrics text) and GET /healthz (200, or 503 when a pool is faulted, and what is wrong)
 * over HTTP, on a Unix socket or a port of this machine alone.
 */
export class MetricsServer {
  readonly #server: Server;
  readonly #socketPath: string | undefined;

  private constructor(server: Server, socketPath: string | undefined) {
    this.#server = server;
    this.#socketPath = socketPath;
  }

  /**
   * @param address 'unix:PATH' or a port
   * @throws ERR_MPOOL_BUSY when someone listens there; ERR_MPOOL_EXISTS when what is there is no socket
   */
  static async listen(address: string, metrics: () => DaemonMetrics): Promise<MetricsServer> {
    const server = createServer((request, response) => answer(request, response, metrics));
    server.maxConnections = CONNECTIONS_MAX;
    server.requestTimeout = TIMEOUT_MS;
    server.headersTimeout = TIMEOUT_MS;
    const path = address.startsWith('unix:') ? address.slice('unix:'.length) : undefined;
    try {
      if (path === undefined) await listening(server, { port: Number(address), host: LOOPBACK });
      else {
        await checkReplaceable(path);
        await rm(path, { force: true });
        await listening(server, { path });
        await chmod(path, SOCKET_MODE);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') {
        throw new MpoolError('ERR_MPOOL_BUSY', `metrics at ${address}`, { cause: error });
      }
      throw pathError(error, path ?? `port ${address}`);
    }
    return new MetricsServer(server, path);
  }

  /** The port, where it was left to the system to choose one. */
  get port(): number | undefined {
    const address = this.#server.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
    if (this.#socketPath !== undefined) await rm(this.#socketPath, { force: true });
  }
}

function listening(server: Server, where: { port: number; host: string } | { path: string }) {
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  metrics: () => DaemonMetrics,
): void {
  const [pathname] = (request.url ?? '').split('?');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    send(response, 405, 'text/plain', 'only GET\n');
  } else if (pathname === '/metrics') {
    send(response, 200, OPEN_METRICS_TYPE, openMetricsText(metrics()));
  } else if (pathname === '/healthz') {
    sendHealth(request, response, metrics());
  } else {
    send(response, 404, 'text/plain', 'here are /metrics and /healthz\n');
  }
}

function sendHealth(
  request: IncomingMessage,
  response: ServerResponse,
  { pools, uptimeSeconds, version }: DaemonMetrics,
): void {
  const faults = pools.flatMap(({ name, fault }) => (fault === undefined ? [] : [{ name, fault }]));
  const problems = pools.flatMap((pool) => {
    return pool.problems.map(({ kind, message }) => ({ name: pool.name, kind, message }));
  });
  const status = faults.length === 0 ? 200 : 503;
  if (request.headers.accept?.includes('json') === true) {
    const count = pools.length;
    const health = {
      healthy: status === 200,
      version,
      uptimeSeconds,
      pools: count,
      faults,
      problems,
    };
    send(response, status, 'application/json', `${JSON.stringify(health)}\n`);
    return;
  }
  const lines = problems.map(({ name, message }) => `${name}: ${message}\n`);
  send(response, status, 'text/plain', lines.length === 0 ? 'healthy\n' : lines.join(''));
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
