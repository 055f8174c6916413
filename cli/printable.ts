// Control characters, those that turn the direction of writing, and two that some terminals take for line ends.
const UNPRINTABLE = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/**
 * A text from outside (a vendor, a status, an error's message) as it may be written to a terminal:
 * what could move the cursor, change what stands there or start a command is shown as an escape, `\u{1b}`.
 */
export function printable(text: string): string {
  return text.replaceAll(
    UNPRINTABLE,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
