import { isIPv6 } from 'node:net';

/** URL of a server of ours: `http://127.0.0.1:3000`, `http://[::1]:3000`. */
export function httpAddress(host: string, port: number): string {
  return `http://${hostAndPort(host, port)}`;
}

/** `127.0.0.1:3000`, `[::1]:3000`. The brackets keep an IPv6 address apart from the port. */
export function hostAndPort(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
