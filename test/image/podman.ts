import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { isOnPath } from '../../deploy/setup-programs.mjs';
import { unmountBelow } from './mounts.ts';
import { runProgram, tryProgram, type Environment } from './shell.ts';

/** A Podman with a store of its own. */
export interface Podman {
  run(...args: readonly string[]): Promise<string>;
  /**
   * Plays objects of Kubernetes on the network of this machine.
   * @returns the id of the one container that runs for them, not counting those of Podman itself
   */
  play(name: string, objects: readonly unknown[]): Promise<string>;
  /** Removes everything it made. */
  close(): Promise<void>;
}

/** @param folder for its images and containers */
export function openPodman(folder: string, environment: Environment): Podman {
  if (!isOnPath(['podman'])) throw new Error('These tests need Podman: install podman and runc.');
  mkdirSync(folder);
  const configuration = join(folder, 'containers.conf');
  writeFileSync(
    configuration,
    // In a sandbox that doesn't let root raise its own limits, no container would start.
    '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n[engine]\nevents_logger = "file"\n',
  );
  const env = { ...environment, CONTAINERS_CONF: configuration };
  const own = [
    'podman',
    `--root=${join(folder, 'data')}`,
    `--runroot=${join(folder, 'run')}`,
    // Without it Podman would note its state where that of the whole machine is.
    `--tmpdir=${join(folder, 'tmp')}`,
    '--cgroup-manager=cgroupfs',
    ...(isOnPath(['runc']) ? ['--runtime=runc'] : []),
  ];
  const run = (...args: readonly string[]): Promise<string> =>
    runProgram([...own, ...args], { env });
  return {
    run,
    async play(name, objects) {
      const file = join(folder, `${name}.yaml`);
      writeFileSync(file, objects.map((object) => `---\n${stringify(object)}`).join(''));
      const printed = await run('play', 'kube', '--network=host', file);
      const [, id, ...others] = /Containers?:\n(\w+)\n?(\w*)/.exec(`${printed}\n`) ?? [];
      if (id === undefined || others.some((other) => other !== '')) {
        throw new Error(`podman started no container or more than one:\n${printed}`);
      }
      return id;
    },
    async close() {
      // Not `system reset`: that also removes what is the whole machine's.
      for (const kind of ['pod', 'image']) {
        await tryProgram([...own, kind, 'rm', '--all', '--force'], { env });
      }
      await unmountBelow(folder, env);
    },
  };
}
