import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { once, serverEnvironment, until } from './server.ts';
import type { SystemUser } from './server.ts';

/** Longer than the guard takes to kill a server that doesn't stop when it is asked. */
const GONE_TIMEOUT_MS = 20_000;

/**
 * Runs a server as the child of a shell, which stops it as soon as our end of a pipe closes: because
 * we say so, or because this process is gone, however it went (kill -9, out of memory, the terminal
 * closed). The server's parent is the only one that can't mistake another process for it. The shell
 * ends when the server does, and is in a session of its own, so that a Ctrl-C reaches neither.
 */
const GUARD = `
  ask=$1 force=$2 input=$3
  shift 3
  trap '' HUP INT TERM
  exec 3<&0
  "$@" <"$input" 3<&- &
  server=$!
  {
    read -r _
    kill -"$ask" "$server"
    waits=0
    while [ "$waits" -lt 40 ]; do sleep 0.2; waits=$((waits + 1)); done
    kill -"$force" "$server"
  } <&3 >/dev/null 2>&1 &
  watch=$!
  wait "$server"
  code=$?
  kill -KILL "$watch"
  exit "$code"`;

interface Options {
  /** Signals without SIG: one that asks the server to stop and, 8 s later, one that makes it. */
  readonly signals: readonly [ask: string, force: string];
  /** Open file for what the server prints. */
  readonly log: number;
  /** File that the server reads as its standard input. */
  readonly input?: string;
  readonly cwd?: string;
  readonly as?: SystemUser | undefined;
}

/** A server process that ends with this one at the latest. */
export interface GuardedServer {
  /** Whether the server's process is gone, or never came to be. */
  readonly ended: boolean;
  /**
   * Stops the server and resolves when its process is gone. Idempotent: all calls share a promise.
   * @throws when the process survives even being killed
   */
  stop(): Promise<void>;
}

/** Starts a server; it is up to the caller to find out when it answers. */
export function startGuarded(
  program: string,
  args: readonly string[],
  { signals, log, input, cwd, as }: Options,
): GuardedServer {
  const words = ['tally-guard', ...signals, input ?? '/dev/null', program, ...args];
  const guard = spawn('/bin/sh', ['-c', GUARD, ...words], {
    ...as,
    cwd: cwd ?? '/',
    env: serverEnvironment(),
    detached: true,
    stdio: ['pipe', log, log],
  });
  let ended = false;
  for (const event of ['exit', 'error']) guard.once(event, () => (ended = true));
  // Neither the server nor the pipe may keep a process whose work is done.
  guard.unref();
  if (guard.stdin instanceof Socket) guard.stdin.unref();
  // A server that is gone already has closed the pipe.
  guard.stdin?.on('error', () => undefined);
  return {
    get ended() {
      return ended;
    },
    stop: once(async () => {
      guard.stdin?.destroy();
      await until(() => ended, GONE_TIMEOUT_MS, `${program} doesn't stop`);
    }),
  };
}
