/**
 * A clock in a worker. Browsers slow the timers of a hidden tab to one a minute, and a counsellor's screen that is not
 * heard of for 60 seconds counts as gone: only a worker's timer keeps its pace.
 */
setInterval(() => postMessage(null), 1_000)
