/** The time now, once a second, for every countdown on the page. */
import { ref } from 'vue'
import { serverNow } from './api/http'

export const now = ref(serverNow())

export function tickClock(): void {
  now.value = serverNow()
}

const two = (n: number): string => String(n).padStart(2, '0')

/** 14:05 today, 昨天 14:05, 11-20 14:05, 2025-11-20 14:05. */
export function moment(time: string | null | undefined, at: number = now.value): string {
  if (!time) return ''
  const then = new Date(time)
  const today = new Date(at)
  const clock = `${two(then.getHours())}:${two(then.getMinutes())}`
  const days = Math.round((midnight(today) - midnight(then)) / 86_400_000)
  if (days === 0) return clock
  if (days === 1) return `昨天 ${clock}`
  const date = `${two(then.getMonth() + 1)}-${two(then.getDate())}`
  return then.getFullYear() === today.getFullYear() ? `${date} ${clock}` : `${then.getFullYear()}-${date} ${clock}`
}

export function day(time: string, at: number = now.value): string {
  const then = new Date(time)
  const days = Math.round((midnight(new Date(at)) - midnight(then)) / 86_400_000)
  if (days === 0) return '今天'
  if (days === 1) return '昨天'
  return `${then.getFullYear()} 年 ${then.getMonth() + 1} 月 ${then.getDate()} 日`
}

const midnight = (date: Date): number => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime()
