// The health check of the image. Plain JavaScript, because the image has it as it stands here.
//   node health.mjs [/healthz | /readyz]
import { readFileSync, realpathSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { fileURLToPath } from 'node:url';

const TIMEOUT_MS = 4_000;

/** The setting of each process's port, and what it listens on if that is unset. @type {Record<string, [string, number]>} */
const PORTS = {
  producer: ['PRODUCER_PORT', 3001],
  dashboard: ['DASHBOARD_PORT', 3000],
  // Any free one.
  worker: ['WORKER_PORT', 0],
};

/** What to ask instead, where a server listens on all addresses. @type {Record<string, string>} */
const LOCAL = { '': '127.0.0.1', '0.0.0.0': '127.0.0.1', '::': '::1' };

/**
 * Where the container's process answers.
 * @param {string} commandLine of the container's first process, its arguments divided by NUL
 * @param {Readonly<Record<string, string | undefined>>} environment
 * @returns {string | undefined} a URL without a path; undefined if it listens on no port that is known
 */
export function addressOf(commandLine, environment) {
  const role = /(?:^|[\s\0])(producer|worker|dashboard)(?=$|[\s\0])/.exec(commandLine)?.[1] ?? '';
  const [name = '', unset = 0] = PORTS[role] ?? [];
  const given = environment[name] ?? '';
  // A platform sets WORKER_PORT=tcp://… for a service of that name, which Tally ignores.
  const port = /^\d+$/.test(given) ? Number(given) : unset;
  if (port === 0) return undefined;
  const host = environment['HTTP_HOST'] ?? '';
  const local = LOCAL[host] ?? host;
  return `http://${isIPv6(local) ? `[${local}]` : local}:${port}`;
}

/** @param {string} path */
async function check(path) {
  const address = addressOf(readFileSync('/proc/1/cmdline', 'utf8'), process.env);
  if (address === undefined) {
    console.log('There is no port to ask: what this container runs is healthy while it runs.');
    return;
  }
  const response = await fetch(`${address}${path}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  console.log(`${response.status} ${await response.text()}`);
  if (!response.ok) process.exitCode = 1;
}

if (realpathSync(process.argv[1] ?? '') === fileURLToPath(import.meta.url)) {
  try {
    await check(process.argv[2] ?? '/healthz');
  } catch (error) {
    const { message, cause } = /** @type {Error} */ (error);
    console.log(cause instanceof Error ? cause.message : message);
    process.exitCode = 1;
  }
}
