import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { expect, it, onTestFinished, vi } from 'vitest';
import { UsablePort } from '../../../../cli/start/usable-port.ts';

/** Listens on a port of one address until the test is over. */
async function takeOn(host: string): Promise<number> {
  const server = createServer();
  onTestFinished(() => void server.close());
  server.listen(0, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function choose(host: string, port: number) {
  const lines: string[] = [];
  const usable = await UsablePort.choose('DASHBOARD_PORT', port, host, (line) => lines.push(line));
  onTestFinished(async () => void (await usable.handOver(0)));
  return { usable, lines };
}

it.each(['127.0.0.1', '::1', 'localhost'])(
  "a port that is taken on %s isn't chosen for a process that is to listen there",
  async (host) => {
    const taken = await takeOn(host);
    const { usable, lines } = await choose(host, taken);
    expect(usable.number).not.toBe(taken);
    expect(lines).toEqual([expect.stringContaining(`Port ${taken} is in use`)]);
    // Nobody else gets it before the process listens.
    const rival = createServer().listen(usable.number, host);
    expect(await once(rival, 'error')).toMatchObject([{ code: 'EADDRINUSE' }]);
  },
);

it('a port that is taken on one address is free on another one', async () => {
  const taken = await takeOn('127.0.0.1');
  const { usable, lines } = await choose('::1', taken);
  expect(usable.number).toBe(taken);
  expect(lines).toEqual([]);
});

it('a taken port that a person has set, and an address that this machine lacks, are named', async () => {
  vi.stubEnv('DASHBOARD_PORT', 'set');
  onTestFinished(() => void vi.unstubAllEnvs());
  const taken = await takeOn('::1');
  await expect(choose('::1', taken)).rejects.toThrow(
    `port ${taken} on ::1 is in use; set DASHBOARD_PORT to another one`,
  );
  await expect(choose('192.0.2.1', 0)).rejects.toThrow(
    'no network interface of this machine has the address 192.0.2.1',
  );
});

it('a port on which two starts have failed is given up, though it looks free', async () => {
  const { usable, lines } = await choose('127.0.0.1', 0);
  const lost = usable.number;
  await usable.handOver(0);
  expect(await usable.handOver(1)).toEqual({ DASHBOARD_PORT: String(lost) });
  expect(await usable.handOver(2)).not.toEqual({ DASHBOARD_PORT: String(lost) });
  expect(lines).toEqual([expect.stringContaining(`Two starts on port ${lost} failed; using`)]);
});
