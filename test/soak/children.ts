import { readFileSync } from 'node:fs';
import type { Actor } from '../chaos/actor.ts';
import { until } from '../support/wait.ts';

/** What `tally start` may take to notice an end and to start the process again. */
const RESTARTED_MS = 60_000;

type Role = 'worker' | 'producer' | 'dashboard';

/** The processes that one `tally start` runs, and starts again when they have ended. */
export class Children {
  readonly #parent: Actor;
  /** Those that have a name. */
  readonly #named = new Set<number>();
  #endsAskedFor = 0;

  constructor(parent: Actor) {
    this.#parent = parent;
  }

  /** One of a role; if there are several, any that has no name yet, and its successors. */
  child(name: string, role: Role): Actor {
    const running = this.#running.bind(this, role);
    const named = this.#named;
    let last: number | undefined;
    const find = (): number | undefined => {
      const pids = running();
      if (last !== undefined && pids.includes(last)) return last;
      if (last !== undefined) named.delete(last);
      last = pids.find((pid) => !named.has(pid));
      if (last !== undefined) named.add(last);
      return last;
    };
    const send = (signal: NodeJS.Signals): void => {
      const pid = find();
      if (pid !== undefined) process.kill(pid, signal);
    };
    return {
      name,
      get pid() {
        return find();
      },
      // They are among those of the parent.
      lines: [],
      start: () => {
        // The parent does that.
      },
      end: (signal) => this.#end(name, role, find, signal),
      freeze: () => send('SIGSTOP'),
      thaw: () => send('SIGCONT'),
    };
  }

  /** How many have ended though no fault has ended them. */
  get endedByThemselves(): number {
    return this.#ends().length - this.#endsAskedFor;
  }

  async #end(
    name: string,
    role: Role,
    find: () => number | undefined,
    signal: NodeJS.Signals,
  ): Promise<number | NodeJS.Signals | null> {
    // Without their parent all of them end, and nobody says so.
    if (this.#parent.pid === undefined) return null;
    const pid = await until(`${name} to run`, find, RESTARTED_MS);
    const before = this.#ends().length;
    this.#endsAskedFor++;
    process.kill(pid, 'SIGCONT');
    process.kill(pid, signal);
    const how = await until(
      `tally start to say how ${name} ended`,
      () =>
        this.#ends()
          .slice(before)
          .find((end) => end.role === role)?.how,
      RESTARTED_MS,
    );
    return how.startsWith('exit ') ? Number(how.slice('exit '.length)) : (how as NodeJS.Signals);
  }

  #ends(): { role: string; how: string }[] {
    return this.#parent.lines.flatMap((line) => {
      const [, role, how] = /the (\w+) ended \((.+?)\) and is restarted/.exec(line) ?? [];
      return role === undefined || how === undefined ? [] : [{ role, how }];
    });
  }

  #running(role: Role): number[] {
    const { pid } = this.#parent;
    if (pid === undefined) return [];
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return children
      .trim()
      .split(' ')
      .map(Number)
      .filter((child) => argumentsOf(child).at(-1) === role);
  }
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0$/, '').split('\0');
  } catch {
    // It has ended meanwhile.
    return [];
  }
}
