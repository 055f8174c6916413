import { canRewrite, StatusLine, type Terminal } from './status-line.ts';

const REDRAW_INTERVAL_MS = 100;
const BAR_WIDTH = 10;

/** Shows the progress of a long command on the last line of a terminal. */
export interface ProgressBar {
  /** Sets how many there are, for the share and the time left. */
  total(count: number): void;
  /** Shows that `count` are done. */
  at(count: number): void;
  /** Lets `write` print whole lines above the bar, to whatever stream. */
  above(write: () => void): void;
  /** Removes the bar, so that further output starts on a fresh line. */
  stop(): void;
}

/**
 * Creates a progress bar, or one that draws nothing if the stream can't rewrite a line.
 * @param stream where it is drawn
 * @param what what is counted, for example "executions"
 */
export function progressBar(stream: Terminal, what: string): ProgressBar {
  return canRewrite(stream, process.env['TERM']) ? drawnBar(stream, what) : noBar();
}

/**
 * A bar that draws nothing, for output without whole lines: on the same terminal, a bar would
 * overwrite it.
 */
export function noBar(): ProgressBar {
  return {
    total: () => undefined,
    at: () => undefined,
    above: (write) => write(),
    stop: () => undefined,
  };
}

function drawnBar(stream: Terminal, what: string): ProgressBar {
  const line = new StatusLine(stream);
  const beganMs = performance.now();
  let total = 0;
  let drawnMs = Number.NEGATIVE_INFINITY;
  return {
    total: (count) => {
      total = count;
    },
    at: (count) => {
      const nowMs = performance.now();
      if (nowMs - drawnMs < REDRAW_INTERVAL_MS) return;
      drawnMs = nowMs;
      line.show(barParts(count, total, nowMs - beganMs, what));
    },
    above: (write) => line.above(write),
    stop: () => line.end('remove'),
  };
}

/**
 * The parts of a progress bar's line, most important first: how many of how many, the share, and
 * the time left.
 * @param total an estimate; 0 if it isn't known yet
 */
export function barParts(count: number, total: number, elapsedMs: number, what: string): string[] {
  if (total <= 0) return [`${count} ${what}`];
  const share = Math.min(count / total, 1);
  const filled = Math.round(share * BAR_WIDTH);
  const parts = [
    `${count} of ${Math.max(total, count)} ${what}`,
    `${'='.repeat(filled).padEnd(BAR_WIDTH, '-')} ${Math.floor(share * 100)} %`,
  ];
  if (share === 0 || share === 1) return parts;
  return [...parts, `${describeDuration((elapsedMs / share) * (1 - share))} left`];
}

function describeDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}
