// Control characters, those that change the direction of writing, and two that some readers treat
// as line breaks.
const UNPRINTABLE = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;
const UNPRINTABLE_IN_TEXT = /(?![\t\n\r])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/**
 * Makes a text from outside (a vendor, a status, an error's message) safe for one line of a
 * terminal or a log. Characters that could move the cursor, change what is on screen or start a new
 * line become escapes such as `\u{1b}`.
 */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, escaped);
}

/** The same for places with lines of their own, such as a page: line breaks and tabs stay. */
export function printableText(text: string): string {
  return text.replaceAll(UNPRINTABLE_IN_TEXT, escaped);
}

/** The same for a JSON text, as JSON escapes, so that its meaning doesn't change. */
export function printableJson(json: string): string {
  return json.replaceAll(
    UNPRINTABLE_IN_TEXT,
    (character) => `\\u${hexOf(character).padStart(4, '0')}`,
  );
}

function escaped(character: string): string {
  return `\\u{${hexOf(character)}}`;
}

function hexOf(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16);
}
