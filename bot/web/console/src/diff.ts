/** What changed between two short texts, character by character (longest common subsequence; templates are under 4,000 characters). */

export interface Change {
  kind: 'same' | 'gone' | 'new'
  text: string
}

export function diff(before: string, after: string): Change[] {
  const a = Array.from(before)
  const b = Array.from(after)
  // What both begin and end with needs no table.
  let head = 0
  while (head < a.length && head < b.length && a[head] === b[head]) head++
  let tail = 0
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++
  const [x, y] = [a.slice(head, a.length - tail), b.slice(head, b.length - tail)]

  const width = y.length + 1
  const table = new Uint16Array((x.length + 1) * width)
  for (let i = x.length - 1; i >= 0; i--)
    for (let j = y.length - 1; j >= 0; j--)
      table[i * width + j] =
        x[i] === y[j]
          ? table[(i + 1) * width + j + 1]! + 1
          : Math.max(table[(i + 1) * width + j]!, table[i * width + j + 1]!)

  const result: Change[] = []
  const add = (kind: Change['kind'], text: string): void => {
    const last = result.at(-1)
    if (!text) return
    if (last?.kind === kind) last.text += text
    else result.push({ kind, text })
  }
  add('same', a.slice(0, head).join(''))
  let [i, j] = [0, 0]
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      add('same', x[i]!)
      i++
      j++
    } else if (j >= y.length || (i < x.length && table[(i + 1) * width + j]! >= table[i * width + j + 1]!)) add('gone', x[i++]!)
    else add('new', y[j++]!)
  }
  add('same', a.slice(a.length - tail).join(''))
  return result
}

/** The {placeholders} that a text uses but may not, and those it leaves out. */
export function placeholders(text: string, allowed: readonly string[]): { unknown: string[]; missing: string[] } {
  const used = new Set([...text.matchAll(/\{([^{}]*)\}/g)].map((match) => match[1]!))
  return { unknown: [...used].filter((name) => !allowed.includes(name)), missing: allowed.filter((name) => !used.has(name)) }
}
