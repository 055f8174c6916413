import { expect, it } from 'vitest';
import { printable } from '../../../cli/printable.ts';

it.each([
  ['\u001b[2J\u0007', '\\u{1b}[2J\\u{7}'],
  ['\u009b31m', '\\u{9b}31m'],
  ['a\r\nb', 'a\\u{d}\\u{a}b'],
  ['\u202egnp.exe', '\\u{202e}gnp.exe'],
  ['Übergröße, 日本', 'Übergröße, 日本'],
])('%j is printed as %j', (text, expected) => {
  expect(printable(text)).toBe(expected);
});
