import { distance } from 'fastest-levenshtein';

/** The variables of an environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

// Variables that Kubernetes generates for a Service and Docker for a link. For a service "worker"
// these are WORKER_SERVICE_HOST, WORKER_PORT_3002_TCP_ADDR and so on, and
// WORKER_PORT=tcp://10.0.0.1:3002.
const SERVICE_NAME =
  /_SERVICE_(?:HOST|PORT(?:_\w+)?)$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/;
const SERVICE_ADDRESS = /^(?:tcp|udp|sctp):\/\//;

/**
 * Whether a platform generated this variable from a service's name (see "Environment variables" in
 * Kubernetes' documentation of Services). Nobody wrote it, so it is neither a setting nor a
 * misspelt one.
 */
export function isMadeByPlatform(name: string, value: string | undefined): boolean {
  return SERVICE_NAME.test(name) || (name.endsWith('_PORT') && SERVICE_ADDRESS.test(value ?? ''));
}

// Common names of other programs' variables that resemble ours.
const UNRELATED = new Set(['APP_TOKEN', 'DASHBOARD_HOST', 'PRODUCER_HOST', 'WORKER_HOST']);

/**
 * Finds a variable whose name looks like a misspelt setting, because a typo would silently select
 * the default. Short names get less tolerance.
 * @returns the variable and the setting that was probably meant; undefined if there is none
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
