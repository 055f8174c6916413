import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Random choices that a seed repeats. */
export class Random {
  readonly #generator;

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed);
  }

  /** A whole number, both ends included. */
  whole(from: number, to: number): number {
    return uniformInt(this.#generator, from, to);
  }

  chance(percent: number): boolean {
    return this.whole(1, 100) <= percent;
  }

  /** @throws RangeError if there is nothing to choose from */
  pick<T>(from: readonly T[]): T {
    const one = from[this.whole(0, from.length - 1)];
    if (one === undefined) throw new RangeError('nothing to choose from');
    return one;
  }

  /** A seed for somebody else, whose choices then don't depend on when they are made. */
  seed(): number {
    return this.whole(1, 2 ** 31 - 1);
  }
}
