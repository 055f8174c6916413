import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

let running: Promise<string> | undefined;

/**
 * Starts a collector of traces, once, that takes everything and keeps nothing.
 * @returns the settings that send traces to it
 */
export async function startCollector(): Promise<Readonly<Record<string, string>>> {
  running ??= listen();
  return { OTEL_EXPORTER_OTLP_ENDPOINT: await running };
}

async function listen(): Promise<string> {
  const server = createServer((request, response) => {
    request.resume().once('end', () => response.end());
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
