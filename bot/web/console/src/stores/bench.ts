/** The workbench's state: the lists, the open conversation, drafts (in memory only), words on their way, and the line. */
import { defineStore } from 'pinia'
import { computed, reactive, ref, shallowRef } from 'vue'
import * as calls from '../api/calls'
import { ApiError, onUnreachable } from '../api/http'
import type { CannedReply, Card, Colleague, Conversation, Counts, Id, Message, News, View } from '../api/types'
import { coalesce } from '../coalesce'
import { Live } from '../live'
import { Outbox } from '../outgoing'
import { mineOrder, queueOrder } from '../queue'
import { useAlarms } from './alarms'
import { useSession } from './session'

const LIST_EVERY_MS = 20_000
const TYPING_SHOWN_MS = 6_000
const TYPING_SAID_MS = 3_000

export const useBench = defineStore('bench', () => {
  const session = useSession()
  const alarms = useAlarms()

  const view = ref<View>('queue')
  const lists = reactive<Record<View, Card[]>>({ queue: [], mine: [], all: [], closed: [] })
  const more = reactive<Record<View, boolean>>({ queue: false, mine: false, all: false, closed: false })
  const counts = ref<Counts>({ queue: 0, mine: 0, critical: 0, high: 0 })
  const listTrouble = ref('')
  let listedAt = 0

  const openId = ref<Id | null>(null)
  const current = ref<Conversation | null>(null)
  const threadTrouble = ref('')
  /** The server wants a reason for this look: code -> words to choose from. */
  const askWhy = ref<Record<string, string> | null>(null)
  const hasEarlier = ref(false)
  const typingUntil = ref(0)
  /** Conversations that a colleague asks me to take over. */
  const offers = ref<Id[]>([])
  /** Counts news of tasks, templates and entries, so that their pages fetch again. */
  const otherNews = ref(0)
  let typingSaidAt = 0

  /** Never in the browser's storage: a shared machine must not keep what was said. */
  const drafts = reactive(new Map<Id, string>())
  const noteDrafts = reactive(new Map<Id, string>())
  const canned = shallowRef<CannedReply[]>([])
  const colleagues = shallowRef<Colleague[]>([])

  const outbox = new Outbox(
    (id, text, client) => calls.reply(id, text, client),
    (id, message) => {
      if (current.value?.id === id) put(message)
      refreshLists()
    },
  )

  const live = new Live({
    news: hear,
    opened: () => {
      outbox.retryAll()
      refreshLists()
      alarms.refresh()
      if (openId.value) refreshCurrent()
    },
    ended: () => (session.ended = true),
  })

  onUnreachable(() => live.doubt())

  const cards = computed(() => {
    const list = [...lists[view.value]]
    if (view.value === 'queue') list.sort(queueOrder)
    else if (view.value === 'mine') list.sort(mineOrder)
    return list
  })

  // --- lists

  async function loadView(which: View): Promise<void> {
    const page = await calls.conversations(which)
    // The first page is fresh; further pages that were fetched stay behind it.
    const fresh = new Set(page.items.map((card) => card.id))
    const rest = which === 'all' || which === 'closed' ? lists[which].slice(50).filter((c) => !fresh.has(c.id)) : []
    lists[which] = [...page.items, ...rest]
    more[which] = page.items.length >= 50
    counts.value = page.counts
    if (which !== 'mine') return
    const offered = page.items.filter((card) => card.transfer_offered_to_me)
    offers.value = offered.map((card) => card.id)
    alarms.mine = new Set(page.items.filter((card) => !card.transfer_offered_to_me).map((card) => card.id))
  }

  async function loadLists(): Promise<void> {
    if (!session.may('look')) return
    listedAt = Date.now()
    try {
      await Promise.all([...new Set<View>([view.value, 'mine'])].map(loadView))
      listTrouble.value = ''
    } catch (error) {
      if (error instanceof ApiError && error.status !== 401) listTrouble.value = error.message
    }
  }
  const refreshLists = coalesce(loadLists, 400)

  async function loadMore(): Promise<void> {
    const which = view.value
    const last = lists[which].at(-1)
    if (!last) return
    const page = await calls.conversations(which, last.id)
    const known = new Set(lists[which].map((card) => card.id))
    lists[which].push(...page.items.filter((card) => !known.has(card.id)))
    more[which] = page.items.length >= 50
  }

  function show(which: View): void {
    view.value = which
    refreshLists()
  }

  // --- the open conversation

  /** `why` goes on record; "" lets the server see it from the conversation's state, or ask (askWhy). */
  async function open(id: Id, why: string): Promise<void> {
    if (openId.value !== id) {
      current.value = null
      typingUntil.value = 0
    }
    openId.value = id
    threadTrouble.value = ''
    askWhy.value = null
    try {
      const whole = await calls.conversation(id, why)
      if (openId.value === id) take(whole)
    } catch (error) {
      if (openId.value !== id) return
      if (error instanceof ApiError && error.code === 'why') askWhy.value = error.body.whys as Record<string, string>
      threadTrouble.value = (error as Error).message
    }
  }

  function take(whole: Conversation): void {
    const before = current.value?.id === whole.id ? current.value.messages : []
    current.value = { ...whole, messages: merge(before, whole.messages) }
    if (!whole.transfer_offered_to_me) offers.value = offers.value.filter((id) => id !== whole.id)
    if (!before.length) hasEarlier.value = whole.messages.length >= 50
  }

  function leave(): void {
    openId.value = null
    current.value = null
    askWhy.value = null
  }

  async function loadCurrent(): Promise<void> {
    const id = openId.value
    if (!id) return
    if (!current.value) return open(id, '')
    try {
      const whole = await calls.conversation(id, 'refresh')
      if (openId.value === id) {
        take(whole)
        threadTrouble.value = ''
      }
    } catch (error) {
      if (openId.value === id && !current.value) threadTrouble.value = (error as Error).message
    }
  }
  const refreshCurrent = coalesce(loadCurrent, 300)
  // New words change suggestions and quota too, but each full look is put on record: not for every message.
  const refreshSide = coalesce(loadCurrent, 5_000)

  async function loadMessages(): Promise<void> {
    const id = openId.value
    if (!id || !current.value) return
    try {
      const fresh = await calls.messages(id)
      if (current.value?.id === id) current.value.messages = merge(current.value.messages, fresh)
    } catch {
      // The regular fetch will bring them.
    }
  }
  const refreshMessages = coalesce(loadMessages, 150)

  async function loadEarlier(): Promise<void> {
    const conversation = current.value
    const first = conversation?.messages[0]
    if (!conversation || !first) return
    const older = await calls.messages(conversation.id, first.id)
    hasEarlier.value = older.length >= 50
    conversation.messages = merge(older, conversation.messages)
  }

  function put(message: Message): void {
    if (current.value) current.value.messages = merge(current.value.messages, [message])
  }

  // --- news

  function hear(news: News): void {
    const here = openId.value !== null && String(news.conversation_id) === openId.value
    switch (news.what) {
      case 'alert':
        alarms.refresh()
        refreshLists()
        if (here) refreshCurrent()
        break
      case 'message':
        refreshLists()
        if (here) {
          typingUntil.value = 0
          refreshMessages()
          refreshSide()
        }
        break
      case 'conversation':
        if (news.extra?.offered_to !== undefined) hearOffer(String(news.conversation_id), String(news.extra.offered_to))
        refreshLists()
        if (here) refreshCurrent()
        break
      case 'finished':
      case 'delivery':
        if (here) refreshMessages()
        break
      case 'typing':
        if (here && news.extra?.by !== 'staff') typingUntil.value = Date.now() + TYPING_SHOWN_MS
        break
      case 'task':
      case 'template':
      case 'entries':
        otherNews.value += 1
        break
    }
  }

  function hearOffer(id: Id, to: Id): void {
    offers.value = offers.value.filter((known) => known !== id)
    if (to === session.me?.id) offers.value.push(id)
  }

  function tick(): void {
    live.tick()
    if (Date.now() - listedAt > LIST_EVERY_MS) refreshLists()
  }

  function sayTyping(): void {
    if (!openId.value || Date.now() - typingSaidAt < TYPING_SAID_MS) return
    typingSaidAt = Date.now()
    live.typing(openId.value)
  }

  async function loadCanned(): Promise<void> {
    if (session.may('reply')) canned.value = await calls.cannedReplies().catch(() => [])
  }

  async function start(): Promise<void> {
    live.open()
    await Promise.all([loadLists(), alarms.load(), loadCanned()])
  }

  async function loadColleagues(): Promise<void> {
    colleagues.value = await calls.colleagues()
  }

  /** Forget everything: another person signed in on this machine. */
  function clear(): void {
    live.shut()
    drafts.clear()
    noteDrafts.clear()
    outbox.clear()
    leave()
    for (const which of ['queue', 'mine', 'all', 'closed'] as const) lists[which] = []
    offers.value = []
    counts.value = { queue: 0, mine: 0, critical: 0, high: 0 }
    alarms.clear()
  }

  /** Words that are only on this page: closing it would lose them. */
  const unsaved = computed(
    () => outbox.kept > 0 || [...drafts.values(), ...noteDrafts.values()].some((text) => text.trim() !== ''),
  )

  return {
    view, lists, more, counts, listTrouble, cards, loadLists, refreshLists, loadMore, show,
    offers, otherNews, openId, current, threadTrouble, askWhy, hasEarlier, typingUntil, open, take, leave, loadCurrent, refreshCurrent, loadEarlier, put,
    drafts, noteDrafts, canned, colleagues, loadColleagues, outbox, live, sayTyping, tick, start, clear, unsaved,
  }
})

/** Older and newer messages as one thread, each once, the fresher copy winning, in the order of their ids. */
export function merge(before: Message[], fresh: Message[]): Message[] {
  const byId = new Map<Id, Message>()
  for (const message of before) byId.set(message.id, message)
  for (const message of fresh) byId.set(message.id, message)
  return [...byId.values()].sort((a, b) => byIdOrder(a.id, b.id))
}

/** Ids are decimal numbers longer than a double holds: compare by length, then by digits. */
export function byIdOrder(a: Id, b: Id): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)
}
