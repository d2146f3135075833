/** What the JSON API says, in its own shapes. Ids are strings: they are longer than a browser's numbers. */

export type Id = string
/** ISO 8601, UTC. */
export type Time = string
export type Risk = 'none' | 'low' | 'medium' | 'high' | 'critical'
export type State = 'bot' | 'queued' | 'human' | 'closed'
export type Role = 'counsellor' | 'supervisor' | 'curator' | 'administrator'
export type View = 'queue' | 'mine' | 'all' | 'closed'

export interface Who {
  id: Id
  name: string
}

export interface Me {
  id: Id
  login: string
  name: string
  role: Role
  must_change_password: boolean
  csrf_token: string
  on_duty: boolean
  permissions: string[]
  demonstration: boolean
}

export interface Category {
  code: string
  name: string
  children?: Category[]
}

/** A code with its Chinese name. */
export interface Named {
  code: string
  name: string
}

export interface Desk {
  name: string
  short_name: string
  logo: string
  colours: { primary: string; text: string; background: string }
  numbers: Record<string, string>
  hours: { days: number[]; opens: string; closes: string; text: string }
  categories: Category[]
  results: Named[]
  decisions: Named[]
  told: Named[]
  verified_how: Named[]
  whys: Named[]
  fallback_telephone_configured: boolean
  demonstration: boolean
}

export interface Card {
  id: Id
  channel: string
  state: State
  risk: Risk
  topic: string
  category: string
  person_alias: string | null
  owner: Who | null
  waiting_since: Time | null
  /** By when whoever has it must have replied; null while nobody waits, or nobody has it. */
  deadline_at: Time | null
  last_inbound_at: Time | null
  opened_at: Time
  episode_open: boolean
  alert_state: string | null
  nuisance: boolean
  unread: number
  preview: string | null
  case_number: string | null
  transfer_offered_to_me: Id | null
}

export interface Counts {
  queue: number
  mine: number
  critical: number
  high: number
}

export interface CardPage {
  items: Card[]
  counts: Counts
}

/** `[start, end)` in the text, in UTF-16 units: the API converts from the code points it keeps. */
export interface Span {
  start: number
  end: number
  reason: string
}

export interface Delivery {
  state: 'pending' | 'attempting' | 'sent' | 'delivered' | 'failed' | 'unknown'
  error: string | null
}

/** What a counsellor says of the machine's judgement of a message. */
export type Mark = 'missed' | 'false_alarm'

export interface Message {
  id: Id
  direction: 'in' | 'out'
  author: 'person' | 'bot' | 'staff' | 'system'
  staff_name: string | null
  kind: string
  text: string | null
  at: Time
  state: string
  risk: Risk | null
  kinds: string[]
  spans: Span[]
  explanation: string
  mark: Mark | null
  template: string | null
  buttons: { label: string; value: string }[]
  delivery: Delivery | null
  meta: Record<string, unknown> | null
}

export interface Note {
  id: Id
  staff: Who
  at: Time
  text: string
}

export interface Episode {
  id: Id
  level: Risk
  kinds: string[]
  opened_at: Time
  assessed_level: Risk | null
  safety_sent_at: Time | null
  ended_at: Time | null
}

export interface AlertEvent {
  at: Time
  what: string
  rung: number | null
  staff: Who | null
  means: string | null
  detail: string | null
}

export interface Alert {
  id: Id
  conversation_id: Id
  case_number: string | null
  level: Risk
  state: 'ringing' | 'paused' | 'ended'
  rung: number
  reason: string
  started_at: Time
  next_at: Time | null
  acknowledged_by: Who | null
  events: AlertEvent[]
}

export interface RescueNotice {
  told: string
  by: Who | null
  at: Time
  detail: string | null
}

export interface Rescue {
  id: Id
  opened_by: Who | null
  opened_at: Time
  place: string | null
  identity: string | null
  legal_basis: string
  guardian_may_harm: boolean
  approved_by: Who | null
  approved_at: Time | null
  not_awaited_reason: string | null
  state: 'open' | 'closed'
  result: string | null
  closed_at: Time | null
  notices: RescueNotice[]
}

export interface SafeContact {
  how: string
  when: string
  may_say_who: boolean
  words: string
}

export interface NuisanceMark {
  id: Id
  reason: string
  proposed_by: Who | null
  proposed_at: Time | null
  confirmed_by: Who | null
  until: Time | null
}

export interface Earlier {
  conversation_id: Id
  opened_at: Time
  channel: string
  risk: Risk
  category: string
}

export interface Entry {
  id: string
  title: string
  text: string
  score: number
  sources: string[]
}

export interface Erasure {
  legal_hold: boolean
  id: Id
  person_id: Id
  state: string
  held_by: string | null
  requested_by: Who
  requested_at: Time
  verified_how: string
}

export interface Suggestion {
  entry_id: string
  title: string
  text: string
  score: number
}

export interface CaseRecord {
  number: string
  state: string
  version: number
  category: string
  risk_assessed: Risk | null
  result: string | null
}

export interface TransferOffer {
  id: Id
  from: Who
  to: Who
  reason: string | null
  offered_at: Time
}

/** What I may do with a conversation now. */
export interface Allowed {
  can_claim: boolean
  can_reply: boolean
  can_note: boolean
  can_hand_back: boolean
  can_transfer: boolean
  can_assess: boolean
  can_close: boolean
  can_rescue: boolean
  can_approve_rescue: boolean
  can_show_network_address: boolean
  can_mark_nuisance: boolean
  can_confirm_nuisance: boolean
  can_ask_safe_contact: boolean
  can_erase: boolean
}

/** A conversation with everything beside it. */
export interface Conversation extends Card {
  person_id: Id
  messages: Message[]
  notes: Note[]
  episode: Episode | null
  alert: Alert | null
  case: CaseRecord | null
  safe_contact: SafeContact | null
  rescue: Rescue[]
  nuisance_mark: NuisanceMark | null
  earlier: Earlier[]
  suggestions: Suggestion[]
  quota: { left: number | null; until: Time | null; text: string | null }
  transfer: TransferOffer | null
  permissions: Allowed
  reassure: { can_ask_satisfaction_default: boolean }
}

export interface CannedReply {
  key: string
  title: string
  text: string
}

export interface Task {
  id: Id
  kind: string
  conversation_id: Id | null
  owner: Who | null
  role: Role
  level: Risk
  detail: string
  state: 'open' | 'done'
  created_at: Time
  due_at: Time
  done_at: Time | null
}

export interface Staff {
  id: Id
  login: string
  name: string
  role: Role
  active: boolean
  must_change_password: boolean
  demonstration: boolean
  has_telephone: boolean
  on_duty: boolean
  created_at: Time
}

export interface Colleague {
  id: Id
  name: string
  role: Role
  on_duty: boolean
  screen_open: boolean
}

export interface Shift {
  id: Id
  staff: Who
  rung: number
  starts_at: Time
  ends_at: Time
}

export interface Template {
  key: string
  title: string
  text: string
  version: number
  state: 'shipped' | 'approved' | 'broken'
  draft: { id: Id; text: string; author: Who } | null
  shipped_text: string
  placeholders: string[]
}

export interface LookRecord {
  id: Id
  at: Time
  staff: Who | null
  action: string
  object: string
  object_id: Id
  why: string
}

/** A socket's news: ids and states, never words. */
export interface News {
  what: 'message' | 'conversation' | 'alert' | 'delivery' | 'typing' | 'finished' | 'task' | 'template' | 'entries'
  conversation_id: Id | number
  extra: Record<string, unknown> | null
}

export type Reason = 'missed' | 'false_alarm' | 'risk' | 'category'
export type ReviewState = 'open' | 'accepted' | 'rejected'

/** A review sample in the list: no words. */
export interface ReviewCard {
  id: Id
  state: ReviewState
  reasons: Reason[]
  risk_machine: Risk
  risk_assessed: Risk | null
  category_machine: string
  category_closed: string | null
  created_at: Time
  decided_by: Who | null
  decided_at: Time | null
  reject_why: string | null
  used_at: Time | null
}

export interface ReviewPage {
  items: ReviewCard[]
  counts: Record<ReviewState, number>
  rejections: Named[]
  placeholders: string[]
  more: boolean
}

export interface Labels {
  topic: string
  risk: Risk | null
  kinds: string[]
  category: string
  about: string
}

export interface ReviewItem extends ReviewCard {
  text: string
  history: string[]
  machine: Labels
  labels: Labels
}

export interface Week {
  start: Time
  messages: number
  unsure: number | null
  confidence: number | null
  episodes: number
  alert_rate: number | null
  alarms: number
  false_alarms: number
  quiet: number
  missed: number
  marks: number
}

export interface Drift {
  weeks: Week[]
  unusual: string[]
  model: string
  promotions: { at: Time; by: Who; model: string; before: string; back: boolean }[]
}
