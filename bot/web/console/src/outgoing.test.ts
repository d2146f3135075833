import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ApiError } from './api/http'
import type { Message } from './api/types'
import { message } from './fixtures'
import { Outbox, pauseAfter } from './outgoing'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const lost = (): ApiError => new ApiError(0, 'network', '网络不通')

/** A server that keeps each client id once, and fails as told. */
function server(failures: (Error | null)[] = []) {
  const stored: { client_id: string; text: string }[] = []
  const asked: string[] = []
  const send = async (_: string, text: string, client_id: string): Promise<Message> => {
    asked.push(client_id)
    const failure = failures.shift()
    if (failure) throw failure
    if (!stored.some((one) => one.client_id === client_id)) stored.push({ client_id, text })
    return message({ id: String(stored.length), text })
  }
  let n = 0
  const arrived: string[] = []
  const outbox = new Outbox(send, (_, m) => arrived.push(m.text ?? ''), () => `c${++n}`)
  return { outbox, stored, asked, arrived }
}

test('words that did not arrive are kept and sent again with the same client id', async () => {
  const { outbox, stored, asked, arrived } = server([lost(), lost()])
  outbox.write('1', '我在')
  await vi.advanceTimersByTimeAsync(0)
  expect(outbox.of('1')[0]).toMatchObject({ state: 'waiting', text: '我在' })
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked).toEqual(['c1', 'c1', 'c1'])
  expect(stored).toEqual([{ client_id: 'c1', text: '我在' }])
  expect(arrived).toEqual(['我在'])
  expect(outbox.kept).toBe(0)
})

test('an answer lost on its way back does not double the words', async () => {
  const { outbox, stored, asked } = server()
  const real = outbox as unknown as { send: (a: string, b: string, c: string) => Promise<Message> }
  const send = real.send
  let first = true
  real.send = async (a, b, c) => {
    const answer = await send(a, b, c)
    if (!first) return answer
    first = false
    throw lost()
  }
  outbox.write('1', '我在')
  await vi.advanceTimersByTimeAsync(5_000)
  expect(asked).toEqual(['c1', 'c1'])
  expect(stored).toHaveLength(1)
})

test('words of one conversation arrive in the order they were written', async () => {
  const { outbox, stored } = server([lost()])
  outbox.write('1', '一')
  outbox.write('1', '二')
  outbox.write('1', '三')
  await vi.advanceTimersByTimeAsync(10_000)
  expect(stored.map((one) => one.text)).toEqual(['一', '二', '三'])
})

test('another conversation does not wait for one that fails', async () => {
  const { outbox, arrived } = server([lost()])
  outbox.write('1', '慢')
  outbox.write('2', '快')
  await vi.advanceTimersByTimeAsync(0)
  expect(arrived).toEqual(['快'])
})

test('a refusal waits for a person, who can send it again or take it back', async () => {
  const { outbox, asked } = server([new ApiError(409, 'not_yours', '会话已转给同事')])
  outbox.write('1', '我在')
  outbox.write('1', '还在吗')
  await vi.advanceTimersByTimeAsync(60_000)
  expect(asked).toEqual(['c1'])
  expect(outbox.of('1')[0]).toMatchObject({ state: 'refused', error: '会话已转给同事' })
  expect(outbox.takeBack('c1')).toBe('我在')
  outbox.retryAll()
  await vi.advanceTimersByTimeAsync(0)
  expect(outbox.kept).toBe(0)
})

test('a session that ended keeps the words until the next login', async () => {
  const { outbox, stored } = server([new ApiError(401, 'signed_out', '请先登录')])
  outbox.write('1', '我在')
  await vi.advanceTimersByTimeAsync(0)
  expect(outbox.of('1')[0]?.state).toBe('waiting')
  outbox.retryAll()
  await vi.advanceTimersByTimeAsync(0)
  expect(stored).toHaveLength(1)
})

test('pauses grow to 20 seconds', () => {
  expect([1, 2, 3, 4, 5, 6, 50].map(pauseAfter)).toEqual([1000, 2000, 5000, 10000, 20000, 20000, 20000])
})
