import { TallyError } from '../errors.ts';
import { hostAndPort } from './address.ts';

/**
 * The error for a server that can't listen: PORT_IN_USE or CANNOT_LISTEN, with the setting to
 * change.
 * @param variable the setting of the port
 */
export function cannotListen(
  error: NodeJS.ErrnoException,
  host: string,
  port: number,
  variable: string,
): TallyError {
  const code = error.code === 'EADDRINUSE' ? 'PORT_IN_USE' : 'CANNOT_LISTEN';
  return new TallyError(code, listenProblem(error, host, port, variable), { cause: error });
}

function listenProblem(
  { message, code = message }: NodeJS.ErrnoException,
  host: string,
  port: number,
  variable: string,
): string {
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} on ${host} is in use; set ${variable} to another one`;
    case 'EACCES':
      return `this user may not listen on port ${port} of ${host} (EACCES); set ${variable} to 1024 or more`;
    case 'EADDRNOTAVAIL':
      return `no network interface of this machine has the address ${host} (EADDRNOTAVAIL); set HTTP_HOST to one that it has`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the name ${host} does not resolve (${code}); check HTTP_HOST`;
    default:
      return `cannot listen on ${hostAndPort(host, port)} (${code}); check HTTP_HOST and ${variable}`;
  }
}
