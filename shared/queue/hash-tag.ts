/**
 * A Redis Cluster puts keys with the same text between the first `{` and the next `}` into the same slot, and a script
 * of BullMQ works on keys of one slot only.
 */
export function hasHashTag(prefix: string): boolean {
  return /^[^{]*\{[^}]+\}/.test(prefix);
}

/** The prefix under which all keys lie in one slot: `{tally}` for `tally`, and unchanged if it has a hash tag. */
export function withHashTag(prefix: string): string {
  return hasHashTag(prefix) ? prefix : `{${prefix}}`;
}
