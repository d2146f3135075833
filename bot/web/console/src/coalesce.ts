/** Many reasons to do a thing, few doings: one at a time, at least `gapMs` between starts, and always once more after the last. */
export function coalesce(work: () => Promise<void>, gapMs: number): () => void {
  let running = false
  let wanted = false
  let startedAt = -Infinity
  let timer: ReturnType<typeof setTimeout> | null = null

  async function go(): Promise<void> {
    timer = null
    running = true
    wanted = false
    startedAt = Date.now()
    // What went wrong is the work's own to tell; the next doing must come all the same.
    await work().catch(() => {})
    running = false
    if (wanted) ask()
  }

  function ask(): void {
    if (running || timer) {
      wanted = true
      return
    }
    const wait = startedAt + gapMs - Date.now()
    if (wait <= 0) void go()
    else timer = setTimeout(() => void go(), wait)
  }

  return ask
}
