import { expect, test } from 'vitest'
import { deadline, left, mineOrder, nextDue, queueOrder, span } from './queue'
import { alert, card } from './fixtures'

const ids = (cards: ReturnType<typeof card>[]): string[] => [...cards].sort(queueOrder).map((c) => c.id)

test('graver goes first, then whoever waits longest', () => {
  const at = (minute: number): string => `2026-11-23T06:0${minute}:00Z`
  expect(
    ids([
      card({ id: '1', risk: 'low', waiting_since: at(0) }),
      card({ id: '2', risk: 'critical', waiting_since: at(5) }),
      card({ id: '3', risk: 'high', waiting_since: at(4) }),
      card({ id: '4', risk: 'high', waiting_since: at(2) }),
      card({ id: '5', risk: 'none', waiting_since: at(1) }),
    ]),
  ).toEqual(['2', '4', '3', '1', '5'])
})

test('a nuisance mark lowers the place behind everybody, but never that of a critical one', () => {
  expect(
    ids([
      card({ id: '1', risk: 'high', nuisance: true }),
      card({ id: '2', risk: 'none' }),
      card({ id: '3', risk: 'critical', nuisance: true, waiting_since: '2026-11-23T06:05:00Z' }),
      card({ id: '4', risk: 'critical', waiting_since: '2026-11-23T06:09:00Z' }),
    ]),
  ).toEqual(['3', '4', '2', '1'])
})

test('a reply is due when the server says so, whatever the risk', () => {
  expect(deadline(card({ risk: 'critical', deadline_at: '2026-11-23T06:07:00Z' }))).toBe(Date.parse('2026-11-23T06:07:00Z'))
  expect(deadline(card({ state: 'human', risk: 'critical' }))).toBeNull()
})

test('my conversations: the nearest deadline first, then those where nobody waits', () => {
  const list = [
    card({ id: 'idle', state: 'human', waiting_since: null }),
    card({ id: 'late', state: 'human', deadline_at: '2026-11-23T06:30:00Z' }),
    card({ id: 'soon', state: 'human', deadline_at: '2026-11-23T06:05:00Z' }),
    card({ id: 'offered', state: 'human', waiting_since: null, transfer_offered_to_me: '5' }),
  ]
  expect(list.sort(mineOrder).map((c) => c.id)).toEqual(['offered', 'soon', 'late', 'idle'])
})

test('the next deadline is the earliest of my replies and of the alerts that go on', () => {
  const mine = [card({ id: '7', state: 'human', risk: 'high', deadline_at: '2026-11-23T06:05:00Z' })]
  expect(nextDue(mine, [alert()])).toMatchObject({ what: 'alert', conversation_id: '1' })
  expect(nextDue(mine, [alert({ state: 'ended' })])).toMatchObject({ what: 'reply', conversation_id: '7' })
  expect(nextDue([], [])).toBeNull()
})

test('times are short and exact', () => {
  expect([span(7_000), span(750_000), span(3_600_000), span(7_500_000), span(200_000_000)]).toEqual(['0:07', '12:30', '1 小时', '2 小时 5 分', '2 天'])
  expect(left(10_000, 4_000)).toBe('0:06')
  expect(left(4_000, 10_000)).toBe('已超 0:06')
})
