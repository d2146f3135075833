/** The text of an entry while it is written: what counts as the same, where a finding belongs, names and days. */
import { expect, test } from 'vitest'
import type { Finding } from '../api/knowledge'
import { ENTRY_ID, copyOf, emptyText, fieldOf, itemOf, length, monthsLater, same, suggestId, tidy } from './text'

const SOURCE = { law: '劳动法', article: '第五十条', version: '2018-12-29', body: '' }

test('empty lines and rows are not kept, and are no change', () => {
  const text = { ...emptyText(), asks: ['老板不发工资', ' ', ''], sources: [SOURCE, { law: '', article: '', version: null, body: ' ' }] }
  expect(tidy(text).asks).toEqual(['老板不发工资'])
  expect(tidy(text).sources).toEqual([SOURCE])
  expect(same(text, { ...text, asks: ['老板不发工资'], sources: [SOURCE] })).toBe(true)
  expect(same(text, { ...text, asks: ['老板不给钱'] })).toBe(false)
})

test('a copy shares nothing with what it was made of', () => {
  const text = { ...emptyText(), sources: [{ ...SOURCE }] }
  const copy = copyOf(text)
  copy.sources[0]!.article = '第一条'
  copy.asks.push('x')
  expect(text.sources[0]!.article).toBe('第五十条')
  expect(text.asks).toEqual([])
})

test('characters are counted as the server counts them', () => {
  expect(length('𠮷一😞')).toBe(3)
})

test('a finding names its field, and the place in it counted from one', () => {
  const finding: Finding = { level: 'stop', code: 'invalid', field: 'asks.2', detail: '', message: '' }
  expect([fieldOf(finding), itemOf(finding)]).toEqual(['asks', '第 3 个：'])
  expect(itemOf({ ...finding, field: 'sources' })).toBe('')
})

test('a suggested name comes from the category, is an id, and is free', () => {
  expect(suggestId('legal.labour.unpaid_wages', new Set())).toBe('labour.unpaid-wages')
  expect(suggestId('legal.labour.unpaid_wages', new Set(['labour.unpaid-wages', 'labour.unpaid-wages-2']))).toBe('labour.unpaid-wages-3')
  for (const category of ['other', 'psychological.exam', 'legal.net_harm.leaked_photos']) expect(suggestId(category, new Set())).toMatch(ENTRY_ID)
})

test('months later stays in the month', () => {
  expect(monthsLater('2026-11-23', 12)).toBe('2027-11-23')
  expect(monthsLater('2026-08-31', 6)).toBe('2027-02-28')
})
