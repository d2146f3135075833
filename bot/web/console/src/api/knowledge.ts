/** The editing desk (知识库): what its API says, and every call of its pages. Days are 2026-11-23. */
import { get, post, remove, upload } from './http'
import type { Id, Named, Time, Who } from './types'

export type Day = string
export type EntryState = 'shipped' | 'draft' | 'submitted' | 'approved' | 'published' | 'retired'
export type RevisionState = 'draft' | 'submitted' | 'approved' | 'published' | 'replaced' | 'discarded'
export type Audience = 'pupil' | 'worker' | 'parent' | 'teacher' | 'anyone'
export type ToCheck = 'law_changed' | 'review_due'
export type Step = 'draft' | 'submit' | 'approve' | 'send_back' | 'publish' | 'schedule' | 'retire' | 'roll_back' | 'discard' | 'checked'
export type Outcome = 'answer' | 'choose' | 'nothing'

/** A law with its article and the version it was checked against, or an official body. */
export interface Source {
  law: string
  article: string
  version: Day | null
  body: string
}

/** The text of an entry; a draft may lack parts. */
export interface EntryText {
  title: string
  asks: string[]
  short: string
  long: string
  category: string
  audience: Audience[]
  region: string
  sources: Source[]
  checked_on: Day | null
  review_by: Day | null
  brings_human: boolean
}

export interface EntryRow {
  id: string
  title: string
  category: string
  audience: Audience[]
  region: string
  state: EntryState
  live: boolean
  shipped: boolean
  changed: boolean
  brings_human: boolean
  review_by: Day | null
  to_check: ToCheck | null
  version: number
  updated_at: Time | null
}

export interface EntryPage {
  items: EntryRow[]
  total: number
  counts: Record<EntryState, number>
  to_check: number
  more: boolean
}

export interface Revision {
  number: number
  state: RevisionState
  authors: Who[]
  note: string
  created_at: Time
  submitted_by: Who | null
  submitted_at: Time | null
  approved_by: Who | null
  approved_at: Time | null
  published_by: Who | null
  published_at: Time | null
  valid_from: Day | null
  valid_until: Day | null
}

export interface EntryComment {
  id: Id
  number: number
  author: Who
  at: Time
  text: string
}

/** `text` is what is being worked at, else what is said. Number 0 is the text that came with the program. */
export interface EntryWhole extends EntryRow {
  text: EntryText
  live_text: EntryText | null
  live_number: number | null
  newest: Revision | null
  history: Revision[]
  comments: EntryComment[]
  may: Step[]
}

export interface FieldChange {
  field: string
  before: string[]
  after: string[]
}

/** `stop` keeps the text from being published; `warn` asks to look. `field` may name an item: asks.2. */
export interface Finding {
  level: 'stop' | 'warn'
  code: string
  field: string
  detail: string
  message: string
}

export interface ChannelPreview {
  channel: 'web' | 'wechat' | 'sms'
  texts: string[]
  buttons: string[]
  characters: number
  segments: number | null
  encoding: 'gsm7' | 'ucs2' | null
  most_segments: number | null
}

export interface Candidate {
  entry: string
  title: string
  score: number
  wording: string
  alike: number
  words: string[]
  numbers: string
}

export interface Tried {
  outcome: Outcome
  entry: string
  text: string
  score: number
  brings_human: boolean
  candidates: Candidate[]
}

export interface Said {
  outcome: Outcome
  entry: string
  title: string
  score: number
  choices: string[]
}

export interface Difference {
  question: string
  saved: Id | null
  expected: string | null
  verdict: 'better' | 'worse' | 'other' | 'text'
  before: Said
  after: Said
}

export interface Regression {
  saved: number
  recent: number
  days: number
  better: number
  worse: number
  differences: Difference[]
}

export interface SavedQuestion {
  id: Id
  text: string
  entry: string | null
  from_conversation: boolean
  saved_by: Who
  saved_at: Time
}

export interface EntrySearch {
  q: string
  state: EntryState | null
  category: string
  audience: Audience | null
  region: string
  to_check: boolean
  own: boolean | null
  skip: number
}

// Asking the libraries of two texts every saved question takes some seconds, and more on a busy machine.
const LONG_MS = 90_000

export const search = (asked: EntrySearch) => post<EntryPage>('/knowledge/search', asked)
export const entry = (id: string) => get<EntryWhole>(`/knowledge/entries/${id}`)
export const difference = (id: string, before: number, after: number) =>
  get<FieldChange[]>(`/knowledge/entries/${id}/difference?before=${before}&after=${after}`)
export const draft = (id: string, version: number, fields: EntryText, note: string) =>
  post<EntryWhole>(`/knowledge/entries/${id}/draft`, { version, fields, note })
const step = (what: string) => (id: string, version: number) => post<EntryWhole>(`/knowledge/entries/${id}/${what}`, { version })
export const submit = step('submit')
export const approve = step('approve')
export const retire = step('retire')
export const discard = step('discard')
export const checked = step('checked')
export const sendBack = (id: string, version: number, note: string) => post<EntryWhole>(`/knowledge/entries/${id}/send-back`, { version, note })
export interface Schedule {
  valid_from: Day | null
  valid_until: Day | null
}
export const publish = (id: string, version: number, days: Schedule) => post<EntryWhole>(`/knowledge/entries/${id}/publish`, { version, ...days })
export const schedule = (id: string, version: number, days: Schedule) => post<EntryWhole>(`/knowledge/entries/${id}/schedule`, { version, ...days })
export const rollBack = (id: string, version: number, number: number) => post<EntryWhole>(`/knowledge/entries/${id}/roll-back`, { version, number })
export const comment = (id: string, number: number, text: string) => post<EntryComment>(`/knowledge/entries/${id}/comments`, { number, text })

export const check = (entry: string, fields: EntryText) => post<Finding[]>('/knowledge/check', { entry, fields })
export const preview = (fields: EntryText) => post<{ channels: ChannelPreview[] }>('/knowledge/preview', { fields })
/** A POST: a question may be somebody's words, which do not go into an address. */
export const tryOut = (question: string, with_draft: string | null) => post<Tried>('/knowledge/try', { question, with_draft }, LONG_MS)
export const regression = (id: string, retire = false) => post<Regression>(`/knowledge/entries/${id}/regression`, { retire }, LONG_MS)
export const questions = () => get<SavedQuestion[]>('/knowledge/questions')
export const saveQuestion = (text: string, entry: string | null) => post<SavedQuestion>('/knowledge/questions', { text, entry })
export const removeQuestion = (id: Id) => remove(`/knowledge/questions/${id}`)

// 法律库

export interface Law {
  title: string
  versions: { version: Day; articles: number; imported_at: Time }[]
  entries: number
  to_check: number
}

export interface Laws {
  laws: Law[]
  missing: { title: string; entries: number }[]
}

export interface Article {
  law: string
  article: string
  version: Day
  place: string
  text: string
}

/** An entry to look at again. `changed` counts citations whose text differs, is gone or cannot be compared. */
export interface CheckCard {
  id: string
  title: string
  category: string
  state: EntryState
  version: number
  why: ToCheck[]
  since: Time | null
  review_by: Day | null
  laws: string[]
  changed: number
  unchanged: number
  in_work: boolean
}

/** The left column is `same` and `old` joined, the right one `same` and `new`. */
export interface Piece {
  kind: 'same' | 'old' | 'new'
  text: string
}

export interface CitedAgain {
  law: string
  article: string
  cited: Day
  newest: Day
  became: 'same' | 'changed' | 'gone' | 'unknown'
  old: string
  new: string
  pieces: Piece[]
  now_at: string
}

export interface Changes extends CheckCard {
  short: string
  long: string
  checked_on: Day | null
  citations: CitedAgain[]
}

export const laws = () => get<Laws>('/laws')
export const articles = (words: string, law = '') => post<Article[]>('/laws/search', { words, law })
export const toCheck = (why: ToCheck | '') => get<{ items: CheckCard[] }>(`/to-check${why ? `?why=${why}` : ''}`)
export const changes = (entry: string) => get<Changes>(`/to-check/changes?entry=${entry}`)
export const stillRight = (entry: string, version: number, note: string) =>
  post<{ id: string; revision: number; version: number }>('/to-check/still-right', { entry, version, note })

// 未回答

export type Unanswerable = 'nothing' | 'not_helped' | 'human'

/** Questions that ask the same. `text` is the middle one's, masked. */
export interface UnansweredGroup {
  id: Id
  items: Id[]
  count: number
  reasons: Partial<Record<Unanswerable, number>>
  first_at: Time
  last_at: Time
  category: string
  not_helped_by: string[]
  text: string
}

export interface UnansweredCounts {
  open: number
  taken: number
  dismissed: number
  gone: number
}

export interface UnansweredPage {
  groups: UnansweredGroup[]
  total: number
  counts: UnansweredCounts
  looked_through: number
  reasons: Named[]
  dismissals: Named[]
  placeholders: string[]
  more: boolean
}

export interface UnansweredWhole extends UnansweredGroup {
  examples: { id: Id; at: Time; reasons: Unanswerable[]; text: string; reply: string | null; not_helped_by: string | null }[]
  near: { entry: string; title: string; score: number }[]
}

export interface Settled {
  id: Id
  at: Time
  reasons: Unanswerable[]
  category: string
  taken_into: string | null
  dismissed_why: string | null
  settled_by: Who | null
  settled_at: Time | null
}

/** A stretch that may lead to a person, in UTF-16 units of the field's text. */
export interface Identifying {
  field: string
  item: number
  start: number
  end: number
  what: string
  certain: boolean
}

export interface TakenInto {
  entry: string
  number: number
  version: number
}

export const unanswered = (reason: Unanswerable | '', skip = 0) =>
  get<UnansweredPage>(`/unanswered?skip=${skip}${reason ? `&reason=${reason}` : ''}`)
export const unansweredGroup = (id: Id) => get<UnansweredWhole>(`/unanswered/${id}`)
export const settled = (state: 'taken' | 'dismissed', after?: Id) =>
  get<{ items: Settled[]; counts: UnansweredCounts; more: boolean }>(`/unanswered/settled?state=${state}${after ? `&after=${after}` : ''}`)
export const draftUnanswered = (items: Id[], entry: string, fields: EntryText, sure: boolean) =>
  post<TakenInto>('/unanswered/draft', { items, entry, version: 0, fields, sure })
export const attachUnanswered = (items: Id[], entry: string, version: number, wordings: string[], sure: boolean) =>
  post<TakenInto>('/unanswered/attach', { items, entry, version, wordings, sure })
export const dismissUnanswered = (items: Id[], why: string) => post('/unanswered/dismiss', { items, why })
export const reopenUnanswered = (items: Id[]) => post('/unanswered/reopen', { items })

// files in and out

export type FileFormat = 'xlsx' | 'csv' | 'yaml'

export interface RowProblem {
  row: number
  column: string
  head: string
  item: number
  message: string
}

export interface Imported {
  new: string[]
  changed: string[]
  same: string[]
  trial: boolean
}

export function formatOf(name: string): FileFormat | null {
  const ending = name.toLowerCase().split('.').at(-1)
  return ending === 'xlsx' || ending === 'csv' ? ending : ending === 'yml' || ending === 'yaml' ? 'yaml' : null
}

/** The address of a file with what is said now; a category's only where one is given. */
export const exportAddress = (format: FileFormat, category: string): string =>
  `/api/knowledge/export?format=${format}${category ? `&category=${category}` : ''}`
export const importFile = (file: File, format: FileFormat, trial: boolean) =>
  upload<Imported>(`/knowledge/import?format=${format}&trial=${trial ? 'yes' : 'no'}`, file, LONG_MS)

// from a closed case

export interface ClosedCase {
  number: string
  category: string
  closed_at: Time
}

export const closedCases = (after = '') => get<{ items: ClosedCase[]; more: boolean }>(`/knowledge/cases${after ? `?after=${after}` : ''}`)
export const checkCaseText = (number: string, fields: EntryText) => post<Identifying[]>(`/knowledge/cases/${number}/check`, { fields })
export const draftFromCase = (number: string, entry: string, fields: EntryText, sure: boolean) =>
  post<TakenInto>(`/knowledge/cases/${number}/draft`, { entry, version: 0, fields, sure })
