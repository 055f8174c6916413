import { SingleBar } from 'cli-progress';

/** How far a long command has come; nothing is drawn where the stream is no terminal or a dumb one. */
export interface ProgressBar {
  total(count: number): void;
  at(count: number): void;
  /** Removes the bar, so that what is written next begins on a line of its own. */
  stop(): void;
}

/** @param what the things that are counted, for example "executions" */
export function progressBar(stream: NodeJS.WriteStream, what: string): ProgressBar {
  const bar = new SingleBar({
    stream,
    format: `{bar} {percentage} % | {value} of {total} ${what} | {eta_formatted} left`,
    // Leaves room for the rest of the line on a narrow terminal.
    barsize: Math.max(5, Math.min(40, stream.columns - 50)) || 40,
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
  });
  if (stream.isTTY && process.env['TERM'] !== 'dumb') bar.start(0, 0);
  return {
    total: (count) => bar.setTotal(count),
    at: (count) => bar.update(count),
    stop: () => bar.stop(),
  };
}
