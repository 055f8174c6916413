/** One measure over time, and how much it may differ without having grown. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [seconds: number, value: number])[];
  /** Parts of the earlier value that the later one may be above it: 0.2 is a fifth. */
  readonly mayGrowByPart: number;
  /** What it may be above it besides, in its own unit. */
  readonly mayGrowBy: number;
}

/** A measure in two spans of time. */
export interface Growth {
  readonly name: string;
  /** The medians. */
  readonly before: number;
  readonly after: number;
  /** The most that `after` may be. */
  readonly limit: number;
  readonly grew: boolean;
}

// A median of fewer is too much a matter of chance.
const SAMPLES = 4;

/**
 * Compares a measure's median in the last quarter of the time with that in the second quarter. Medians, because a fault
 * or a garbage collection makes single samples mean nothing. The first quarter doesn't count: processes compile their
 * code, pools and tables reach the size that they need.
 * @param seconds how long the run took
 * @returns undefined if either quarter has fewer than four samples
 */
export function compareQuarters(series: Series, seconds: number): Growth | undefined {
  const within = (from: number, to: number): number[] =>
    series.points
      .filter(([at]) => at >= from * seconds && at < to * seconds)
      .map(([, value]) => value);
  const [early, late] = [within(0.25, 0.5), within(0.75, Infinity)];
  if (early.length < SAMPLES || late.length < SAMPLES) return undefined;
  const [before, after] = [median(early), median(late)];
  const limit = before * (1 + series.mayGrowByPart) + series.mayGrowBy;
  return { name: series.name, before, after, limit, grew: after > limit };
}

/** The middle of some numbers; of two in the middle, the upper one. @throws RangeError if there is none */
export function median(values: readonly number[]): number {
  const middle = values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
  if (middle === undefined) throw new RangeError('nothing to take the median of');
  return middle;
}
