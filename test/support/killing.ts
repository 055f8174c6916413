/**
 * A process that is killed at its n-th step, without a process: from that step on, nothing that was
 * wrapped ever answers again, so no code behind it runs, and none in front of it is told.
 */
export interface Kill {
  /** The same object, whose methods, or those named, are steps. */
  wrap<T extends object>(target: T, steps?: readonly (keyof T)[]): T;
  /** Resolves when the step was reached. */
  readonly happened: Promise<'killed'>;
}

/** @param when whether the step itself still takes effect: a command that was sent, its answer never read */
export function killAt(step: number, when: 'before' | 'after'): Kill {
  let steps = 0;
  let die: (how: 'killed') => void = () => undefined;
  const happened = new Promise<'killed'>((resolve) => {
    die = resolve;
  });
  const never = new Promise<never>(() => undefined);
  const wrap = <T extends object>(target: T, isStep: (name: string | symbol) => boolean): T =>
    new Proxy(target, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name);
        if (typeof value !== 'function') return value;
        // A pipeline is one step: its execution.
        if (name === 'pipeline')
          return () => wrap(Reflect.apply(value, object, []) as object, (call) => call === 'exec');
        if (!isStep(name)) return value.bind(object) as unknown;
        return async (...args: unknown[]) => {
          steps++;
          if (steps > step) return never;
          if (steps < step) return Reflect.apply(value, object, args) as unknown;
          if (when === 'after') await Reflect.apply(value, object, args);
          die('killed');
          return never;
        };
      },
    });
  return {
    happened,
    wrap: (target, names) =>
      wrap(target, (name) => names === undefined || names.includes(name as keyof typeof target)),
  };
}
