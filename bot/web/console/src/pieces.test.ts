import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { categoryName } from './categories'
import { moment } from './clock'
import { coalesce } from './coalesce'
import { diff, placeholders } from './diff'
import { command } from './keys'
import { message } from './fixtures'
import { byIdOrder, merge } from './stores/bench'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('a thread holds each message once, the fresh copy wins, in the order of long ids', () => {
  const before = [message({ id: '99', text: '旧' }), message({ id: '700000000000000001', text: '后' })]
  const fresh = [message({ id: '100', text: '新' }), message({ id: '99', text: '改' })]
  expect(merge(before, fresh).map((m) => m.text)).toEqual(['改', '新', '后'])
  expect(byIdOrder('700000000000000001', '700000000000000002')).toBeLessThan(0)
})

test('much news, few fetches: at once, then no more often than the gap, and always once after the last', async () => {
  let runs = 0
  const ask = coalesce(async () => void (runs += 1), 400)
  for (let i = 0; i < 50; i++) ask()
  await vi.advanceTimersByTimeAsync(0)
  expect(runs).toBe(1)
  await vi.advanceTimersByTimeAsync(400)
  expect(runs).toBe(2)
  await vi.advanceTimersByTimeAsync(5_000)
  expect(runs).toBe(2)
})

test('a fetch that fails does not stop the next', async () => {
  let runs = 0
  const ask = coalesce(() => ((runs += 1), Promise.reject(new Error('lost'))), 10)
  ask()
  await vi.advanceTimersByTimeAsync(20)
  ask()
  await vi.advanceTimersByTimeAsync(20)
  expect(runs).toBe(2)
})

test('the difference of two texts can be put together to either of them', () => {
  const before = '请先到有人的地方。现在就可以打 {police}。'
  const after = '请先离开边缘，到有人的地方去。可以打 {police}。'
  const parts = diff(before, after)
  expect(parts.filter((p) => p.kind !== 'new').map((p) => p.text).join('')).toBe(before)
  expect(parts.filter((p) => p.kind !== 'gone').map((p) => p.text).join('')).toBe(after)
  expect(diff('一样', '一样')).toEqual([{ kind: 'same', text: '一样' }])
  expect(diff('', '新')).toEqual([{ kind: 'new', text: '新' }])
})

test('placeholders that do not exist or are left out are named', () => {
  expect(placeholders('打 {police} 或 {polic}', ['police', 'desk'])).toEqual({ unknown: ['polic'], missing: ['desk'] })
})

test('a category is named by its path, an unknown one by its code', () => {
  const tree = [{ code: 'legal', name: '法律', children: [{ code: 'legal.labour', name: '劳动' }] }]
  expect(categoryName(tree, 'legal.labour')).toBe('法律 / 劳动')
  expect(categoryName(tree, 'legal')).toBe('法律')
  expect(categoryName(tree, 'legal.labour.new')).toBe('legal.labour.new')
  expect(categoryName(tree, '')).toBe('')
})

test('letters are commands only outside of text fields and without Ctrl', () => {
  const press = (target: HTMLElement, init: KeyboardEventInit): string | null => {
    const event = new KeyboardEvent('keydown', init)
    Object.defineProperty(event, 'target', { value: target })
    return command(event)
  }
  expect(press(document.body, { key: 'c' })).toBe('c')
  expect(press(document.createElement('textarea'), { key: 'c' })).toBeNull()
  expect(press(document.body, { key: 'c', ctrlKey: true })).toBeNull()
  expect(press(document.createElement('button'), { key: 'Enter' })).toBeNull()
})

test('a moment is told by the day it lies on', () => {
  const now = new Date(2026, 10, 23, 14, 5).getTime()
  const at = (month: number, day: number, year = 2026): string => new Date(year, month - 1, day, 9, 7).toISOString()
  expect([at(11, 23), at(11, 22), at(11, 20), at(11, 20, 2025)].map((t) => moment(t, now))).toEqual(['09:07', '昨天 09:07', '11-20 09:07', '2025-11-20 09:07'])
})
