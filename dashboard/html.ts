import { printableText } from '../shared/process/printable.ts';

/** HTML that is safe to send: made by `html`, which escapes every value. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | null | undefined | false | readonly Part[];

/**
 * Builds HTML from a template; nothing else in the dashboard does. Values are escaped, in
 * attributes as well, and characters that would hide or reorder the text around them are shown as
 * `\u{202e}`. Pieces made by `html` are inserted as they are, lists are joined, and null, undefined
 * and false render nothing.
 */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.map((text, at) => text + textOf(parts[at])).join(''));
}

function textOf(part: Part): string {
  if (part === null || part === undefined || part === false) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(textOf).join('');
  return printableText(String(part)).replaceAll(
    /[&<>"'`]/g,
    (character) => `&#${character.charCodeAt(0)};`,
  );
}
