// By themselves: a command that only names the queues needn't load what runs them.

/** The queue's name in BullMQ; its Redis keys start with `<QUEUE_PREFIX>:refresh:`. */
export const REFRESH_QUEUE = 'refresh';

/** The queue's name in BullMQ; its Redis keys start with `<QUEUE_PREFIX>:backlog:`. */
export const BACKLOG_QUEUE = 'backlog';
