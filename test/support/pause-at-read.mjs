// Loaded before a program: it stands still right after its reads of files whose names begin with PAUSE_FILE, those
// whose numbers are in PAUSE_AT ("1,3"), until there is a file PAUSE_FOLDER/go-<number>. Meanwhile there is
// PAUSE_FOLDER/paused-<number>.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

const { PAUSE_FILE = '', PAUSE_AT = '', PAUSE_FOLDER = '' } = process.env;
const readFileSync = /** @type {(...all: unknown[]) => unknown} */ (fs.readFileSync);
const pauses = new Set(PAUSE_AT.split(',').map(Number));
const nap = new Int32Array(new SharedArrayBuffer(4));
let reads = 0;

fs.readFileSync = /** @type {typeof fs.readFileSync} */ (
  (/** @type {unknown[]} */ ...all) => {
    try {
      return readFileSync(...all);
    } finally {
      if (String(all[0]).startsWith(PAUSE_FILE) && pauses.has(++reads)) {
        fs.writeFileSync(join(PAUSE_FOLDER, `paused-${reads}`), '');
        while (!fs.existsSync(join(PAUSE_FOLDER, `go-${reads}`))) Atomics.wait(nap, 0, 0, 5);
      }
    }
  }
);
syncBuiltinESMExports();
