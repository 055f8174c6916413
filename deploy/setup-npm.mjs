// Runs npm for the set-up. Plain JavaScript, as setup.mjs is.
import { spawn } from 'node:child_process';
import { basename } from 'node:path';

/** @type {NodeJS.Signals[]} */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Runs npm to its end, or to a signal that ends this set-up: then npm, and all that it has started, is killed first. By
 * itself npm ci goes on for a minute after a Ctrl-C, into whatever is run next. What it leaves half done is done again.
 * @param {string} cwd @param {string[]} args
 */
export async function npm(cwd, ...args) {
  // Other package managers, and npx, set this variable too.
  const path = process.env['npm_execpath'] ?? '';
  const viaNode = basename(path) === 'npm-cli.js';
  const [command, all] = viaNode ? [process.execPath, [path, ...args]] : ['npm', args];
  /** @type {NodeJS.Signals | undefined} */
  let stoppedBy;
  // In a process group of its own, so that a Ctrl-C reaches this process alone, and one signal all of npm's.
  const child = spawn(command, all, {
    cwd,
    // npm pack --dry-run hands its option on, with which npm ci would install nothing.
    env: { ...process.env, npm_config_dry_run: 'false' },
    // A pipe's reader may go away, and npm would fail; so only this process writes to it.
    stdio: ['ignore', ...[process.stdout, process.stderr].map(passOn)],
    detached: true,
  });
  child.stdout?.on('data', (chunk) => process.stdout.write(chunk));
  child.stderr?.on('data', (chunk) => process.stderr.write(chunk));
  /** @param {NodeJS.Signals} signal */
  const stop = (signal) => {
    stoppedBy = signal;
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  const reason = await ending(child);
  for (const signal of SIGNALS) process.off(signal, stop);
  if (stoppedBy !== undefined) throw new Stopped(stoppedBy);
  if (reason !== undefined) throw new Error(`npm ${args.join(' ')} failed (${reason}).`);
}

/**
 * @param {NodeJS.WriteStream} stream
 * @returns {'inherit' | 'pipe'}
 */
function passOn(stream) {
  return stream.isTTY ? 'inherit' : 'pipe';
}

/**
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<string | undefined>} why it failed; undefined: it didn't
 */
function ending(child) {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) =>
      resolve(code === 0 ? undefined : `exit ${code ?? signal}`),
    );
  });
}

/** A signal has ended the set-up. */
export class Stopped extends Error {
  /** @param {NodeJS.Signals} signal */
  constructor(signal) {
    super(`stopped by ${signal}`);
    this.signal = signal;
  }
}
