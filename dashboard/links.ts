/** Where everything on the dashboard is found: the paths of its links, forms and redirects. */
export interface Links {
  readonly overview: string;
  readonly styleSheet: string;
  /** The script that keeps a page up to date. */
  readonly script: string;
  /** The scripts that draw charts, in their order. */
  readonly chartScripts: readonly string[];
  readonly logo: string;
  readonly executions: string;
  /** The executions that failed. */
  readonly failedExecutions: string;
  /** Page of one execution. */
  readonly execution: (executionId: number | string) => string;
  /** Where the form of "Refresh now" is sent. */
  readonly refreshExecution: (executionId: number) => string;
  /** What refreshing a selection of executions asks before it does, and where its form is sent. */
  readonly refreshSelected: string;
  /** Page of all failures. */
  readonly allFailures: string;
  /** Where the form that retries them all is sent. */
  readonly retryAllFailures: string;
  /** Page of the failures of one cause, by `causeId`. */
  readonly failures: (causeId: string) => string;
  /** Where the form that retries them is sent. */
  readonly retryFailures: (causeId: string) => string;
  /** Page of what is stuck. */
  readonly stuck: string;
  /** Where the form that refreshes all of it is sent. */
  readonly refreshStuck: string;
  /** Root of Bull Board. */
  readonly board: string;
  /** The jobs of the queue `refresh` on the board. */
  readonly jobs: (state?: 'waiting' | 'active' | 'delayed' | 'failed') => string;
  /** One job of the queue `refresh` on the board. */
  readonly job: (jobId: string) => string;
  /** The jobs of the queue `backlog` on the board. */
  readonly backlog: string;
}

/** Path of Bull Board below BASE_PATH; its own routes follow. */
export const BOARD_PATH = '/board';

/** The links of a dashboard whose root is at `basePath`, which is empty or begins with a slash. */
export function linksBelow(basePath: string): Links {
  const board = `${basePath}${BOARD_PATH}`;
  const execution = (id: number | string): string => `${basePath}/executions/${id}`;
  const allFailures = `${basePath}/failures`;
  const failures = (causeId: string): string => `${allFailures}/${causeId}`;
  const stuck = `${basePath}/stuck`;
  return {
    overview: `${basePath}/`,
    styleSheet: `${basePath}/tally.css`,
    script: `${basePath}/scripts/live.js`,
    chartScripts: ['uplot.js', 'charts.js'].map((file) => `${basePath}/scripts/${file}`),
    logo: `${basePath}/tally.svg`,
    executions: `${basePath}/executions`,
    failedExecutions: `${basePath}/executions?state=failed`,
    execution,
    refreshExecution: (id) => `${execution(id)}/refresh`,
    refreshSelected: `${basePath}/executions/refresh`,
    allFailures,
    retryAllFailures: `${allFailures}/retry`,
    failures,
    retryFailures: (causeId) => `${failures(causeId)}/retry`,
    stuck,
    refreshStuck: `${stuck}/refresh`,
    board,
    jobs: (state) => `${board}/queue/refresh${state === undefined ? '' : `?status=${state}`}`,
    job: (jobId) => `${board}/queue/refresh/${encodeURIComponent(jobId)}`,
    backlog: `${board}/queue/backlog`,
  };
}
