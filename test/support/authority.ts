import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { newFolder } from './new-folder.ts';

/** Files of a certificate authority of one's own, and of a certificate that it has signed. */
export interface Authority {
  readonly folder: string;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** Makes an authority and a certificate for 127.0.0.1, and for no name, in a new folder that the caller removes. */
export function newAuthority(): Authority {
  const folder = newFolder();
  const file = (name: string): string => join(folder, name);
  const openssl = (...args: readonly string[]): unknown =>
    execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const fresh = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2'];
  const authority = ['-subj', '/CN=authority', '-keyout', 'ca.key', '-out', 'ca.pem'];
  openssl('req', ...fresh, ...authority);
  const signed = ['-subj', '/CN=127.0.0.1', '-CA', 'ca.pem', '-CAkey', 'ca.key'];
  const extensions = ['subjectAltName=IP:127.0.0.1', 'basicConstraints=critical,CA:FALSE'];
  const added = extensions.flatMap((extension) => ['-addext', extension]);
  openssl('req', ...fresh, ...signed, ...added, '-keyout', 'server.key', '-out', 'server.crt');
  return { folder, ca: file('ca.pem'), certificate: file('server.crt'), key: file('server.key') };
}
