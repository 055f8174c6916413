/** One way to break a mechanism that a guarantee rests on. */
export interface Mutant {
  /** What the broken product does. */
  readonly name: string;
  /** The guarantee of docs/reliability.md, or the promise, that it breaks. */
  readonly breaks: string;
  readonly file: string;
  /** Texts that each occur exactly once in the file, and what replaces them. */
  readonly edits: readonly (readonly [from: string, to: string])[];
  /** The test that has to notice: its file, and its title or a part of it. */
  readonly test: readonly [file: string, title: string];
}

/** @throws Error for an edit that fits no place in the file, or several */
export function mutate(source: string, { name, edits }: Mutant): string {
  return edits.reduce((text, [from, to]) => {
    const parts = text.split(from);
    if (parts.length !== 2) throw new Error(`"${name}": ${parts.length - 1} places fit ${from}`);
    return parts.join(to);
  }, source);
}
