// A message may contain a whole statement; what tells causes apart comes first.
const MESSAGE_MAX = 1_000;

// A quoted text after one of these words names what was violated or is missing, so it is part of
// the cause.
const NAMED =
  /\b(?:constraint|relation|table|column|view|index|sequence|schema|database|role|function|trigger|type|extension|publication|tablespace)s? $/i;
// Names may be listed: columns "a", "b" and "c".
const LISTED = /^(?:, | and |, and | or )$/;
// An apostrophe inside a word is no quotation mark.
const QUOTED = /"[^"]*"|(?<!\w)'[^']*'(?!\w)/g;

const FOLDS: readonly (readonly [RegExp, string])[] = [
  [/\s+/g, ' '],
  [/\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]+/gi, '<address>'],
  [/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi, '<id>'],
  [/\b(?:sha\d+:)?(?=[0-9a-f]*\d)[0-9a-f]{12,}\b/gi, '<id>'],
  [/\b\d+:[A-Z][A-Z0-9_]*(?::[\w-]+)?/g, '<id>'],
  [
    /\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?: ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?))?/g,
    '<time>',
  ],
  [/\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?/g, '<address>'],
  [
    /\[[0-9a-f]*:[0-9a-f:.]+\](?::\d+)?|(?<![\w:])(?:[0-9a-f]{1,4}:){2,7}[0-9a-f]{1,4}\b|(?<![\w:])::1\b/gi,
    '<address>',
  ],
  [/\b[a-z][\w-]*(?:\.[\w-]+)+:\d+\b|\blocalhost:\d+\b/gi, '<address>'],
  [/(?<=\)=\()[^()]*(?=\))/g, '<value>'],
  // Digits inside a word belong to a name, for example of a partition: events_2024.
  [/(?<![\w<])\d+(?:[.,]\d+)*/g, '<n>'],
];

/**
 * Reduces an error's message to its cause: whatever differs between executions (numbers, ids,
 * quoted values, addresses, times) becomes a placeholder, so that equal causes are equal texts.
 * Names of constraints, tables and the like stay as they are.
 */
export function foldError(text: string): string {
  const message = text.slice(0, MESSAGE_MAX);
  let folded = '';
  // Text since the last name that stays, with placeholders for the quoted values in it.
  let open = '';
  let at = 0;
  let keptUntil = -1;
  for (const { 0: quoted, index } of message.matchAll(QUOTED)) {
    const between = message.slice(at, index);
    open += between;
    at = index + quoted.length;
    const isName =
      NAMED.test(open) || (keptUntil === index - between.length && LISTED.test(between));
    if (quoted.startsWith('"') && isName) {
      folded += fold(open) + quoted;
      open = '';
      keptUntil = at;
    } else {
      open += '<value>';
    }
  }
  return (folded + fold(open + message.slice(at))).trim() || '(no message)';
}

function fold(text: string): string {
  return FOLDS.reduce(
    (folded, [pattern, placeholder]) => folded.replace(pattern, placeholder),
    text,
  );
}

/**
 * The cause of a failure, as one text. A violated constraint is one cause, in whatever words and
 * for whichever partition Postgres reports it; other messages are folded.
 */
export function causeOf(failure: {
  readonly error: string;
  readonly sqlState?: string | null;
}): string {
  const { error, sqlState } = failure;
  // Class 23 is "integrity constraint violation".
  if (sqlState?.startsWith('23') === true) {
    const [, kind, name] = /(\w+) constraint "([^"]+)"/.exec(error.slice(0, MESSAGE_MAX)) ?? [];
    if (name !== undefined) return `violates ${kind} constraint "${name}" (SQLSTATE ${sqlState})`;
  }
  return foldError(error);
}
