// The lock that keeps two set-ups of one project apart. Plain JavaScript, as setup.mjs is: it can't share
// cli/start/claim.ts, which has to be built first and claims a data folder by the same rule.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const TIMEOUT_MS = 15 * 60_000;
const POLL_MS = 100;

/**
 * Waits until no other process that runs holds the lock, and takes it.
 * @param {string} file @param {(pid: number) => void} onWait called once, if it has to wait
 * @returns {Promise<() => void>} gives the lock back
 * @throws {Error} after 15 minutes
 */
export async function lock(file, onWait) {
  const mine = `${file}.${process.pid}`;
  const deadline = performance.now() + TIMEOUT_MS;
  try {
    fs.writeFileSync(mine, lockText(process.pid));
    for (let waits = false; ; waits = true) {
      const pid = take(file, { file, mine });
      if (pid === undefined) return () => fs.rmSync(file, { force: true });
      if (!waits) onWait(pid);
      if (performance.now() > deadline) throw new Error(`Set-up ${pid} holds ${file}: end it.`);
      await delay(POLL_MS);
    }
  } finally {
    fs.rmSync(mine, { force: true });
  }
}

/**
 * A link appears with its content or not at all. The lock of a dead process belongs to whoever first takes the right
 * to replace it, a file named after the dead one, which is taken and replaced in the same way. So of several one wins,
 * and none removes a lock that is held.
 * @param {string} place @param {{ file: string, mine: string }} names
 * @returns {number | undefined} who holds it; undefined: this process
 */
function take(place, names) {
  for (;;) {
    if (link(names.mine, place)) return undefined;
    const holder = readIfThere(place);
    if (holder === undefined) continue;
    const pid = Number.parseInt(holder, 10);
    if (isStillRunning(pid, holder)) return pid;
    const name = createHash('sha256').update(holder).digest('hex').slice(0, 16);
    const right = `${names.file}.after-${name}`;
    const other = take(right, names);
    if (other !== undefined) return other;
    // Only the owner of the right replaces the dead one, so what is read here stays.
    if (readIfThere(place) === holder) {
      fs.renameSync(right, place);
      return undefined;
    }
    fs.rmSync(right);
  }
}

/** @param {string} file @param {string} name */
function link(file, name) {
  try {
    fs.linkSync(file, name);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * A process's number and when it began: in a container that is started again after it was killed in the middle of a
 * set-up, another process soon has the same number, perhaps this one. The number alone where there is no /proc.
 * @param {number} pid
 */
function lockText(pid) {
  const boot = readIfThere('/proc/sys/kernel/random/boot_id')?.trim();
  // The name, in parentheses, may have blanks; the begin is the 20th field after it.
  const ticks = readIfThere(`/proc/${pid}/stat`)
    ?.replace(/^.*\) /s, '')
    .split(' ')[19];
  return boot === undefined || ticks === undefined ? `${pid}` : `${pid} ${boot} ${ticks}`;
}

/** @param {number} pid @param {string} holder what the lock says */
function isStillRunning(pid, holder) {
  if (!isAlive(pid)) return false;
  // Either lacks the begin where there is no /proc, or where it hides the processes of others.
  const found = lockText(pid);
  return found === holder || found === `${pid}` || holder === `${pid}`;
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  // A zombie has ended, though nobody took notice.
  return !/^\d+ \(.*\) [ZX] /s.test(readIfThere(`/proc/${pid}/stat`) ?? '');
}

/** @param {string} file */
export function readIfThere(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    // ESRCH: of a process that has ended since.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
