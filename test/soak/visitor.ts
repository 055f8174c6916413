import { setTimeout as delay } from 'node:timers/promises';
import type { World } from '../chaos/world.ts';

const EVERY_MS = 3_000;
const ANSWER_TIMEOUT_MS = 30_000;
const PAGES = [
  '/',
  '/executions',
  '/executions?state=failed',
  '/executions/1',
  '/failures',
  '/board/api/queues?activeQueue=refresh&status=latest&page=1&jobsPerPage=25',
  '/metrics',
];

/** Somebody who looks at one page of the dashboard after another. */
export class Visitor {
  readonly #world: World;
  #url: string | undefined;
  readonly #stopped = new AbortController();
  readonly #running: Promise<void>;

  constructor(world: World) {
    this.#world = world;
    this.#running = this.#visit();
  }

  /** Asks for every page. @returns what is wrong with those that don't answer with 200 */
  async lookAtAll(): Promise<string[]> {
    const answers = await Promise.all(PAGES.map(async (page) => [page, await this.#get(page)]));
    return answers.flatMap(([page, status]) =>
      status === 200 ? [] : [`the dashboard answered ${page} with ${status}`],
    );
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #visit(): Promise<void> {
    const { signal } = this.#stopped;
    for (let n = 0; !signal.aborted; n++) {
      await this.#get(PAGES[n % PAGES.length] ?? '/');
      await delay(EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** @returns the status, or why there was none */
  async #get(page: string): Promise<number | string> {
    const line = (): string | undefined =>
      this.#world.actors
        .flatMap(({ lines }) => lines)
        .find((one) => one.includes('dashboard: http'));
    this.#url ??= /http:\S+?:\d+/.exec(line() ?? '')?.[0];
    try {
      const response = await fetch(`${this.#url}${page}`, {
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      });
      await response.arrayBuffer();
      return response.status;
    } catch (error) {
      return String(error);
    }
  }
}
