import { readdirSync, readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import type { MeasuredProcess } from './processes.ts';
import type { Arena } from './servers.ts';

// Linux counts a process's time in hundredths of a second on every architecture that Node runs on.
const TICK_US = 10_000;

/** What was used up to a moment; a number is missing where it can't be told. */
export interface Usage {
  /** SQL statements that were sent to the database of the run, the bench's own not counted. */
  readonly statements: number | undefined;
  /** CPU of all processes of Postgres, those that have ended too, in microseconds. */
  readonly databaseCpuUs: number | undefined;
  /** Commands that Redis has run, those inside of scripts included. */
  readonly redisCommands: number;
  readonly redisCpuUs: number;
  /** CPU of the contender's own processes, in microseconds. */
  readonly processCpuUs: number | undefined;
}

export async function readUsage(
  arena: Arena,
  processes: readonly MeasuredProcess[],
): Promise<Usage> {
  const [stats, cpu] = await Promise.all([
    arena.redis.info('commandstats'),
    arena.redis.info('cpu'),
  ]);
  const cpuNames = ['sys', 'user', 'sys_children', 'user_children'];
  return {
    redisCommands: sum([...stats.matchAll(/^cmdstat_\S+?:calls=(\d+)/gm)].map((m) => Number(m[1]))),
    redisCpuUs: sum(cpuNames.map((name) => infoNumber(cpu, `used_cpu_${name}`))) * 1e6,
    statements: await countStatements(arena),
    databaseCpuUs: await databaseCpuUs(arena),
    processCpuUs: sumIfAll(processes.map(({ pid }) => processCpuUs(pid))),
  };
}

/** What was used between two moments, for each of `count` refreshes. */
export function usageEach(before: Usage, after: Usage, count: number): Usage {
  const each = (from: number | undefined, to: number | undefined): number | undefined =>
    from === undefined || to === undefined ? undefined : (to - from) / count;
  return {
    statements: each(before.statements, after.statements),
    databaseCpuUs: each(before.databaseCpuUs, after.databaseCpuUs),
    redisCommands: (after.redisCommands - before.redisCommands) / count,
    redisCpuUs: (after.redisCpuUs - before.redisCpuUs) / count,
    processCpuUs: each(before.processCpuUs, after.processCpuUs),
  };
}

/** Bytes that a Redis uses now. */
export async function redisMemory(redis: Redis): Promise<number> {
  return infoNumber(await redis.info('memory'), 'used_memory');
}

/** The most memory that a process ever had, or has now, in bytes. */
export function processMemory(pid: number, which: 'peak' | 'now'): number | undefined {
  const field = which === 'peak' ? 'VmHWM' : 'VmRSS';
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readProc(`${pid}/status`))?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** The largest of what is known. */
export function largest(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

async function countStatements(arena: Arena): Promise<number | undefined> {
  try {
    const [row] = await arena.database.query<{ calls: number }>(
      `SELECT coalesce(sum(calls), 0)::bigint AS calls FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)`,
    );
    return row?.calls;
  } catch {
    // Not every system's Postgres brings pg_stat_statements.
    return undefined;
  }
}

/** The process of a Postgres that starts its others, and then those; empty where it can't be told. */
async function databaseProcesses(arena: Arena): Promise<number[]> {
  const [backend] = await arena.database.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const postmaster = stat(backend?.pid ?? 0)?.parent;
  if (postmaster === undefined) return [];
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => stat(pid)?.parent === postmaster);
  return [postmaster, ...children];
}

/** The process that starts the others keeps the time of those that have ended. */
async function databaseCpuUs(arena: Arena): Promise<number | undefined> {
  const [postmaster, ...children] = (await databaseProcesses(arena)).map(stat);
  if (postmaster === undefined) return undefined;
  const ticks =
    postmaster.ownTicks +
    postmaster.endedTicks +
    sum(children.map((child) => child?.ownTicks ?? 0));
  return ticks * TICK_US;
}

function processCpuUs(pid: number): number | undefined {
  const found = stat(pid);
  return found === undefined ? undefined : found.ownTicks * TICK_US;
}

interface Stat {
  readonly parent: number;
  /** Of all its threads, in user and system mode. */
  readonly ownTicks: number;
  /** Of its children that have ended. */
  readonly endedTicks: number;
}

function stat(pid: number): Stat | undefined {
  // The name in parentheses may hold spaces; the fields after it are numbers: see proc(5).
  const fields = readProc(`${pid}/stat`).split(') ').at(-1)?.split(' ').map(Number);
  const [parent, user, system, endedUser, endedSystem] = [1, 11, 12, 13, 14].map(
    (n) => fields?.[n],
  );
  if (parent === undefined || user === undefined || system === undefined) return undefined;
  return {
    parent,
    ownTicks: user + system,
    endedTicks: (endedUser ?? 0) + (endedSystem ?? 0),
  };
}

function readProc(file: string): string {
  try {
    return readFileSync(`/proc/${file}`, 'utf8');
  } catch {
    return '';
  }
}

function infoNumber(info: string, name: string): number {
  return Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function sumIfAll(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === values.length ? sum(known) : undefined;
}
