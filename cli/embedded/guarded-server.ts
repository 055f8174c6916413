import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { serverEnvironment, type SystemUser } from './programs.ts';
import { once, until } from './server.ts';

/** Longer than the guard takes to kill a server that doesn't stop when asked. */
const GONE_TIMEOUT_MS = 20_000;

/**
 * Runs a server as the child of a shell, which stops it as soon as our end of a pipe closes:
 * because we ask for it, or because this process is gone for any reason (kill -9, out of memory, a
 * closed terminal). Only a server's parent can't confuse its pid with that of another process. The
 * shell exits when the server does. Both are in a session of their own, so a Ctrl-C reaches
 * neither.
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
  /**
   * Signal names without SIG: one that asks the server to stop, and one that forces it to 8 s
   * later.
   */
  readonly signals: readonly [ask: string, force: string];
  /** Descriptor of the file for the server's output. */
  readonly log: number;
  /** Path of the server's standard input. */
  readonly input?: string;
  readonly cwd?: string;
  readonly as?: SystemUser | undefined;
}

/** A server process that never outlives this one. */
export interface GuardedServer {
  /** Whether the server's process has ended, or was never created. */
  readonly ended: boolean;
  /**
   * Stops the server and resolves once its process is gone. Idempotent: all calls share a promise.
   * @throws Error if the process survives even SIGKILL
   */
  stop(): Promise<void>;
}

/** Starts a server. The caller must find out when it answers. */
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
  // Neither the server nor the pipe may keep this process alive.
  guard.unref();
  if (guard.stdin instanceof Socket) guard.stdin.unref();
  // If the server is already gone, so is the other end of the pipe.
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
