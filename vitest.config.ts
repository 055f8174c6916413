import { defineConfig } from 'vitest/config';

const ENVIRONMENTS = 'test/environments/**/*.test.ts';
const DEPLOY = 'test/deploy/**/*.test.ts';
const IMAGE = 'test/image/**/*.test.ts';
// Of each project and not above them: there it would start a second set of servers that nobody uses.
const globalSetup = ['test/support/servers.ts'];

export default defineConfig({
  test: {
    // Three at a time, however many cores there are: most of a file's time is waiting (for locks to run out, for servers
    // to start), and each starts several processes of its own.
    maxWorkers: 3,
    // One process after another runs many files: starting one and loading the libraries takes longer than most files do.
    isolate: false,
    // Of a test that hangs. What a test waits for has time limits of its own.
    testTimeout: 300_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'core',
          globalSetup,
          include: ['test/**/*.test.ts'],
          exclude: [ENVIRONMENTS, DEPLOY, IMAGE],
        },
      },
      // Servers, proxies and topologies of many kinds: minutes, and packages that `npm test` does without.
      { extends: true, test: { name: 'environments', globalSetup, include: [ENVIRONMENTS] } },
      // What deploy/ ships, with the tools that read it: Helm, promtool and the types of Kubernetes.
      { extends: true, test: { name: 'deploy', globalSetup, include: [DEPLOY] } },
      // Containers of the image, with servers of their own.
      {
        extends: true,
        test: { name: 'image', globalSetup: ['test/image/setup.ts'], include: [IMAGE] },
      },
    ],
  },
});
