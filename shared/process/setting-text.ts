import { describeError, UsageError } from '../errors.ts';
import { isMadeByPlatform, type Environment } from './setting-names.ts';

/** Where settings are read from: the environment and the files that it names. */
export interface Sources {
  readonly environment: Environment;
  readonly readFile: (path: string) => string;
}

/**
 * Reads the text of one setting, from its variable or from the file that `<name>_FILE` names; empty
 * if it is unset. An empty variable counts as unset, because that is how compose files and shells
 * clear one. Trailing line breaks, which shells and editors add, are dropped.
 * @param file whether `<name>_FILE` is supported
 * @throws UsageError if both are set, if the file is empty or can't be read, and for control
 *   characters
 */
export function readSetting(name: string, sources: Sources, file = false): string {
  const { environment } = sources;
  const written = environment[name] ?? '';
  const plain = isMadeByPlatform(name, written) ? '' : withoutLineEnd(written);
  const path = file ? environment[`${name}_FILE`] : undefined;
  if (!path) return oneLine(name, plain);
  if (plain !== '') {
    throw new UsageError(`${name} and ${name}_FILE are both set; unset one of them`);
  }
  return oneLine(`${name}_FILE: ${path}`, readNamedFile(name, path, sources));
}

function readNamedFile(name: string, path: string, { readFile }: Sources): string {
  let text: string;
  try {
    text = withoutLineEnd(readFile(path));
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? describeError(error);
    throw new UsageError(
      `${name}_FILE: ${path} can't be read (${reason}); check the path and that this user may read it`,
      { cause: error },
    );
  }
  if (text === '') throw new UsageError(`${name}_FILE: ${path} is empty; write the value into it`);
  return text;
}

function withoutLineEnd(text: string): string {
  return text.replace(/[\r\n]+$/, '');
}

function oneLine(what: string, text: string): string {
  if (!/\p{Cc}/u.test(text)) return text;
  throw new UsageError(`${what} has a line break or another control character inside; remove it`);
}
