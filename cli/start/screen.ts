import type { WriteStream } from 'node:tty';
import { prettyFactory } from 'pino-pretty';
import { TERMINAL_FORMAT } from '../../shared/process/logger.ts';
import { formatProgress, readProgress, type RecentRefreshes } from './progress.ts';

const LINE_INTERVAL_MS = 1_000;
const SERIOUS = /^\{"level":"(warn|error|fatal)"/;
const CLEAR_LINE = '\r\u001b[2K';

type Source = Parameters<typeof readProgress>;

/**
 * What `tally start` prints. On a terminal: one line that lives, and above it what it says and the
 * serious lines of the log. Elsewhere: every line of the log as it comes.
 */
export class Screen {
  readonly #out: WriteStream;
  readonly #pretty = prettyFactory(TERMINAL_FORMAT);
  #timer: NodeJS.Timeout | undefined;
  #reading = false;
  #line = '';

  constructor(out: WriteStream) {
    this.#out = out;
  }

  /** A sentence for the person who watches. */
  say(text: string): void {
    this.#above(`${text}\n`);
  }

  /** A line of a process's log, JSON. */
  log(line: string): void {
    if (!this.#out.isTTY) this.#out.write(`${line}\n`);
    else if (SERIOUS.test(line)) this.#above(this.#pretty(line));
  }

  /** Shows the progress from now on, once a second; elsewhere than on a terminal, nothing. */
  show(parts: {
    database: Source[0];
    queue: Source[1];
    recent: RecentRefreshes;
    dashboardUrl: string;
  }): void {
    if (!this.#out.isTTY) return;
    this.#timer = setInterval(() => {
      // A slow answer must not pile up requests.
      if (this.#reading) return;
      this.#reading = true;
      void readProgress(parts.database, parts.queue, parts.recent).then((progress) => {
        this.#reading = false;
        if (this.#timer === undefined) return;
        this.#line = this.#fitting(formatProgress(progress, parts.dashboardUrl));
        this.#out.write(`${CLEAR_LINE}${this.#line}`);
      });
    }, LINE_INTERVAL_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#line !== '') this.#out.write('\n');
    this.#line = '';
  }

  // The address stands above already; a cut one would mislead.
  #fitting(line: string): string {
    const { columns } = this.#out;
    return line.length < columns
      ? line
      : line.replace(/ \| dashboard .*/, '').slice(0, columns - 1);
  }

  #above(text: string): void {
    this.#out.write(this.#line === '' ? text : `${CLEAR_LINE}${text}${this.#line}`);
  }
}
