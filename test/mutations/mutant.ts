/** One way to break a mechanism that a guarantee rests on. */
export interface Mutant {
  /** What the broken product does. */
  readonly name: string;
  /** The guarantee of docs/architecture.md, or the promise, that it breaks. */
  readonly breaks: string;
  readonly file: string;
  /** Texts that each occur exactly once in the file, and what replaces them. */
  readonly edits: readonly (readonly [from: string, to: string])[];
  /** Test files of which one has to notice. */
  readonly tests: readonly string[];
}
