/**
 * Marking the words that raised the risk.
 *
 * Offsets count UTF-16 units, as this language does (the API converts). Spans may overlap or touch: pieces are cut at
 * every border, and each carries all the reasons that cover it. An offset inside an emoji is moved outwards, so that
 * no character is ever cut in two.
 */
import type { Span } from './api/types'

export interface Piece {
  text: string
  /** Empty: these words raised nothing. */
  reasons: string[]
}

const insidePair = (text: string, at: number): boolean =>
  at > 0 && at < text.length && /[\uD800-\uDBFF]/.test(text[at - 1]!) && /[\uDC00-\uDFFF]/.test(text[at]!)

export function pieces(text: string, spans: readonly Span[]): Piece[] {
  const good = spans
    .map((span) => {
      const start = Math.max(0, span.start)
      const end = Math.min(text.length, span.end)
      return {
        start: insidePair(text, start) ? start - 1 : start,
        end: insidePair(text, end) ? end + 1 : end,
        reason: span.reason,
      }
    })
    .filter((span) => span.start < span.end)
  const borders = new Set([0, text.length])
  for (const span of good) borders.add(span.start).add(span.end)
  const cuts = [...borders].sort((a, b) => a - b)
  const result: Piece[] = []
  for (let i = 0; i + 1 < cuts.length; i++) {
    const [from, to] = [cuts[i]!, cuts[i + 1]!]
    const reasons = [...new Set(good.filter((s) => s.start <= from && to <= s.end).map((s) => s.reason))]
    result.push({ text: text.slice(from, to), reasons })
  }
  return result
}
