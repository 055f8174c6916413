import { distance } from 'fastest-levenshtein';

/** Where settings come from: the variables of an environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

// The variables that Kubernetes makes of a Service and Docker of a link: of a service "worker", WORKER_SERVICE_HOST,
// WORKER_PORT_3002_TCP_ADDR and the like, beside WORKER_PORT=tcp://10.0.0.1:3002.
const SERVICE_NAME =
  /_SERVICE_(?:HOST|PORT(?:_\w+)?)$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/;
const SERVICE_ADDRESS = /^(?:tcp|udp|sctp):\/\//;

/**
 * Whether a platform has made up this variable of a service's name (see "Environment variables" in Kubernetes'
 * documentation of Services). Nobody wrote it, so that it is neither a setting nor a misspelt one.
 */
export function isMadeByPlatform(name: string, value: string | undefined): boolean {
  return SERVICE_NAME.test(name) || (name.endsWith('_PORT') && SERVICE_ADDRESS.test(value ?? ''));
}

// Ordinary names of other programs that are close to ours.
const UNRELATED = new Set(['APP_TOKEN', 'DASHBOARD_HOST', 'PRODUCER_HOST', 'WORKER_HOST']);

/**
 * Finds a variable whose name looks like a misspelt setting: a typo would silently give the default. Short names get
 * less tolerance.
 * @returns the given name and the one that was meant; undefined when there is none
 */
export function findMisspelt(
  environment: Environment,
  names: readonly string[],
): { readonly given: string; readonly meant: string } | undefined {
  for (const [given, value] of Object.entries(environment)) {
    if (names.includes(given) || UNRELATED.has(given) || isMadeByPlatform(given, value)) continue;
    const meant = names.find(
      (name) =>
        given === `TALLY_${name}` ||
        isSwapped(given, name) ||
        distance(given, name) <= (name.length >= 12 ? 2 : 1),
    );
    if (meant !== undefined) return { given, meant };
  }
  return undefined;
}

function isSwapped(given: string, name: string): boolean {
  if (given.length !== name.length) return false;
  const at = name.split('').findIndex((letter, index) => letter !== given[index]);
  const swapped = `${name.slice(0, at)}${name.charAt(at + 1)}${name.charAt(at)}${name.slice(at + 2)}`;
  return given === swapped;
}
