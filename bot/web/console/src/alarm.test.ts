import { expect, test } from 'vitest'
import { type Shown, alertLine, alertOrder, concerns, policy, remember, title } from './alarm'
import type { AlertEvent } from './api/types'
import { alert } from './fixtures'

const off = { id: '11', on_duty: false }
const on = { id: '11', on_duty: true }
const nobody: ReadonlySet<string> = new Set()
const rung = (staff: string): AlertEvent => ({
  at: '2026-11-23T06:00:00Z', what: 'rung', rung: 0, staff: { id: staff, name: '某' }, means: 'screen', detail: null,
})

test('only critical sounds and blinks; every other level is silent', () => {
  for (const level of ['none', 'low', 'medium', 'high'] as const)
    expect(policy([alert({ level })], on, nobody, new Map())).toMatchObject({ sound: false, blink: false })
  expect(policy([alert()], on, nobody, new Map())).toMatchObject({ sound: true, blink: true, ringing: 1 })
})

test('it sounds until acknowledged, and again when the pause is over', () => {
  expect(policy([alert({ state: 'paused' })], on, nobody, new Map()).sound).toBe(false)
  expect(policy([alert({ state: 'ringing' })], on, nobody, new Map()).sound).toBe(true)
  expect(policy([alert({ state: 'ended' })], on, nobody, new Map()).sound).toBe(false)
})

test('an alert is for whoever is on duty, is rung by name, or has the conversation', () => {
  const forOther = alert({ events: [rung('12')] })
  expect(concerns(forOther, off, nobody)).toBe(false)
  expect(concerns(forOther, on, nobody)).toBe(true)
  expect(concerns(forOther, off, new Set(['1']))).toBe(true)
  expect(concerns(alert({ events: [rung('12'), rung('11')] }), off, nobody)).toBe(true)
})

test('when nobody is named, everybody hears it', () => {
  expect(policy([alert({ events: [] })], off, nobody, new Map()).sound).toBe(true)
})

test('the desktop shows an alert once, and again when it rises, climbs, or rings after a pause', () => {
  const shown: Shown = new Map()
  const shows = (...alerts: ReturnType<typeof alert>[]): number => {
    const count = policy(alerts, on, nobody, shown).notify.length
    remember(alerts, shown)
    return count
  }
  expect(shows(alert({ level: 'high' }))).toBe(1)
  expect(shows(alert({ level: 'high' }))).toBe(0)
  expect(shows(alert({ level: 'critical' }))).toBe(1)
  expect(shows(alert({ level: 'critical', rung: 1 }))).toBe(1)
  expect(shows(alert({ level: 'critical', rung: 1, state: 'paused' }))).toBe(0)
  expect(shows(alert({ level: 'critical', rung: 1 }))).toBe(1)
})

test('ringing comes before paused, then the graver, then the older', () => {
  const list = [
    alert({ id: 'paused', state: 'paused' }),
    alert({ id: 'high', level: 'high' }),
    alert({ id: 'young', started_at: '2026-11-23T06:05:00Z' }),
    alert({ id: 'old' }),
  ]
  expect(list.sort(alertOrder).map((a) => a.id)).toEqual(['old', 'young', 'high', 'paused'])
})

test('the title counts alerts before waiting conversations', () => {
  expect(title('工作台', 0, 0, false)).toBe('工作台')
  expect(title('工作台', 0, 3, false)).toBe('(3) 工作台')
  expect(title('工作台', 2, 3, false)).toBe('(!2) 工作台')
  expect(title('工作台', 2, 3, true)).toBe('紧急 2 · 工作台')
})

test('the line says who is rung now and what comes next', () => {
  const now = Date.parse('2026-11-23T06:00:30Z')
  expect(alertLine(alert(), now, true)).toBe('正在呼叫值班咨询员，0:30 后升级到备班咨询员')
  expect(alertLine(alert({ rung: 2 }), now, true)).toBe('正在呼叫督导，0:30 后升级到兜底电话')
  expect(alertLine(alert({ rung: 3 }), now, true)).toBe('正在呼叫兜底电话，0:30 后从头再呼')
  expect(alertLine(alert({ next_at: '2026-11-23T06:00:00Z' }), now, true)).toContain('马上升级')
  expect(alertLine(alert({ state: 'paused', acknowledged_by: { id: '1', name: '周敏' } }), now, true)).toContain('周敏已知悉')
})

test('no line speaks of calling a telephone that is not configured', () => {
  const now = Date.parse('2026-11-23T06:00:30Z')
  expect(alertLine(alert({ rung: 2 }), now, false)).toBe('正在呼叫督导，0:30 后升级到全部工作台')
  expect(alertLine(alert({ rung: 3 }), now, false)).toBe('各级都呼过了，没有配置兜底电话，0:30 后从头再呼')
})
