/** 复核样本: the list has no words, opening fetches them, danger needs a kind, and what is accepted is what the curator left. */
import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import Review from './Review.vue'

const CARD = {
  id: '700000000000000001', state: 'open', reasons: ['missed', 'risk'], risk_machine: 'low', risk_assessed: 'high', category_machine: '',
  category_closed: null, created_at: '2026-11-23T01:00:00Z', decided_by: null, decided_at: null, reject_why: null, used_at: null,
}
const WORDS = '我叫小满，电话［电话］，东西都分完了'
const LABELS = { topic: 'psychological', risk: 'high', kinds: [], category: 'psychological.crisis', about: 'self' }
const PAGE = { items: [CARD], counts: { open: 1, accepted: 2, rejected: 0 }, rejections: [{ code: 'unclear', name: '看不出谁对' }], placeholders: ['姓名', '电话'], more: false }
vi.setConfig({ testTimeout: 30_000 }) // Element Plus takes its time on a busy machine
let asked: { method: string; path: string; body: Record<string, unknown> | null }[] = []

function answer(path: string): unknown {
  if (path.startsWith('/api/review?') || path === '/api/review') return PAGE
  return { ...CARD, text: WORDS, history: ['没睡'], machine: { ...LABELS, risk: 'low' }, labels: LABELS }
}

beforeEach(() => {
  asked = []
  setActivePinia(createPinia())
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    asked.push({ method: init.method ?? 'GET', path, body: init.body ? JSON.parse(String(init.body)) : null })
    return new Response(JSON.stringify(answer(path)), { status: 200 })
  })
})
afterEach(() => void vi.unstubAllGlobals())

async function page(): Promise<ReturnType<typeof mount>> {
  const mounted = mount(Review, { attachTo: document.body })
  await flushPromises()
  return mounted
}
const button = (shown: ReturnType<typeof mount>, words: string) => shown.findAll('button').find((b) => b.text() === words)!

test('the list shows levels and reasons; words come only when a sample is opened', async () => {
  const shown = await page()
  expect(shown.text()).toContain('咨询员标记漏报；评估的风险不同')
  expect(shown.text()).toContain('待复核 1')
  expect(asked.map((one) => one.path)).toEqual(['/api/review?state=open'])
  expect(shown.text()).not.toContain('东西都分完了')
  await shown.find('li button').trigger('click')
  await flushPromises()
  expect(asked.at(-1)!.path).toBe(`/api/review/${CARD.id}`)
  expect(shown.find('.seen').text()).toBe(WORDS)
  expect(shown.findAll('.seen mark').map((mark) => mark.text())).toEqual(['［电话］'])
  shown.unmount()
})

test('a selection is masked, danger needs a kind, and the corrected sample is sent', async () => {
  const shown = await page()
  await shown.find('li button').trigger('click')
  await flushPromises()
  const area = shown.find<HTMLTextAreaElement>('textarea').element
  area.setSelectionRange(2, 4)
  await button(shown, '姓名').trigger('click')
  await flushPromises()
  expect(shown.find('.seen').text()).toBe('我叫［姓名］，电话［电话］，东西都分完了')
  expect(shown.text()).toContain('还差：危险种类')
  expect(button(shown, '采用').attributes('disabled')).toBeDefined()
  await shown.find('input[type="checkbox"][value="suicide"]').setValue(true)
  await flushPromises()
  await shown.find('form').trigger('submit')
  await flushPromises()
  const sent = asked.find((one) => one.path.endsWith('/accept'))!
  expect(sent.method).toBe('POST')
  expect(sent.body).toEqual({ ...LABELS, kinds: ['suicide'], text: '我叫［姓名］，电话［电话］，东西都分完了', history: ['没睡'] })
  expect(window.localStorage.length + window.sessionStorage.length).toBe(0)
  shown.unmount()
})

test('a sample is rejected only with a reason', async () => {
  const shown = await page()
  await shown.find('li button').trigger('click')
  await flushPromises()
  expect(button(shown, '不采用').attributes('disabled')).toBeDefined()
  await shown.find('select').setValue('unclear')
  await button(shown, '不采用').trigger('click')
  await flushPromises()
  expect(asked.find((one) => one.path.endsWith('/reject'))!.body).toEqual({ why: 'unclear' })
  shown.unmount()
})
