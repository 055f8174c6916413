import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadConfig, SETTING_DEFAULTS } from '../../../../shared/process/config.ts';

/** Lines that set a variable, or would if they weren't commented out. */
function settingsOf(text: string): { name: string; value: string; commentedOut: boolean }[] {
  return text.split('\n').flatMap((line) => {
    const [, hash, name, value] = /^(#?)\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$/.exec(line) ?? [];
    return name === undefined || value === undefined
      ? []
      : [{ name, value, commentedOut: hash === '#' }];
  });
}

function readExample() {
  return settingsOf(readFileSync(new URL('../../../../.env.example', import.meta.url), 'utf8'));
}

describe('.env.example', () => {
  it('lists every setting once, in the order of the config, and nothing else', () => {
    expect(readExample().map(({ name }) => name)).toEqual(SETTING_DEFAULTS.map(([name]) => name));
  });

  it('shows the default of every setting that has one', () => {
    const shown = new Map(readExample().map(({ name, value }) => [name, value]));
    for (const [name, fallback] of SETTING_DEFAULTS) {
      if (fallback !== undefined) expect(shown.get(name), name).toBe(fallback);
    }
  });

  it('has exactly the settings without a default commented out', () => {
    const commentedOut = readExample().filter((line) => line.commentedOut);
    const optional = SETTING_DEFAULTS.filter(([, fallback]) => fallback === undefined);
    expect(commentedOut.map(({ name }) => name)).toEqual(optional.map(([name]) => name));
  });

  it('can be used as it is: it gives the config of an empty environment', () => {
    const set = readExample().filter((line) => !line.commentedOut);
    const environment = Object.fromEntries(set.map(({ name, value }) => [name, value]));
    expect(loadConfig([], environment)).toEqual(loadConfig([], {}));
  });

  it('is accepted with every comment sign taken away', () => {
    const environment = Object.fromEntries(readExample().map(({ name, value }) => [name, value]));
    expect(() => loadConfig(['DATABASE_URL', 'REDIS_URL'], environment)).not.toThrow();
  });
});
