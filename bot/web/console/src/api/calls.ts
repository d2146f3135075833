/** Every call of the workbench, by the name of what it does; those of the editing desk are in knowledge.ts. */
import { get, patch, post, remove } from './http'
import type {
  Alert,
  CannedReply,
  CardPage,
  Colleague,
  Conversation,
  Desk,
  Drift,
  Entry,
  Erasure,
  Id,
  Labels,
  LookRecord,
  Mark,
  Me,
  Message,
  Note,
  ReviewCard,
  ReviewItem,
  ReviewPage,
  ReviewState,
  Risk,
  Role,
  Shift,
  Staff,
  Task,
  Template,
  View,
} from './types'

const q = (values: Record<string, string | number | undefined>): string => {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined && value !== '')
  return pairs.length ? '?' + new URLSearchParams(pairs.map(([k, v]) => [k, String(v)])).toString() : ''
}

/** Some lists come bare, some as {items}. */
const items = <T>(said: T[] | { items: T[] }): T[] => (Array.isArray(said) ? said : said.items)
const list = async <T>(path: string): Promise<T[]> => items(await get<T[] | { items: T[] }>(path))

// who I am
export const me = () => get<Me>('/me')
export const login = (login: string, password: string) => post<Me>('/login', { login, password })
export const logout = () => post('/logout')
export const changePassword = (old: string, fresh: string) => post('/me/password', { old, new: fresh })
export const duty = (on_duty: boolean, rung?: number) => post('/me/duty', { on_duty, rung })
export const desk = () => get<Desk>('/desk')

// conversations
export const conversations = (view: View, after?: Id, limit = 50) =>
  get<CardPage>(`/conversations${q({ view, limit, after })}`)
export const conversation = (id: Id, why: string) => get<Conversation>(`/conversations/${id}${q({ why })}`)
export const messages = (id: Id, before?: Id, limit = 50) =>
  list<Message>(`/conversations/${id}/messages${q({ before, limit })}`)
export const claim = (id: Id) => post<Conversation>(`/conversations/${id}/claim`)
export const reply = (id: Id, text: string, client_id: string) =>
  post<Message>(`/conversations/${id}/reply`, { text, client_id })
export const note = (id: Id, text: string) => post<Note>(`/conversations/${id}/notes`, { text })
export const handBack = (id: Id, reason: string, to: 'queue' | 'bot') =>
  post(`/conversations/${id}/hand-back`, { reason, to })
export const transfer = (id: Id, to: Id, reason: string) => post(`/conversations/${id}/transfer`, { to, reason })
export const acceptTransfer = (id: Id) => post(`/transfers/${id}/accept`)
export const declineTransfer = (id: Id) => post(`/transfers/${id}/decline`)
export const assess = (id: Id, level: Risk, words: string) => post(`/conversations/${id}/risk`, { level, note: words })
export interface Closing {
  version: number
  category: string
  risk: Risk
  result: string
  note: string
  ask_satisfaction: boolean
}
export const close = (id: Id, closing: Closing) => post(`/conversations/${id}/close`, closing)
export interface SafeContactInput {
  how: string
  when: string
  may_say_who: boolean
  words: string
}
export const safeContact = (id: Id, input: SafeContactInput) => post(`/conversations/${id}/safe-contact`, input)
export const askSafeContact = (id: Id) => post(`/conversations/${id}/ask-safe-contact`)
export const nuisance = (id: Id, reason: string) => post(`/conversations/${id}/nuisance`, { reason })
export const confirmNuisance = (id: Id, days: number) => post(`/nuisance/${id}/confirm`, { days })
export const endNuisance = (id: Id) => post(`/nuisance/${id}/end`)
export interface RescueInput {
  place: string
  identity: string
  legal_basis: string
  guardian_may_harm: boolean
}
export const openRescue = (id: Id, input: RescueInput) => post(`/conversations/${id}/rescues`, input)
export const rescueTold = (id: Id, told: string, detail: string) => post(`/rescues/${id}/told`, { told, detail })
export const approveRescue = (id: Id) => post(`/rescues/${id}/approve`)
export const rescueNotAwaited = (id: Id, reason: string) => post(`/rescues/${id}/not-awaited`, { reason })
export const closeRescue = (id: Id, result: string) => post(`/rescues/${id}/close`, { result })
export const networkAddress = (id: Id, reason: string) =>
  post<{ address: string | null }>(`/conversations/${id}/network-address`, { reason })
export const cannedReplies = () => list<CannedReply>('/canned-replies')
/** A POST: what is looked up may be a young person's own words, which do not go into an address. */
export const entries = (words: string) => post<Entry[]>('/entries/search', { q: words })
export const askErasure = (person: Id, verified_how: string) => post<Erasure>(`/persons/${person}/erasure`, { verified_how })
export const erasures = () => list<Erasure>('/erasures')
export const approveErasure = (id: Id) => post<Erasure>(`/erasures/${id}/approve`)
export const legalHold = (person: Id, on: boolean, reason: string) => post(`/persons/${person}/legal-hold`, { on, reason })
export const refuseErasure = (id: Id) => post<Erasure>(`/erasures/${id}/refuse`)

// alerts
export const alerts = () => list<Alert>('/alerts')
export const acknowledge = (id: Id) => post(`/alerts/${id}/acknowledge`)
export const decide = (id: Id, decision: string, words: string) =>
  post(`/alerts/${id}/decide`, { decision, note: words })

// the desk's other work
export const tasks = (state = 'open') => list<Task>(`/tasks${q({ state })}`)
export const taskDone = (id: Id) => post(`/tasks/${id}/done`)
export const templates = () => list<Template>('/templates')
export const draftTemplate = (key: string, text: string) => post(`/templates/${encodeURIComponent(key)}/drafts`, { text })
export const approveDraft = (id: Id) => post(`/templates/drafts/${id}/approve`)
export const discardDraft = (id: Id) => post(`/templates/drafts/${id}/discard`)
export const staff = () => list<Staff>('/staff')
export const colleagues = () => list<Colleague>('/colleagues')
export const addStaff = (login: string, name: string, role: Role) =>
  post<Staff & { one_time_password: string }>('/staff', { login, name, role })
export const changeStaff = (id: Id, change: Partial<Pick<Staff, 'name' | 'role' | 'active'>>) =>
  patch<Staff>(`/staff/${id}`, change)
export const resetPassword = (id: Id) =>
  post<{ one_time_password: string }>(`/staff/${id}/reset-password`)
export const shifts = () => list<Shift>('/shifts')
export const addShift = (shift: { staff_id: Id; rung: number; starts_at: string; ends_at: string }) =>
  post<Shift>('/shifts', shift)
export const removeShift = (id: Id) => remove(`/shifts/${id}`)
export const records = (object: string, id: Id) => list<LookRecord>(`/records${q({ object, id })}`)
export const audit = () => get<Record<string, unknown>>('/audit')

// learning from the desk
export const mark = (id: Id, message: Id, what: Mark | 'none') =>
  post<{ mark: Mark | null }>(`/conversations/${id}/messages/${message}/mark`, { what })
export const review = (state: ReviewState, after?: Id) => get<ReviewPage>(`/review${q({ state, after })}`)
export const reviewItem = (id: Id) => get<ReviewItem>(`/review/${id}`)
export const acceptReview = (id: Id, given: { text: string; history: string[] } & Labels) =>
  post<ReviewItem>(`/review/${id}/accept`, given)
export const rejectReview = (id: Id, why: string) => post<ReviewCard>(`/review/${id}/reject`, { why })
export const reopenReview = (id: Id) => post<ReviewCard>(`/review/${id}/reopen`)
export const drift = () => get<Drift>('/drift')
