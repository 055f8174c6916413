/** The same object with one method, or some, of the test's. */
export function withMethod<T extends object>(of: T, methods: Partial<T>): T {
  return new Proxy(of, {
    get: (target, key) => Reflect.get(key in methods ? methods : target, key, target) as unknown,
  });
}
