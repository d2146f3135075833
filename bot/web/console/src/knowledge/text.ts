/** The text of an entry while somebody writes it: pure functions. */
import type { EntryText, Finding, Source } from '../api/knowledge'

export const SHORT_LIMIT = 300
export const FEWEST_ASKS = 5

export const emptyText = (): EntryText => ({
  title: '', asks: [], short: '', long: '', category: '', audience: ['anyone'], region: '', sources: [], checked_on: null, review_by: null,
  brings_human: false,
})

export const copyOf = (text: EntryText): EntryText => ({
  ...text,
  asks: [...text.asks],
  audience: [...text.audience],
  sources: text.sources.map((source) => ({ ...source })),
})

/** As it is kept: no empty wording, no empty source, no blanks around. Two texts are the same when these are. */
export function tidy(text: EntryText): EntryText {
  const trimmed = (source: Source): Source => ({
    law: source.law.trim(), article: source.article.trim(), version: source.version || null, body: source.body.trim(),
  })
  return {
    ...text,
    title: text.title.trim(),
    asks: text.asks.map((ask) => ask.trim()).filter(Boolean),
    short: text.short.trim(),
    long: text.long.trim(),
    audience: [...text.audience],
    region: text.region.trim(),
    sources: text.sources.map(trimmed).filter((source) => source.law || source.article || source.body || source.version),
    checked_on: text.checked_on || null,
    review_by: text.review_by || null,
  }
}

export const same = (one: EntryText, other: EntryText): boolean => JSON.stringify(tidy(one)) === JSON.stringify(tidy(other))

/** Characters as the server counts them: code points, not UTF-16 units. */
export const length = (text: string): number => Array.from(text).length

/** The field that a finding is about, without the item: sources for sources.0.article. */
export const fieldOf = (finding: Finding): string => finding.field.split('.')[0]!

/** Where in the field, for people: 第 3 个. A finding counts from 0. */
export function itemOf(finding: Finding): string {
  const item = finding.field.split('.')[1]
  return item !== undefined && /^\d+$/.test(item) ? `第 ${Number(item) + 1} 个：` : ''
}

export const ENTRY_ID = /^[a-z]+(?:_[a-z]+)*\.[a-z0-9]+(?:-[a-z0-9]+)*$/

/** A name for an entry of this category that none of `taken` has: labour.unpaid-wages-2 for legal.labour.unpaid_wages. */
export function suggestId(category: string, taken: ReadonlySet<string>): string {
  const [area = 'other', group, leaf] = category.split('.')
  const room = group ?? area
  const stem = `${room}.${(leaf ?? 'question').replaceAll('_', '-')}`
  if (!taken.has(stem)) return stem
  let number = 2
  while (taken.has(`${stem}-${number}`)) number++
  return `${stem}-${number}`
}

/** A day some months later, for review dates. */
export function monthsLater(day: string, months: number): string {
  const [year, month, date] = day.split('-').map(Number) as [number, number, number]
  const last = new Date(Date.UTC(year, month - 1 + months + 1, 0)).getUTCDate()
  return new Date(Date.UTC(year, month - 1 + months, Math.min(date, last))).toISOString().slice(0, 10)
}

/** This day where the desk is, as its computers show it. */
export function today(at: number): string {
  const now = new Date(at)
  return new Date(at - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 10)
}
