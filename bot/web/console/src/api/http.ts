/**
 * Talking to the API: one way to ask, one kind of error.
 *
 * An error always says what happened (`message`), and whether trying again makes sense (`again`). A 401 outside the
 * login page means that the session ended: whoever listens by `onSessionEnded` shows the login over the page, so
 * that drafts in memory are kept.
 */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly body: Record<string, unknown> = {},
  ) {
    super(message)
  }

  /** The network or the server failed, not the request: the same request may succeed later. */
  get again(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }
}

let csrf = ''
let ended: () => void = () => {}

export function setCsrf(token: string): void {
  csrf = token
}

let unreachable: () => void = () => {}

export function onUnreachable(listener: () => void): void {
  unreachable = listener
}

export function onSessionEnded(listener: () => void): void {
  ended = listener
}

const TIMEOUT_MS = 20_000

let ahead = 0

/** The server's time (ms): countdowns must not depend on this machine's clock. Exact to about a second. */
export function serverNow(): number {
  return Date.now() + ahead
}

function setClock(date: string | null): void {
  const said = date ? Date.parse(date) : NaN
  if (Number.isNaN(said)) return
  const difference = said + 500 - Date.now()
  ahead = Math.abs(difference) > 2_000 ? difference : 0
}

async function ask<T>(method: string, path: string, body?: unknown, within = TIMEOUT_MS): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (method !== 'GET') headers['X-CSRF-Token'] = csrf
  if (body instanceof Blob) headers['Content-Type'] = 'application/octet-stream'
  else if (body !== undefined) headers['Content-Type'] = 'application/json'
  let answer: Response
  try {
    answer = await fetch(`/api${path}`, {
      method,
      headers,
      body: body === undefined || body instanceof Blob ? body : JSON.stringify(body),
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(within),
    })
  } catch {
    unreachable()
    throw new ApiError(0, 'network', '网络不通，没有连上服务器')
  }
  setClock(answer.headers.get('Date'))
  const said: unknown = await answer.json().catch(() => null)
  if (answer.ok) return said as T
  const fields = (said ?? {}) as Record<string, unknown>
  const error = new ApiError(
    answer.status,
    typeof fields.error === 'string' ? fields.error : `http_${answer.status}`,
    typeof fields.message === 'string' && fields.message ? fields.message : plain(answer.status),
    fields,
  )
  if (answer.status === 401 && !path.startsWith('/login') && path !== '/me') ended()
  throw error
}

function plain(status: number): string {
  if (status === 401) return '登录已失效，请重新登录'
  if (status === 403) return '您的角色不能做这件事'
  if (status === 404) return '没有找到，可能已被删除'
  if (status === 409) return '别人刚刚改过，请看过新的内容再做'
  if (status === 413) return '内容太长，请分几次发送'
  if (status === 429) return '操作太快，请稍等再试'
  if (status >= 500) return `服务器出错（${status}）`
  return `请求没有被接受（${status}）`
}

export const get = <T>(path: string): Promise<T> => ask('GET', path)
/** `within`: milliseconds; longer than usual only where the server has to think. */
export const post = <T = unknown>(path: string, body: unknown = {}, within?: number): Promise<T> => ask('POST', path, body, within)
/** A file as it is, in the body. */
export const upload = <T = unknown>(path: string, file: Blob, within?: number): Promise<T> => ask('POST', path, file, within)
export const patch = <T = unknown>(path: string, body: unknown): Promise<T> => ask('PATCH', path, body)
export const remove = <T = unknown>(path: string): Promise<T> => ask('DELETE', path)

/** What to show a person of any error. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : '出了没有料到的错误'
}
