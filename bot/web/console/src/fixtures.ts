/** Invented values for tests, whole and plain; a test names only what it is about. */
import type { Alert, Card, Message } from './api/types'

export function card(given: Partial<Card> = {}): Card {
  return {
    id: '1',
    channel: 'webchat',
    state: 'queued',
    risk: 'none',
    topic: 'other',
    category: '',
    person_alias: null,
    owner: null,
    waiting_since: '2026-11-23T06:00:00Z',
    deadline_at: null,
    last_inbound_at: '2026-11-23T06:00:00Z',
    opened_at: '2026-11-23T05:00:00Z',
    episode_open: false,
    alert_state: null,
    nuisance: false,
    unread: 0,
    preview: null,
    case_number: null,
    transfer_offered_to_me: null,
    ...given,
  }
}

export function alert(given: Partial<Alert> = {}): Alert {
  return {
    id: '9',
    conversation_id: '1',
    case_number: '20261123-0001',
    level: 'critical',
    state: 'ringing',
    rung: 0,
    reason: 'episode',
    started_at: '2026-11-23T06:00:00Z',
    next_at: '2026-11-23T06:01:00Z',
    acknowledged_by: null,
    events: [],
    ...given,
  }
}

export function message(given: Partial<Message> = {}): Message {
  return {
    id: '1',
    direction: 'in',
    author: 'person',
    staff_name: null,
    kind: 'text',
    text: '你好',
    at: '2026-11-23T06:00:00Z',
    state: 'answered',
    risk: 'none',
    kinds: [],
    spans: [],
    explanation: '',
    mark: null,
    template: null,
    buttons: [],
    delivery: null,
    meta: null,
    ...given,
  }
}
