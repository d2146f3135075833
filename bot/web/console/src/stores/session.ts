/** Who is signed in. When a session ends in mid-work the login comes over the page, and what was being written stays. */
import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import * as calls from '../api/calls'
import { ApiError, onSessionEnded, setCsrf } from '../api/http'
import type { Desk, Me } from '../api/types'

export const useSession = defineStore('session', () => {
  const me = ref<Me | null>(null)
  const desk = ref<Desk | null>(null)
  const ready = ref(false)
  /** The session ended while somebody worked: ask for the password again, over the page. */
  const ended = ref(false)
  const trouble = ref('')

  onSessionEnded(() => {
    if (me.value) ended.value = true
  })

  function take(fresh: Me): void {
    me.value = fresh
    setCsrf(fresh.csrf_token)
    ended.value = false
  }

  async function start(): Promise<void> {
    trouble.value = ''
    try {
      take(await calls.me())
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) trouble.value = (error as Error).message
    }
    if (me.value && !me.value.must_change_password) await loadDesk()
    ready.value = true
  }

  async function loadDesk(): Promise<void> {
    try {
      desk.value = await calls.desk()
      const style = document.documentElement.style
      style.setProperty('--primary', desk.value.colours.primary)
    } catch (error) {
      trouble.value = (error as Error).message
    }
  }

  /** Called when a session that ended is followed by a new login. `same`: the same person; only then may drafts stay. */
  let again: (same: boolean) => void = () => {}
  const whenLoggedInAgain = (listener: (same: boolean) => void): void => void (again = listener)

  async function login(name: string, password: string): Promise<void> {
    const before = me.value?.id
    const fresh = await calls.login(name, password)
    take(fresh)
    if (before !== undefined) again(before === fresh.id)
    if (!fresh.must_change_password) await loadDesk()
  }

  async function changePassword(old: string, fresh: string): Promise<void> {
    await calls.changePassword(old, fresh)
    take(await calls.me())
    await loadDesk()
  }

  async function setDuty(on: boolean, rung = 0): Promise<void> {
    await calls.duty(on, on ? rung : undefined)
    take(await calls.me())
  }

  async function logout(): Promise<void> {
    await calls.logout().catch(() => {})
    me.value = null
  }

  const may = (action: string): boolean => me.value?.permissions.includes(action) ?? false
  const demonstration = computed(() => Boolean(me.value?.demonstration || desk.value?.demonstration))

  return { me, desk, ready, ended, trouble, demonstration, start, loadDesk, whenLoggedInAgain, login, changePassword, setDuty, logout, may }
})
