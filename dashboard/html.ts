import { printableText } from '../shared/printable.ts';

/** A piece of HTML that is safe to send: made by `html`, which escapes whatever is put into it. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | null | undefined | false | readonly Part[];

/**
 * The only way to make HTML here. Values are escaped, also those between the quotes of an attribute, and characters that
 * would turn or move the text around them are shown as `\u{202e}`; pieces made by
 * `html` are taken as they are; lists are joined; null, undefined and false are nothing.
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
