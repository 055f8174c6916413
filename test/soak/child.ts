import { readFileSync } from 'node:fs';
import type { Actor } from '../chaos/actor.ts';
import { until } from '../support/wait.ts';

type Role = 'worker' | 'producer' | 'dashboard';

/** A process that `tally start` runs, and starts again when it has ended. */
export class ChildOfStart implements Actor {
  readonly name: string;
  /** They are among those of `tally start`. */
  readonly lines = [];
  readonly #role: Role;
  readonly #parent: Actor;
  readonly #taken: Set<number>;
  #pid: number | undefined;

  /** @param taken the children of the same parent that have a name; each chooses one that has none yet */
  constructor(name: string, role: Role, parent: Actor, taken: Set<number>) {
    this.name = name;
    this.#role = role;
    this.#parent = parent;
    this.#taken = taken;
  }

  get pid(): number | undefined {
    const running = childrenOf(this.#parent.pid, this.#role);
    if (this.#pid === undefined || !running.includes(this.#pid)) {
      this.#pid = running.find((pid) => !this.#taken.has(pid));
      if (this.#pid !== undefined) this.#taken.add(this.#pid);
    }
    return this.#pid;
  }

  start(): void {
    // Its parent does that.
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | NodeJS.Signals | null> {
    const { pid } = this;
    if (pid === undefined) return null;
    const before = this.#parent.lines.length;
    process.kill(pid, 'SIGCONT');
    process.kill(pid, signal);
    const ended = new RegExp(`the ${this.#role} ended \\((?:exit (\\d+)|(SIG\\w+))\\)`);
    const [, code, by = signal] = await until(
      `tally start to say how the ${this.name} ended`,
      () => {
        // Without their parent all of them end, and nobody says so.
        if (this.#parent.pid === undefined) return [];
        const said = this.#parent.lines.slice(before).map((line) => ended.exec(line));
        return said.find((match) => match !== null);
      },
      60_000,
    );
    return code === undefined ? (by as NodeJS.Signals) : Number(code);
  }

  freeze(): void {
    const { pid } = this;
    if (pid !== undefined) process.kill(pid, 'SIGSTOP');
  }

  thaw(): void {
    const { pid } = this;
    if (pid !== undefined) process.kill(pid, 'SIGCONT');
  }
}

/** The children of a process that were started with this argument last. */
function childrenOf(parent: number | undefined, role: Role): number[] {
  try {
    const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
    return children
      .split(' ')
      .map(Number)
      .filter((pid) => argumentsOf(pid).at(-1) === role);
  } catch {
    return [];
  }
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0$/, '').split('\0');
  } catch {
    return [];
  }
}
