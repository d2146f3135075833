/** 条目: nothing typed is lost, a colleague's version is never overwritten unseen, and nobody approves blind. */
import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createMemoryHistory, createRouter } from 'vue-router'
import type { EntryWhole, Revision } from '../api/knowledge'
import { useBench } from '../stores/bench'
import Entry from './Entry.vue'

vi.setConfig({ testTimeout: 60_000 }) // Element Plus takes its time on a busy machine
const ID = 'labour.unpaid-wages'
const TEXT: EntryWhole['text'] = {
  title: '老板拖欠工资怎么办', asks: ['不发工资怎么办'], short: '可以要求老板马上付清。', long: '', category: 'legal.labour.unpaid_wages', audience: ['worker'],
  region: '', sources: [{ law: '劳动法', article: '第五十条', version: '2018-12-29', body: '' }], checked_on: '2026-11-01', review_by: '2027-11-01', brings_human: false,
}
const revision = (given: Partial<Revision>): Revision => ({
  number: 1, state: 'draft', authors: [{ id: '1', name: '孔' }], note: '', created_at: '2026-11-23T01:00:00Z', submitted_by: null, submitted_at: null, approved_by: null,
  approved_at: null, published_by: null, published_at: null, valid_from: null, valid_until: null, ...given,
})
function entry(given: Partial<EntryWhole> = {}): EntryWhole {
  const newest = given.newest === undefined ? revision({}) : given.newest
  return {
    id: ID, title: TEXT.title, category: TEXT.category, audience: TEXT.audience, region: '', state: 'draft', live: true, shipped: true, changed: true, brings_human: false,
    review_by: TEXT.review_by, to_check: null, version: 3, updated_at: '2026-11-23T01:00:00Z', text: TEXT, live_text: TEXT, live_number: 0, newest,
    history: newest ? [newest] : [], comments: [], may: ['draft', 'submit'], ...given,
  }
}
const REGRESSION = {
  saved: 2, recent: 9, days: 14, better: 0, worse: 1,
  differences: [{ question: '不给钱找谁', saved: '7', expected: ID, verdict: 'worse', before: { outcome: 'answer', entry: ID, title: '拖欠', score: 0.8, choices: [] }, after: { outcome: 'nothing', entry: '', title: '', score: 0.1, choices: [] } }],
}

let known: EntryWhole
let asked: { method: string; path: string; body: Record<string, unknown> }[] = []
let refuse: Record<string, { status: number; body: unknown }> = {}
let regression: (() => void) | null = null

async function answer(path: string): Promise<unknown> {
  if (path.endsWith('/check')) return [{ level: 'stop', code: 'invalid', field: 'asks', detail: '', message: '至少 5 项' }]
  if (path.endsWith('/preview')) return { channels: [{ channel: 'sms', texts: ['【倾听】可以'], buttons: [], characters: 6, segments: 1, encoding: 'ucs2', most_segments: 6 }] }
  if (path.includes('/difference')) return [{ field: 'short', before: ['可以要求付清'], after: ['可以要求老板马上付清'] }]
  if (path.endsWith('/regression')) {
    await new Promise<void>((done) => (regression = done))
    return REGRESSION
  }
  if (path.endsWith('/draft')) known = { ...known, version: known.version + 1, text: asked.at(-1)!.body.fields as EntryWhole['text'] }
  if (path.endsWith('/approve')) known = entry({ state: 'approved', version: known.version + 1, may: ['publish'] })
  return known
}

beforeEach(() => {
  known = entry()
  asked = []
  refuse = {}
  regression = null
  setActivePinia(createPinia())
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    asked.push({ method: init.method ?? 'GET', path, body: init.body ? JSON.parse(String(init.body)) : {} })
    const no = refuse[path]
    if (no) return new Response(JSON.stringify(no.body), { status: no.status })
    return new Response(JSON.stringify(await answer(path)), { status: 200 })
  })
})
afterEach(() => {
  document.body.innerHTML = ''
  vi.unstubAllGlobals()
})

async function page() {
  const router = createRouter({
    history: createMemoryHistory(),
    routes: [
      { path: '/knowledge/:entry', component: Entry },
      { path: '/:rest(.*)*', component: { template: '<p>elsewhere</p>' } },
    ],
  })
  await router.push(`/knowledge/${ID}`)
  const shown = mount({ template: '<router-view />' }, { attachTo: document.body, global: { plugins: [router] } })
  await flushPromises()
  await vi.waitFor(() => expect(shown.find('#f-title').exists()).toBe(true))
  return { shown, router }
}
type Shown = Awaited<ReturnType<typeof page>>['shown']
const button = (shown: Shown, words: string) => shown.findAll('button').find((b) => b.text().startsWith(words))
const sent = (end: string) => asked.filter((one) => one.path.endsWith(end))
const PATH = `/api/knowledge/entries/${ID}`

test('a draft is saved with the version that was seen, and then there is nothing to save', async () => {
  const { shown } = await page()
  expect(button(shown, '保存草稿')!.attributes('disabled')).toBeDefined()
  await shown.find('#f-asks').setValue('不发工资怎么办\n\n老板拖着不给钱')
  expect(shown.text()).toContain('有没保存的文字')
  await button(shown, '保存草稿')!.trigger('click')
  await flushPromises()
  expect(sent('/draft')[0]!.body).toMatchObject({ version: 3, fields: { asks: ['不发工资怎么办', '老板拖着不给钱'] } })
  expect(shown.text()).not.toContain('有没保存的文字')
  shown.unmount()
})

test('what was typed stays when saving fails, and leaving the page asks first', async () => {
  const { shown, router } = await page()
  refuse[`${PATH}/draft`] = { status: 503, body: { error: 'busy', message: '请稍后再试' } }
  await shown.find('#f-title').setValue('新标题在这里')
  await button(shown, '保存草稿')!.trigger('click')
  await flushPromises()
  expect((shown.find('#f-title').element as HTMLInputElement).value).toBe('新标题在这里')
  void router.push('/knowledge')
  await vi.waitFor(() => expect(document.body.textContent).toContain('有没保存的文字。'))
  const close = document.querySelector<HTMLElement>('.el-message-box__headerbtn')!
  close.click()
  await flushPromises()
  expect(router.currentRoute.value.path).toBe(`/knowledge/${ID}`)
  const event = new Event('beforeunload', { cancelable: true })
  window.dispatchEvent(event)
  expect(event.defaultPrevented).toBe(true)
  shown.unmount()
})

test("a colleague's newer version waits beside what is typed; saving over it is a choice", async () => {
  const { shown } = await page()
  await shown.find('#f-title').setValue('我写的标题')
  known = entry({ version: 5, text: { ...TEXT, title: '同事的标题' } })
  useBench().otherNews += 1
  await flushPromises()
  expect(shown.text()).toContain('同事刚刚改过这个条目')
  expect((shown.find('#f-title').element as HTMLInputElement).value).toBe('我写的标题')
  expect(button(shown, '保存草稿')!.attributes('disabled')).toBeDefined()
  await button(shown, '用我写的存成草稿')!.trigger('click')
  await flushPromises()
  expect(sent('/draft')[0]!.body).toMatchObject({ version: 5, fields: { title: '我写的标题' } })
  shown.unmount()
})

test('without unsaved words the newer version is simply shown', async () => {
  const { shown } = await page()
  known = entry({ version: 5, text: { ...TEXT, title: '同事的标题' } })
  useBench().otherNews += 1
  await flushPromises()
  expect((shown.find('#f-title').element as HTMLInputElement).value).toBe('同事的标题')
  shown.unmount()
})

test('approval waits for the regression run and shows what changes', async () => {
  known = entry({ state: 'submitted', newest: revision({ state: 'submitted', submitted_by: { id: '1', name: '孔' } }), may: ['approve', 'send_back'] })
  const { shown } = await page()
  await vi.waitFor(() => expect(shown.find('.decide ins').exists()).toBe(true))
  expect(shown.find('.decide ins').text()).toContain('老板马上')
  expect(button(shown, '批准')!.attributes('disabled')).toBeDefined()
  expect(shown.find('#f-title').attributes('disabled')).toBeDefined()
  regression!()
  await flushPromises()
  expect(shown.text()).toContain('1 个变差')
  await button(shown, '批准')!.trigger('click')
  await flushPromises()
  expect(sent('/approve')[0]!.body).toEqual({ version: 3 })
  expect(button(shown, '发布')).toBeDefined()
  shown.unmount()
})

test('what stops a text is said under its field, and it cannot be submitted', async () => {
  const { shown } = await page()
  await shown.find('#f-title').setValue('老板拖欠工资，怎么办')
  await vi.waitFor(() => expect(shown.find('#say-asks').text()).toContain('至少 5 项'), { timeout: 5000 })
  expect(shown.find('#f-asks').attributes('aria-invalid')).toBe('true')
  expect(button(shown, '保存并提交审核')!.attributes('disabled')).toBeDefined()
  expect(sent('/submit')).toEqual([])
  shown.unmount()
})
