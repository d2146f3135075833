/** Desktop notifications of alerts: case number and level, never words. */
import type { Alert } from './api/types'
import { RISK_NAMES, alertReason } from './words'

export function canAsk(): boolean {
  return 'Notification' in window && Notification.permission === 'default'
}

export async function askLeave(): Promise<void> {
  if (canAsk()) await Notification.requestPermission()
}

export function notify(alert: Alert, open: () => void): void {
  if (!('Notification' in window) || Notification.permission !== 'granted') return
  try {
    const shown = new Notification(`${RISK_NAMES[alert.level]}风险警报`, {
      body: [alert.case_number ? `工单 ${alert.case_number}` : '', alertReason(alert.reason)].filter(Boolean).join(' · '),
      tag: alert.id,
      requireInteraction: alert.level === 'critical',
    })
    shown.onclick = () => {
      window.focus()
      open()
      shown.close()
    }
  } catch {
    // Some phones allow notifications only from a service worker: the banner and the sound remain.
  }
}
