import { isIPv6 } from 'node:net';

/** The address of a server of ours as a person can open it: `http://127.0.0.1:3000`, `http://[::1]:3000`. */
export function httpAddress(host: string, port: number): string {
  return `http://${hostAndPort(host, port)}`;
}

/** `127.0.0.1:3000`, `[::1]:3000`: a colon in an address would otherwise look like the one before the port. */
export function hostAndPort(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
