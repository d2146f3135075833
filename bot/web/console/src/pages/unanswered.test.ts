/** 未回答: words only on opening, a group becomes a draft of the curator's wordings, and what may identify somebody is shown first. */
import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createMemoryHistory, createRouter } from 'vue-router'
import { useSession } from '../stores/session'
import Unanswered from './Unanswered.vue'

vi.setConfig({ testTimeout: 60_000 })
const GROUP = {
  id: '70', items: ['70', '71', '72'], count: 3, reasons: { nothing: 2, human: 1 }, first_at: '2026-11-20T01:00:00Z', last_at: '2026-11-22T01:00:00Z',
  category: 'legal.labour.unpaid_wages', not_helped_by: [], text: '工作服要自己买吗',
}
const PAGE = {
  groups: [GROUP], total: 1, counts: { open: 3, taken: 0, dismissed: 0, gone: 0 }, looked_through: 3, reasons: [{ code: 'nothing', name: '没有条目能答' }, { code: 'human', name: '咨询员自己回答' }],
  dismissals: [{ code: 'not_ours', name: '不属于服务范围' }], placeholders: ['姓名'], more: false,
}
const example = (id: string, text: string) => ({ id, at: '2026-11-20T01:00:00Z', reasons: ['nothing'], text, reply: null, not_helped_by: null })
const WHOLE = {
  ...GROUP, examples: [example('70', '工作服要自己买吗'), example('71', '［姓名］让我自己买工服'), example('72', '工作服要自己买吗')],
  near: [{ entry: 'labour.deposit', title: '押金', score: 0.4 }],
}
const FOUND = [{ field: 'asks', item: 0, start: 0, end: 3, what: '原话', certain: false }]
let asked: { path: string; body: Record<string, unknown> }[] = []
let identifying = false

function answer(path: string): [number, unknown] {
  if (path.startsWith('/api/unanswered/draft') && identifying) return [409, { error: 'identifying', message: '可能认出本人', found: FOUND }]
  if (path.startsWith('/api/unanswered/draft') || path.startsWith('/api/unanswered/attach')) return [200, { entry: 'labour.unpaid-wages-2', number: 1, version: 1 }]
  if (path.startsWith('/api/unanswered/70')) return [200, WHOLE]
  if (path.startsWith('/api/unanswered')) return [200, PAGE]
  if (path.startsWith('/api/knowledge/search')) return [200, { items: [{ id: 'labour.unpaid-wages' }], total: 1, counts: {}, to_check: 0, more: false }]
  return [200, { id: 'labour.deposit', version: 4 }]
}

beforeEach(() => {
  asked = []
  identifying = false
  setActivePinia(createPinia())
  useSession().me = { id: '1', login: 'k', name: '孔', role: 'curator', must_change_password: false, csrf_token: '', on_duty: false, permissions: ['entries.desk', 'entries.edit'], demonstration: false }
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    asked.push({ path, body: init.body ? JSON.parse(String(init.body)) : {} })
    const [status, body] = answer(path)
    return new Response(JSON.stringify(body), { status })
  })
})
afterEach(() => {
  document.body.innerHTML = ''
  vi.unstubAllGlobals()
})

async function page() {
  const router = createRouter({ history: createMemoryHistory(), routes: [{ path: '/:rest(.*)*', component: Unanswered }] })
  await router.push('/unanswered')
  const shown = mount(Unanswered, { attachTo: document.body, global: { plugins: [router] } })
  await flushPromises()
  await shown.find('.left li button').trigger('click')
  await flushPromises()
  return { shown, router }
}
type Shown = Awaited<ReturnType<typeof page>>['shown']
const button = (shown: Shown, words: string) => shown.findAll('button').find((b) => b.text() === words)!
const sent = (end: string) => asked.filter((one) => one.path.endsWith(end))

test('a group shows its count and masked words; what is masked is left to be written anew', async () => {
  const { shown } = await page()
  expect(shown.find('.left').text()).toContain('3 次')
  expect(shown.findAll('.examples mark').map((mark) => mark.text())).toEqual(['［姓名］'])
  expect((shown.find('#wordings').element as HTMLTextAreaElement).value).toBe('工作服要自己买吗')
  shown.unmount()
})

test('one click makes a draft under a name that is free, and opens it', async () => {
  const { shown, router } = await page()
  await button(shown, '起草新条目').trigger('click')
  await flushPromises()
  expect(sent('/draft')[0]!.body).toMatchObject({
    items: ['70', '71', '72'], entry: 'labour.unpaid-wages-2', version: 0, sure: false, fields: { asks: ['工作服要自己买吗'], category: GROUP.category },
  })
  expect(router.currentRoute.value.path).toBe('/knowledge/labour.unpaid-wages-2')
  shown.unmount()
})

test('what may identify somebody is shown in place, and only a person says that it may stay', async () => {
  identifying = true
  const { shown, router } = await page()
  await button(shown, '起草新条目').trigger('click')
  await flushPromises()
  expect(router.currentRoute.value.path).toBe('/unanswered')
  expect(shown.find('.places').text()).toContain('第 1 行：工作服 原话')
  identifying = false
  await shown.find('.places input[type="checkbox"]').setValue(true)
  await button(shown, '起草新条目').trigger('click')
  await flushPromises()
  expect(sent('/draft').at(-1)!.body.sure).toBe(true)
  shown.unmount()
})

test('a group is attached to an entry at the version that entry has', async () => {
  const { shown } = await page()
  await shown.find('button[aria-label="加到 押金"]').trigger('click')
  await flushPromises()
  expect(sent('/attach')[0]!.body).toEqual({ items: ['70', '71', '72'], entry: 'labour.deposit', version: 4, wordings: ['工作服要自己买吗'], sure: false })
  shown.unmount()
})
