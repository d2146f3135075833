/** The order of waiting conversations and the time each has left. The server orders the same way; see escalation. */
import type { Alert, Card } from './api/types'
import { riskRank } from './risk'

/** Graver first, then who waits longest. A nuisance mark lowers the place behind all others, but never a critical one. */
export function queueOrder(a: Card, b: Card): number {
  return place(a) - place(b) || waitsFrom(a) - waitsFrom(b) || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}

function place(card: Card): number {
  const rank = 4 - riskRank(card.risk)
  return card.nuisance && card.risk !== 'critical' ? rank + 5 : rank
}

function waitsFrom(card: Card): number {
  const since = card.waiting_since ?? card.last_inbound_at ?? card.opened_at
  return Date.parse(since)
}

/** My conversations: what a colleague offers me, then those where somebody waits for me (by deadline), then the newest talk. */
export function mineOrder(a: Card, b: Card): number {
  const offered = Number(b.transfer_offered_to_me !== null) - Number(a.transfer_offered_to_me !== null)
  if (offered) return offered
  const [dueA, dueB] = [deadline(a), deadline(b)]
  if (dueA !== null && dueB !== null) return dueA - dueB
  if (dueA !== null || dueB !== null) return dueA !== null ? -1 : 1
  return riskRank(b.risk) - riskRank(a.risk) || Date.parse(b.last_inbound_at ?? b.opened_at) - Date.parse(a.last_inbound_at ?? a.opened_at)
}

/** When a human must have replied (ms since 1970) as the server counts it, or null when nobody waits. */
export function deadline(card: Pick<Card, 'deadline_at'>): number | null {
  return card.deadline_at ? Date.parse(card.deadline_at) : null
}

export interface Due {
  at: number
  conversation_id: string
  what: 'reply' | 'alert'
}

/** The next moment at which something happens without me: a reply of mine is due, or an alert climbs. */
export function nextDue(mine: Card[], alerts: Alert[]): Due | null {
  const dues: Due[] = []
  for (const card of mine) {
    const at = deadline(card)
    if (at !== null && card.transfer_offered_to_me === null) dues.push({ at, conversation_id: card.id, what: 'reply' })
  }
  for (const alert of alerts)
    if (alert.state !== 'ended' && alert.next_at)
      dues.push({ at: Date.parse(alert.next_at), conversation_id: alert.conversation_id, what: 'alert' })
  dues.sort((a, b) => a.at - b.at)
  return dues[0] ?? null
}

/** "0:07", "12:30", "2 小时 5 分", "3 天": how long, dense enough for a list. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
  const hours = Math.floor(seconds / 3600)
  if (hours < 24) {
    const minutes = Math.floor((seconds % 3600) / 60)
    return minutes ? `${hours} 小时 ${minutes} 分` : `${hours} 小时`
  }
  return `${Math.floor(hours / 24)} 天`
}

/** A countdown; what is overdue says so. */
export function left(due: number, now: number): string {
  return due >= now ? span(due - now) : `已超 ${span(now - due)}`
}
