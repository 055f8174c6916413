import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

/**
 * Whoever searches the documents for a message has to find the one that is printed. So each message in a table of
 * messages is taken apart at its placeholders, and (1) its parts have to stand in string literals of the product,
 * (2) 24 characters of one of them, or all of it, in what a test expects. Since that test passes, the product has printed it. A message that
 * is reworded, or documented and never tried, fails here with the text to look for.
 */
const TABLES = [
  { file: 'docs/operations.md', columns: ['line', 'seen'] },
  { file: 'docs/harbor.md', columns: ['what you see'] },
  { file: 'docs/tracing.md', columns: ['line'] },
];
const PRODUCT = ['shared', 'producers', 'workers', 'dashboard', 'cli'];
/** What stands for something else in a documented message: `…`, a lone letter, numbers, names of the example. */
const PLACEHOLDER = /…|\b[cfnu]\b|\d[\d.]*(?::REPLICATION)?|\badmin\b|\bretry\b|\bdone\b/;
/** Shorter parts (`: `, ` s`) are everywhere, and tell nothing. */
const TELLING = 5;
const SEEN = 24;

const messages = TABLES.flatMap(({ file, columns }) => documentedMessages(file, columns));
const product = PRODUCT.flatMap(sources).flatMap(literalParts);
const expectations = sources('test').map(expectedText).join('\n');

it('the documents have messages in the tables that are searched', () => {
  expect(messages.length).toBeGreaterThan(50);
});

it.each(messages)('the documented message "%s" is one of the product', (message) => {
  expect(partsOf(message).filter((part) => !isMadeOf(part, product))).toEqual([]);
});

it.each(messages)('the documented message "%s" is one that a test has seen', (message) => {
  const seen = partsOf(message).some((part) =>
    windows(part).some((window) => expectations.includes(window)),
  );
  expect(seen).toBe(true);
});

/** The code spans with a blank in them, commands left out, of the columns with these heads. */
function documentedMessages(file: string, columns: readonly string[]): string[] {
  let column = -1;
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const cells = line.split('|').map((cell) => cell.trim());
      if (cells.length < 3) column = -1;
      else if (column < 0) column = cells.findIndex((cell) => columns.includes(cell));
      else return [...(cells[column] ?? '').matchAll(/`([^`]* [^`]*)`/g)].map(([, span]) => span);
      return [];
    })
    .filter((span): span is string => span !== undefined && !span.startsWith('tally '));
}

function partsOf(message: string): string[] {
  const parts = message.split(PLACEHOLDER).map((part) => part.replace(/^[\s,:;]+|[\s,:;]+$/g, ''));
  return parts.filter((part) => part.length >= TELLING);
}

/** All pieces of a part that are long enough to tell it from other messages; a short part as it is. */
function windows(part: string): string[] {
  const count = Math.max(1, part.length - SEEN + 1);
  return Array.from({ length: count }, (_, from) => part.slice(from, from + SEEN));
}

/** Whether literals one after the other make this text; the first may begin before it, the last end after it. */
function isMadeOf(text: string, literals: readonly string[]): boolean {
  if (literals.some((literal) => literal.includes(text))) return true;
  const ends = new Set(literals.map((literal) => overlap(literal, text)));
  for (let at = 2; at < text.length; at++) {
    if (!ends.has(at)) continue;
    const rest = text.slice(at);
    for (const literal of literals) {
      if (literal.startsWith(rest)) return true;
      if (literal.length > 2 && rest.startsWith(literal)) ends.add(at + literal.length);
    }
  }
  return false;
}

/** How many characters at the end of a literal are those at the beginning of a text. */
function overlap(literal: string, text: string): number {
  let length = Math.min(literal.length, text.length);
  while (!literal.endsWith(text.slice(0, length))) length--;
  return length;
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .filter((name) => !import.meta.url.endsWith(`/${folder}/${name}`))
    .map((name) =>
      readFileSync(`${folder}/${name}`, 'utf8').replaceAll(/^\s*(\/\/|\/?\*).*$/gm, ''),
    );
}

/** The string literals of a program, in parts where a template has a value. */
function literalParts(source: string): string[] {
  let text = source;
  const values: string[] = [];
  // From the inside out, since a literal may stand in another one's value.
  for (let before = ''; before !== text;) {
    before = text;
    text = text.replaceAll(/\$\{([^{}]*)\}/g, (_, value: string) => {
      values.push(value);
      return '…';
    });
  }
  return [
    ...[text, ...values]
      .join('\n')
      .matchAll(/'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`/g),
  ]
    .flatMap(([, single, double, template]) => (single ?? double ?? template ?? '').split('…'))
    .map((part) => part.replaceAll(/\\(.)/g, '$1'));
}

/** A test's text without its titles, without what it expects not to be there, and with regular expressions as texts. */
function expectedText(source: string): string {
  return source
    .replaceAll(/\b(?:it|test|describe)(?:\.\w+)*\(\s*(['"`]).*?\1,/gs, '')
    .replaceAll(/\.not\.to\w+\([^)]*\)/g, '')
    .replaceAll(/\\([^nrtu])/g, '$1');
}
