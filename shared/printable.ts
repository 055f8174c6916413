// Control characters, those that turn the direction of writing, and two that some readers take for line ends.
const UNPRINTABLE = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;
const UNPRINTABLE_IN_TEXT = /(?![\t\n\r])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/**
 * A text from outside (a vendor, a status, an error's message) as it may be written into a line of a terminal or a log:
 * what could move the cursor, change what stands there or begin a line is shown as an escape, `\u{1b}`.
 */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, escaped);
}

/** The same for places that have lines of their own, such as a page: line breaks and tabs stay. */
export function printableText(text: string): string {
  return text.replaceAll(UNPRINTABLE_IN_TEXT, escaped);
}

/** The same for a JSON text: it means what it meant, and shows no such character to whoever looks at it. */
export function printableJson(json: string): string {
  return json.replaceAll(
    UNPRINTABLE_IN_TEXT,
    (character) => `\\u${hexOf(character).padStart(4, '0')}`,
  );
}

/** The beginning of a text that is longer than `max` characters, with how many there are in all. */
export function shortened(text: string, max: number): string {
  if (text.length <= max) return text;
  // No half of a character that takes two.
  const begin = text.slice(0, max).replace(/[\uD800-\uDBFF]$/, '');
  return `${begin}… (${text.length} characters in all)`;
}

function escaped(character: string): string {
  return `\\u{${hexOf(character)}}`;
}

function hexOf(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16);
}
