// In a file of their own, so that a command that only names the queues doesn't load BullMQ.

/** Name of the express lane's queue. Its Redis keys start with `<QUEUE_PREFIX>:refresh:`. */
export const REFRESH_QUEUE = 'refresh';

/** Name of the backlog lane's queue. Its Redis keys start with `<QUEUE_PREFIX>:backlog:`. */
export const BACKLOG_QUEUE = 'backlog';
