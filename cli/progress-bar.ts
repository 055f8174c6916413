import { SingleBar } from 'cli-progress';

/** How far a long command has come; nothing is drawn when the stream is no terminal. */
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
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
  });
  if (stream.isTTY) bar.start(0, 0);
  return {
    total: (count) => bar.setTotal(count),
    at: (count) => bar.update(count),
    stop: () => bar.stop(),
  };
}
