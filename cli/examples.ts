import type { Command } from 'commander';

/** Command lines for people to copy, by command; the empty name is `tally` itself. */
const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  '': [
    'tally start                                # everything on this machine, with a demonstration',
    'tally doctor                               # is there anything to change in Redis or Postgres?',
    'tally status                               # what waits, and how many workers there are',
    'tally enqueue 42:REPLICATION               # refresh one execution now',
    "tally retry --error 'statement timeout'    # try again what failed with this error",
  ],
  start: [
    'tally start --workers 4 --executions 100000',
    'tally start --once                         # for scripts: drain the demonstration and exit',
  ],
  worker: [
    'DATABASE_URL=postgres://tally:secret@db/registry REDIS_URL=redis://redis tally worker',
    'WORKER_PORT=3002 tally worker              # health and metrics on a fixed port',
  ],
  producer: [
    'DATABASE_URL=postgres://tally:secret@db/registry REDIS_URL=redis://redis tally producer',
  ],
  dashboard: ['DASHBOARD_PORT=8080 BASE_PATH=/tally tally dashboard'],
  migrate: [
    'tally migrate                              # before the first start and after every upgrade',
    'tally migrate --uninstall                  # once the outbox is empty',
  ],
  capture: [
    'tally capture enable                       # record every change of a task from now on',
    'tally capture status                       # enabled, disabled or incomplete',
  ],
  enqueue: [
    'tally enqueue 42:REPLICATION 43:GARBAGE_COLLECTION',
    'tally enqueue - < identities.txt           # one a line',
  ],
  status: ['tally status --json'],
  doctor: ['tally doctor --json'],
  failed: ['tally failed --json'],
  retry: [
    "tally retry --error 'statement timeout' --dry-run",
    'tally retry --execution 42',
    'tally retry --vendor REPLICATION',
  ],
  reconcile: ['tally reconcile --dry-run --all'],
  harbor: [
    'HARBOR_REDIS_URL=redis://harbor-redis tally harbor import',
    'tally harbor export --format keys          # before going back to Harbor 2.8 to 2.15',
  ],
  complete: [
    'tally complete bash > ~/.tally.bash        # and in ~/.bashrc: . ~/.tally.bash',
    'tally complete zsh > ~/.tally.zsh          # and in ~/.zshrc, after compinit: . ~/.tally.zsh',
    'tally complete fish > ~/.config/fish/completions/tally.fish',
  ],
};

/**
 * Adds examples to the help of `tally` and of each of its commands that has some. Those of a command
 * with commands of its own are theirs, too.
 */
export function addExamples(program: Command): void {
  for (const command of [program, ...program.commands]) {
    const examples = EXAMPLES[command === program ? '' : command.name()];
    if (examples === undefined) continue;
    command.addHelpText(
      command === program ? 'after' : 'afterAll',
      ['', 'Examples:', ...examples.map((line) => `  ${line}`)].join('\n'),
    );
  }
}
