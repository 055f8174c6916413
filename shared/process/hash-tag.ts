/**
 * Whether all keys with this prefix lie in one slot of a Redis Cluster: it places keys by the text
 * between the first `{` and the next `}`. BullMQ's scripts need all of their keys in one slot.
 */
export function hasHashTag(prefix: string): boolean {
  return /^[^{]*\{[^}]+\}/.test(prefix);
}

/**
 * A prefix that keeps all keys in one slot: `{tally}` for `tally`; unchanged if it has a hash tag.
 */
export function withHashTag(prefix: string): string {
  return hasHashTag(prefix) ? prefix : `{${prefix}}`;
}
