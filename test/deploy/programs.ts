import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { resolve } from 'node:path';
import { isOnPath } from '../../deploy/setup-programs.mjs';
import { ownTool } from '../../deploy/setup-kubernetes.mjs';

/**
 * Runs a program and returns its standard output.
 * @throws Error with all that it printed, if it fails or isn't there
 */
export async function runProgram(program: string, ...args: string[]): Promise<string> {
  const options = { maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(program, args, options).catch(
    (error: Error & { stdout?: string; stderr?: string }) => {
      throw new Error(`${error.message}\n${error.stdout ?? ''}\n${error.stderr ?? ''}`);
    },
  );
  return stdout;
}

/** Runs Helm: the one on PATH, else the one that set-up brought. */
export function helm(...args: string[]): Promise<string> {
  return runProgram(isOnPath(['helm']) ? 'helm' : ownTool(resolve('.'), 'helm'), ...args);
}

/** Runs kubectl, likewise. */
export function kubectl(...args: string[]): Promise<string> {
  return runProgram(isOnPath(['kubectl']) ? 'kubectl' : ownTool(resolve('.'), 'kubectl'), ...args);
}
