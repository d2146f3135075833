/** 从工单起草: nothing of the case is shown, what may identify somebody is told in the curator's own text, and changing it asks again. */
import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createMemoryHistory, createRouter } from 'vue-router'
import FromCase from './FromCase.vue'

vi.setConfig({ testTimeout: 60_000 })
const FOUND = [{ field: 'short', item: 0, start: 2, end: 4, what: '姓名', certain: false }]
let asked: { path: string; body: Record<string, unknown> }[] = []

function answer(path: string): unknown {
  if (path === '/api/knowledge/cases') return { items: [{ number: '20261123-0001', category: 'legal.labour', closed_at: '2026-11-23T01:00:00Z' }], more: false }
  if (path.endsWith('/check')) return FOUND
  if (path.endsWith('/draft')) return { entry: 'labour.question', number: 1, version: 1 }
  return { items: [], total: 0, counts: {}, to_check: 0, more: false }
}

beforeEach(() => {
  asked = []
  setActivePinia(createPinia())
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    asked.push({ path, body: init.body ? JSON.parse(String(init.body)) : {} })
    return new Response(JSON.stringify(answer(path)), { status: 200 })
  })
})
afterEach(() => void vi.unstubAllGlobals())

test('the text is checked against the person, and a decision holds only for the text it was made on', async () => {
  const router = createRouter({ history: createMemoryHistory(), routes: [{ path: '/:rest(.*)*', component: FromCase }] })
  await router.push('/from-case')
  const shown = mount(FromCase, { attachTo: document.body, global: { plugins: [router] } })
  await flushPromises()
  await shown.find('.left li button').trigger('click')
  await flushPromises()
  expect((shown.find('#case-id').element as HTMLInputElement).value).toBe('labour.question')
  await shown.find('#case-title').setValue('押金怎么要回来')
  await shown.find('#case-short').setValue('可以小满一样先写信要')
  await shown.findAll('button').find((one) => one.text() === '查能认出本人的内容')!.trigger('click')
  await flushPromises()
  expect(shown.find('.places mark').text()).toBe('小满')
  await shown.find('input[type="checkbox"]').setValue(true)
  await shown.find('#case-short').setValue('可以先写信要回来')
  expect(shown.find('.places').exists()).toBe(false)
  await shown.find('form').trigger('submit')
  await flushPromises()
  expect(asked.at(-1)).toMatchObject({ path: '/api/knowledge/cases/20261123-0001/draft', body: { entry: 'labour.question', version: 0, sure: false, fields: { category: 'legal.labour' } } })
  expect(router.currentRoute.value.path).toBe('/knowledge/labour.question')
  shown.unmount()
})
