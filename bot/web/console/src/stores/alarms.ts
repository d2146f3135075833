/** The alerts that are open, and what they do to this screen: banner, sound, desktop, title. */
import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { SOUND_EVERY_MS, type Shown, alertOrder, policy, remember } from '../alarm'
import * as calls from '../api/calls'
import type { Alert, Id } from '../api/types'
import { coalesce } from '../coalesce'
import { notify } from '../notify'
import { ring } from '../sound'
import { useSession } from './session'

const EVERY_MS = 10_000

export const useAlarms = defineStore('alarms', () => {
  const session = useSession()
  const alerts = ref<Alert[]>([])
  const mine = ref<ReadonlySet<Id>>(new Set())
  const shown: Shown = new Map()
  let fetchedAt = 0
  let soundedAt = 0
  let openConversation: (id: Id) => void = () => {}

  const open = computed(() => [...alerts.value].filter((a) => a.state !== 'ended').sort(alertOrder))
  const ringing = computed(() => open.value.filter((alert) => alert.state === 'ringing'))
  const now = computed(() =>
    session.me
      ? policy(open.value, session.me, mine.value, shown)
      : { sound: false, blink: false, ringing: 0, notify: [] },
  )

  async function load(): Promise<void> {
    if (!session.may('alerts.read')) return
    fetchedAt = Date.now()
    try {
      alerts.value = await calls.alerts()
    } catch {
      return // the line says that the connection is lost; what was known stays on the screen
    }
    if (session.me) {
      const todo = policy(open.value, session.me, mine.value, shown)
      for (const alert of todo.notify) notify(alert, () => openConversation(alert.conversation_id))
      remember(open.value, shown)
    }
    sound()
  }

  function sound(): void {
    if (!now.value.sound || Date.now() - soundedAt < SOUND_EVERY_MS) return
    soundedAt = Date.now()
    ring()
  }

  /** Once a second: sound goes on, and a lost piece of news is made up for. */
  function tick(): void {
    sound()
    if (Date.now() - fetchedAt > EVERY_MS) refresh()
  }

  const refresh = coalesce(load, 100)

  async function acknowledge(id: Id): Promise<void> {
    await calls.acknowledge(id)
    await load()
  }

  function clear(): void {
    alerts.value = []
    mine.value = new Set()
    shown.clear()
  }

  return {
    alerts, open, ringing, now, mine, load, refresh, tick, acknowledge, clear,
    whenOpened: (listener: (id: Id) => void) => (openConversation = listener),
  }
})
