/** 法律库: old and new articles stand side by side, and 仍然正确 goes to a second person with the version that was seen. */
import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createMemoryHistory, createRouter } from 'vue-router'
import { useSession } from '../stores/session'
import Laws from './Laws.vue'

vi.setConfig({ testTimeout: 60_000 })
const CARD = {
  id: 'labour.rest', title: '每周休息几天', category: 'legal.labour', state: 'shipped', version: 2, why: ['law_changed'], since: null, review_by: '2027-01-01', laws: ['劳动法'],
  changed: 1, unchanged: 0, in_work: false,
}
const CITED = {
  law: '劳动法', article: '第三十八条', cited: '2018-12-29', newest: '2026-10-01', became: 'changed', old: '每周至少休息一日', new: '每周至少休息二日', now_at: '',
  pieces: [{ kind: 'same', text: '每周至少休息' }, { kind: 'old', text: '一' }, { kind: 'new', text: '二' }, { kind: 'same', text: '日' }],
}
let asked: { path: string; body: Record<string, unknown> }[] = []
let became = 'changed'

function answer(path: string): unknown {
  if (path.startsWith('/api/to-check/changes')) return { ...CARD, short: '每周至少休一天。', long: '', checked_on: '2026-01-01', citations: [{ ...CITED, became }] }
  if (path.startsWith('/api/to-check')) return { items: [CARD] }
  return { laws: [], missing: [{ title: '民法典', entries: 9 }] }
}

beforeEach(() => {
  asked = []
  became = 'changed'
  setActivePinia(createPinia())
  useSession().me = { id: '1', login: 'k', name: '孔', role: 'curator', must_change_password: false, csrf_token: '', on_duty: false, permissions: ['entries.desk', 'entries.edit'], demonstration: false }
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    asked.push({ path, body: init.body ? JSON.parse(String(init.body)) : {} })
    return new Response(JSON.stringify(answer(path)), { status: 200 })
  })
})
afterEach(() => void vi.unstubAllGlobals())

async function page() {
  const router = createRouter({ history: createMemoryHistory(), routes: [{ path: '/:rest(.*)*', component: Laws }] })
  await router.push('/laws')
  const shown = mount(Laws, { attachTo: document.body, global: { plugins: [router] } })
  await flushPromises()
  await shown.find('.left li button').trigger('click')
  await flushPromises()
  return shown
}

test('the changed article stands side by side, what went and what came marked', async () => {
  const shown = await page()
  const [before, after] = shown.findAll('.sides .box')
  expect([before!.text(), after!.text()]).toEqual(['每周至少休息一日', '每周至少休息二日'])
  expect([shown.find('.sides del').text(), shown.find('.sides ins').text()]).toEqual(['一', '二'])
  shown.unmount()
})

test('still right is sent with the version that was seen and the note', async () => {
  const shown = await page()
  await shown.find('#check-note').setValue('只改了次序')
  await shown.findAll('button').find((one) => one.text() === '核对过，仍然正确')!.trigger('click')
  await flushPromises()
  expect(asked.find((one) => one.path.endsWith('/still-right'))!.body).toEqual({ entry: 'labour.rest', version: 2, note: '只改了次序' })
  shown.unmount()
})

test('where the article is gone, nobody can say that it is still right', async () => {
  became = 'gone'
  const shown = await page()
  expect(shown.text()).toContain('另选条文')
  expect(shown.findAll('button').some((one) => one.text() === '核对过，仍然正确')).toBe(false)
  shown.unmount()
})
