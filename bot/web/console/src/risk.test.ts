import { mount } from '@vue/test-utils'
import { expect, test } from 'vitest'
import type { Risk } from './api/types'
import RiskMark from './parts/RiskMark.vue'
import { RISKS, mark, riskRank } from './risk'

test('every level has a colour and a shape of its own, so that colour is never alone', () => {
  expect(new Set(RISKS.map((risk) => mark(risk).colour)).size).toBe(5)
  expect(RISKS.map((risk) => mark(risk).shape)).toEqual(['circle', 'square', 'triangle', 'diamond', 'octagon'])
  expect(new Set(RISKS.map((risk) => mark(risk).path)).size).toBe(5)
})

test('a level this page does not know counts as the gravest', () => {
  const unknown = 'extreme' as Risk
  expect(riskRank(unknown)).toBe(riskRank('critical'))
  expect(mark(unknown).shape).toBe('octagon')
})

test.each(RISKS)('%s is named in words, also for a screen reader', (risk) => {
  const name = { none: '无', low: '低', medium: '中', high: '高', critical: '紧急' }[risk]
  const shown = mount(RiskMark, { props: { risk } })
  expect(shown.text()).toContain(name)
  expect(mount(RiskMark, { props: { risk, bare: true } }).find('svg').attributes('aria-label')).toBe(`风险${name}`)
})

test('only critical may blink', () => {
  for (const risk of RISKS)
    expect(mount(RiskMark, { props: { risk, blink: true } }).classes('blink')).toBe(risk === 'critical')
})
