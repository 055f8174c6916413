/**
 * Lets everybody who asks at the same time share one reading. Whoever asks while one is under way
 * gets it, and so does whoever asks after it within the time that it took: reading takes at most
 * half of the time, however many ask, and a quick reading is hardly ever old.
 * @param read has a small number of keys, of each of which the last reading is kept
 */
export function shared<K, T>(read: (key: K) => Promise<T>): (key: K) => Promise<T> {
  const readings = new Map<K, { readonly reading: Promise<T>; untilMs: number }>();
  return async (key) => {
    const last = readings.get(key);
    if (last !== undefined && performance.now() <= last.untilMs) return last.reading;
    const beginMs = performance.now();
    const entry = { reading: read(key), untilMs: Number.POSITIVE_INFINITY };
    readings.set(key, entry);
    try {
      return await entry.reading;
    } finally {
      const endMs = performance.now();
      entry.untilMs = endMs + (endMs - beginMs);
    }
  };
}
