import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { useBench } from './bench'
import { useSession } from './session'

/** The API as far as these tests go: who logs in is who the name says. */
function answer(path: string, body: { login?: string } | null): unknown {
  if (path === '/api/login')
    return { id: body?.login, login: body?.login, name: '某', role: 'counsellor', must_change_password: false, csrf_token: 't', on_duty: true, permissions: ['look'], demonstration: true }
  if (path === '/api/desk') return { colours: { primary: '#2f6f73' } }
  return {}
}

beforeEach(() => {
  setActivePinia(createPinia())
  vi.stubGlobal('fetch', async (address: string, init: RequestInit) => {
    const said = answer(address, init.body ? JSON.parse(String(init.body)) : null)
    return new Response(JSON.stringify(said), { status: 200 })
  })
})
afterEach(() => void vi.unstubAllGlobals())

test('the same person who logs in again is told apart from another one', async () => {
  const session = useSession()
  const seen: boolean[] = []
  session.whenLoggedInAgain((same) => seen.push(same))
  await session.login('a', 'x')
  session.ended = true
  await session.login('a', 'x')
  expect(session.ended).toBe(false)
  session.ended = true
  await session.login('b', 'x')
  expect(seen).toEqual([true, false])
})

test('when another person logs in, nothing that the first one wrote is left', () => {
  const bench = useBench()
  bench.drafts.set('1', '写了一半')
  bench.noteDrafts.set('1', '备注')
  expect(bench.unsaved).toBe(true)
  bench.clear()
  expect(bench.drafts.size + bench.noteDrafts.size + bench.outbox.kept).toBe(0)
  expect(bench.unsaved).toBe(false)
})

test('no draft is ever put into the browser’s storage', () => {
  const bench = useBench()
  bench.drafts.set('1', '写了一半')
  expect(window.localStorage.length + window.sessionStorage.length).toBe(0)
})
