// Loaded into a process with --import: the host name LATE_NAME is unknown until the file LATE_NAME_FILE exists, and is
// 127.0.0.1 from then on.
import dns from 'node:dns';
import { existsSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { LATE_NAME, LATE_NAME_FILE = '' } = process.env;
const lookup = /** @type {(...all: unknown[]) => void} */ (dns.lookup);
dns.lookup = /** @type {typeof dns.lookup} */ (
  /** @type {unknown} */ (
    (/** @type {string} */ name, /** @type {unknown[]} */ ...rest) => {
      const isKnown = name === LATE_NAME && existsSync(LATE_NAME_FILE);
      lookup(isKnown ? '127.0.0.1' : name, ...rest);
    }
  )
);
syncBuiltinESMExports();
