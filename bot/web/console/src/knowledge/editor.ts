/**
 * One entry at work: what the server has, what is typed, and whether both are the same.
 *
 * Nothing typed is ever overwritten from outside: a colleague's newer version waits in `theirs` until the person decides.
 */
import { ElMessage } from 'element-plus'
import 'element-plus/es/components/message/style/css'
import { type Ref, computed, ref, shallowRef } from 'vue'
import * as calls from '../api/knowledge'
import type { EntryText, EntryWhole, Finding, Step } from '../api/knowledge'
import { ApiError, words } from '../api/http'
import { copyOf, emptyText, same, tidy } from './text'
import { DONE } from './words'

export function useEditor(id: Ref<string>) {
  const whole = shallowRef<EntryWhole | null>(null)
  const text = ref<EntryText>(emptyText())
  const note = ref('')
  /** The newer version of a colleague, while something typed here is not saved. */
  const theirs = shallowRef<EntryWhole | null>(null)
  const trouble = ref('')
  const busy = ref(false)
  /** What kept the last step back, said by the server. */
  const stops = shallowRef<Finding[]>([])

  const dirty = computed(() => whole.value !== null && !same(text.value, whole.value.text))
  const may = (step: Step): boolean => whole.value?.may.includes(step) ?? false

  function take(fresh: EntryWhole): void {
    whole.value = fresh
    text.value = copyOf(fresh.text)
    note.value = ''
    theirs.value = null
    stops.value = []
  }

  async function load(): Promise<void> {
    const asked = id.value
    try {
      const fresh = await calls.entry(asked)
      if (asked !== id.value) return
      trouble.value = ''
      const known = whole.value?.id === asked ? whole.value : null
      if (!known || !dirty.value) {
        // A step of mine may be under way; its answer is newer than this one.
        if (!known || fresh.version >= known.version) takeQuietly(fresh, known)
      } else if (fresh.version > known.version) theirs.value = fresh
      else whole.value = { ...known, comments: fresh.comments, may: fresh.may }
    } catch (error) {
      if (asked === id.value) trouble.value = `没有取到：${words(error)}`
    }
  }

  /** Without losing a note half written, where the text is the one known. */
  function takeQuietly(fresh: EntryWhole, known: EntryWhole | null): void {
    const kept = known && known.version === fresh.version ? note.value : ''
    take(fresh)
    note.value = kept
  }

  /** Carry out a step; what it gives is the entry as it is now. */
  async function step(name: Step, work: () => Promise<EntryWhole>, done = DONE[name]): Promise<boolean> {
    if (busy.value) return false
    busy.value = true
    try {
      const fresh = await work()
      if (fresh.id === id.value) take(fresh)
      ElMessage.success(done)
      return true
    } catch (error) {
      await failed(error)
      return false
    } finally {
      busy.value = false
    }
  }

  async function failed(error: unknown): Promise<void> {
    if (error instanceof ApiError && Array.isArray(error.body.findings)) stops.value = error.body.findings as Finding[]
    ElMessage.error({ message: `没有成功：${words(error)}${dirty.value ? '。您写的还在页面上。' : ''}`, duration: 8000 })
    if (error instanceof ApiError && error.status === 409) await load()
  }

  /** Save what is typed; over a colleague's version only where the person has seen that there is one (`over`). */
  function save(over = false): Promise<boolean> {
    const known = whole.value
    if (!known) return Promise.resolve(false)
    const version = over ? (theirs.value?.version ?? known.version) : known.version
    return step('draft', () => calls.draft(known.id, version, tidy(text.value), note.value.trim()))
  }

  /** A step on the saved text. */
  function act(name: Step, work: (id: string, version: number) => Promise<EntryWhole>, done?: string): Promise<boolean> {
    const known = whole.value
    return known ? step(name, () => work(known.id, known.version), done) : Promise.resolve(false)
  }

  function takeTheirs(): void {
    if (theirs.value) take(theirs.value)
  }

  return { whole, text, note, theirs, trouble, busy, stops, dirty, may, load, save, act, takeTheirs }
}

export type Editor = ReturnType<typeof useEditor>
