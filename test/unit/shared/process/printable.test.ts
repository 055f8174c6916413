import { expect, it } from 'vitest';
import { printable, printableJson, printableText } from '../../../../shared/process/printable.ts';

it.each([
  ['\u001b[2J\u0007', '\\u{1b}[2J\\u{7}'],
  ['\u009b31m', '\\u{9b}31m'],
  ['a\r\nb', 'a\\u{d}\\u{a}b'],
  ['\u202egnp.exe', '\\u{202e}gnp.exe'],
  ['Übergröße, 日本', 'Übergröße, 日本'],
])('%j is printed as %j', (text, expected) => {
  expect(printable(text)).toBe(expected);
});

it('where lines are allowed, line breaks and tabs stay, and nothing else that moves the text', () => {
  expect(printableText('a\tb\r\nc\u001b[2J\u202ed\u2028')).toBe(
    'a\tb\r\nc\\u{1b}[2J\\u{202e}d\\u{2028}',
  );
});

it('a JSON text without unprintable characters means what it meant', () => {
  const value = { text: 'a\u0085b\u202ec\u2028d\u007f\n"\\', 'key\u202e': ['Übergröße'] };
  const json = printableJson(`${JSON.stringify(value)}\n`);
  expect(json).not.toMatch(/[\u007f-\u009f\u202a-\u202e\u2028\u2029]/);
  expect(json.endsWith('}\n')).toBe(true);
  expect(JSON.parse(json)).toEqual(value);
});
