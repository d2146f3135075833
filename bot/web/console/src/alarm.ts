/**
 * What an alert does to this screen. Only critical may sound or blink; high gives a desktop notification.
 *
 * A sound goes on until somebody acknowledges (the server then says `paused`) or the alert ends. It is for whoever is
 * rung by name, has the conversation, or is on duty; when the server does not say who was rung, everybody hears it.
 */
import type { Alert, Id, Me } from './api/types'
import { left } from './queue'
import { riskRank } from './risk'
import { RUNG_NAMES } from './words'

export interface Policy {
  /** Sound now, and again every SOUND_EVERY_MS while it stays true. */
  sound: boolean
  /** Alerts to put on the desktop now: new to this screen, risen, or on a new rung. */
  notify: Alert[]
  /** Alerts that ring, for the tab's title. */
  ringing: number
  /** The title may alternate only for critical. */
  blink: boolean
}

export const SOUND_EVERY_MS = 4_000
const TELEPHONE = 3 // the top rung

/** Is this alert for me? */
export function concerns(alert: Alert, me: Pick<Me, 'id' | 'on_duty'>, mine: ReadonlySet<Id>): boolean {
  if (me.on_duty || mine.has(alert.conversation_id)) return true
  const rung = alert.events.filter((event) => event.what === 'rung' && event.staff !== null)
  return rung.length === 0 || rung.some((event) => event.staff?.id === me.id)
}

/** Ringing first, then the graver, then the older. */
export function alertOrder(a: Alert, b: Alert): number {
  const rings = Number(b.state === 'ringing') - Number(a.state === 'ringing')
  return rings || riskRank(b.level) - riskRank(a.level) || Date.parse(a.started_at) - Date.parse(b.started_at)
}

/** What was already put on the desktop: alert id -> its level and rung then. */
export type Shown = Map<Id, string>

const stamp = (alert: Alert): string => `${alert.level}/${alert.rung}`

export function policy(alerts: Alert[], me: Pick<Me, 'id' | 'on_duty'>, mine: ReadonlySet<Id>, shown: Shown): Policy {
  const ringing = alerts.filter((alert) => alert.state === 'ringing')
  const forMe = ringing.filter((alert) => concerns(alert, me, mine))
  const critical = forMe.some((alert) => riskRank(alert.level) >= riskRank('critical'))
  return {
    sound: critical,
    blink: critical,
    ringing: ringing.length,
    notify: forMe.filter((alert) => shown.get(alert.id) !== stamp(alert)),
  }
}

/** Remember what was shown; forget alerts that ended, so that a new ring of the same alert shows again after a pause. */
export function remember(alerts: Alert[], shown: Shown): void {
  for (const alert of alerts) if (alert.state === 'ringing') shown.set(alert.id, stamp(alert))
  const ringing = new Set(alerts.filter((a) => a.state === 'ringing').map((a) => a.id))
  for (const id of shown.keys()) if (!ringing.has(id)) shown.delete(id)
}

export function title(base: string, ringing: number, waiting: number, flash: boolean): string {
  if (ringing && flash) return `紧急 ${ringing} · ${base}`
  if (ringing) return `(!${ringing}) ${base}`
  return waiting ? `(${waiting}) ${base}` : base
}

/** What the ladder does now and next, in a line. Without a fallback telephone its top rings everybody's workbench, and nobody is called. */
export function alertLine(alert: Alert, now: number, telephone: boolean): string {
  const due = alert.next_at ? Date.parse(alert.next_at) : null
  const when = due === null ? '' : due > now ? `${left(due, now)} 后` : '马上'
  if (alert.state === 'paused') return `${alert.acknowledged_by?.name ?? '同事'}已知悉，没有人工回复，${when}恢复响铃`
  const up = alert.rung + 1 === TELEPHONE && !telephone ? '全部工作台' : RUNG_NAMES[alert.rung + 1]
  const then = when ? `，${when}${up ? `升级到${up}` : '从头再呼'}` : ''
  if (alert.rung === TELEPHONE && !telephone) return `各级都呼过了，没有配置兜底电话${then}`
  return `正在呼叫${RUNG_NAMES[alert.rung] ?? '各级'}${then}`
}
